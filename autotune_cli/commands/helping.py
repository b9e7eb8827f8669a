"""``--help`` as plain text: options in groups, examples, whole summaries. Imports Typer only.

Rich's help would group options too, but importing it takes longer than everything else that ``--help`` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from autotune_cli.commands.declaring import declared
from autotune_cli.commands.flags import flag
from autotune_cli.errors import AutotuneError

_REST = "Options"


class HelpfulCommand(TyperCommand):
    """Options stand under the ``rich_help_panel`` that they name, in the order in which the groups first appear.

    The command's ``epilog`` holds its examples, one command line a line.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                rest = _REST
                if param.param_type_name == "argument":
                    # Typer would put the Python type behind the name of an argument.
                    rest, record = "Arguments", (param.metavar or param.name, record[1])
                groups.setdefault(getattr(param, "rich_help_panel", None) or rest, []).append(record)
        # The group of --help comes last.
        for title in sorted(groups, key=lambda title: title == _REST):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_examples(self.epilog, formatter)


@dataclass(frozen=True)
class Entry:
    """A command of the program: its function, which takes a dataclass of options.

    Beside the function its module has ``EXAMPLES``, command lines for the end of ``--help``.
    """

    function: Callable[..., None]
    cls: type[TyperCommand] = HelpfulCommand

    def build(self, name: str) -> Any:
        """Typer's command, with its options."""
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        examples: str = sys.modules[self.function.__module__].EXAMPLES  # type: ignore[attr-defined]
        alone.command(name, cls=self.cls, epilog=examples)(declared(self.function))
        return typer.main.get_command(alone)


class HelpfulGroup(TyperGroup):
    """Every command with its whole summary, the first paragraph of its help.

    Commands are built when they are called: reading the options of all of them takes half as long as importing Typer.
    """

    entries: ClassVar[dict[str, Entry]] = {}
    """The commands by name, in the order of ``--help``."""

    def invoke(self, ctx: Any) -> Any:
        """Reads the command's options and runs it. An error that names fields names the command's options instead."""
        try:
            return super().invoke(ctx)
        except AutotuneError as error:
            error.naming(flag)
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # Typer looks for names that are alike among these.
        known: dict[str, Any] = {**dict.fromkeys(self.entries), **self.commands}
        if cmd_name in known and known[cmd_name] is None:
            known[cmd_name] = self.entries[cmd_name].build(cmd_name)
        self.commands = known
        return known.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name, entry in self.entries.items():
            summary = (entry.function.__doc__ or "").partition("\n\n")[0]
            rows.append((name, " ".join(summary.split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_examples(self.epilog, formatter)


def write_examples(examples: str | None, formatter: Any) -> None:
    """Command lines as they are typed: one that is too long goes on as in a shell, so that it can be copied."""
    if examples:
        with formatter.section("Examples"):
            indent = " " * formatter.current_indent
            for line in examples.strip().splitlines():
                parts = _lines(line.strip(), formatter.width - len(indent))
                formatter.write(indent + f" \\\n{indent}    ".join(parts) + "\n")


def _lines(command: str, width: int) -> list[str]:
    """A command line in pieces that fit; one with quotes stays whole, as spaces count there."""
    if len(command) <= width or '"' in command or "'" in command:
        return [command]
    # A space and a backslash end a line, and four spaces begin the next one.
    pieces = [""]
    for word in command.split(" "):
        room = width - 2 - (4 if len(pieces) > 1 else 0)
        if pieces[-1] and len(pieces[-1]) + 1 + len(word) > room:
            pieces.append(word)
        else:
            pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces


def list_models(value: str | None) -> str | None:
    """The callback of ``--model``: ``?`` prints the known names, one a line, and ends the program with exit code 0."""
    if value is not None and value.strip() == "?":
        for name in _model_names():
            typer.echo(name)
        raise typer.Exit
    return value


def complete_model(incomplete: str) -> list[str]:
    """Names of models for the shell's completion."""
    return [name for name in _model_names() if name.startswith(incomplete.lower())]


def list_presets(value: str | None) -> str | None:
    """The callback of ``--preset``: ``?`` prints the presets, one a line, and ends the program with exit code 0."""
    if value is not None and value.strip() == "?":
        from autotune_cli.profiling.presets import load_preset, preset_names

        for name in preset_names():
            typer.echo(f"{name:<18}{load_preset(name).about}")
        raise typer.Exit
    return value


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets for the shell's completion."""
    from autotune_cli.profiling.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_targets(incomplete: str) -> list[str]:
    """Names of targets of an export for the shell's completion."""
    from autotune_cli.exporting.target import target_names

    return [name for name in target_names() if name.startswith(incomplete)]


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """A completion out of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def complete_last(incomplete: str, words: Iterable[str]) -> list[str]:
    """Completions of the last of several words with commas between; a word that is there is not offered again."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [f"{before}{comma}{word}" for word in words if word.startswith(last) and word not in there]


def _model_names() -> tuple[str, ...]:
    from autotune_cli.kernels.models import model_names

    return model_names()
