"""What docs/commands.md holds: ``python tests/docs/command_page.py > docs/commands.md``."""

from __future__ import annotations

from typing import Any

import typer.main

from autotune_cli.app import app
from autotune_cli.commands.helping import HelpfulGroup

WIDTH = 110


def page() -> str:
    """The help of the program and of each command."""
    group: Any = typer.main.get_command(app)
    whole = group.make_context("autotune", [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH)
    parts = ["# Commands", "What `--help` prints. `autotune --install-completion` teaches the shell to complete it."]
    parts.append(f"```help\n{group.get_help(whole)}\n```")
    for name in HelpfulGroup.entries:
        command = group.get_command(whole, name)
        context = command.make_context(name, [], parent=whole, resilient_parsing=True)
        parts.append(f"## autotune {name}\n\n```help\n{command.get_help(context)}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
