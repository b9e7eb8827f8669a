"""Ctrl-C at any moment is one line and exit code 130."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The signal comes while a module is being imported: always at the same place, also before the program has begun.
STRIKE = """
import importlib.abc, os, signal, sys

class Strike(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in {modules!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.argv = ["autotune", *{arguments!r}]
sys.meta_path.insert(0, Strike())
from autotune_cli.__main__ import main
main()
"""
PROFILE = ("profile", "--from-trace", "example", "--paged")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("autotune_cli.outermost", PROFILE),
        ("typer", PROFILE),
        ("autotune_cli.commands.diff", PROFILE),
        ("autotune_cli.comparing.report", ("diff", "a", "b")),
        ("autotune_cli.results.files", ("show", "a")),
        ("autotune_cli.profiling.classify", PROFILE),
        ("autotune_cli.render.profile_table", PROFILE),
        ("autotune_cli.worker.process", ("kernels", "--device", "cpu")),
        ("autotune_cli.kernels.models", ("tune", "--device", "cpu")),
    ],
)
def test_one_line_and_130(tmp_path: Path, module: str, arguments: tuple[str, ...]) -> None:
    script = STRIKE.format(modules=(module,), arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_second_one_at_the_end_is_quiet(tmp_path: Path) -> None:
    """While the interpreter waits for a thread or runs what was put off to its end."""
    late = "import atexit, os, signal; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    script = late + STRIKE.format(modules=("typer",), arguments=PROFILE)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (130, -2)
    assert done.stderr == "interrupted\n"


def test_the_script_begins_where_ctrl_c_is_caught() -> None:
    """Not in a module that imports a command before anybody catches anything."""
    script = "import sys, autotune_cli.__main__\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.startswith("autotune_cli")] == [
        "autotune_cli",
        "autotune_cli.__main__",
    ]
