"""--help is quick: nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Typer itself imports pydantic, if that is installed, for a command with options.
HEAVY = ("torch", "numpy", "pandas", "rich", "flashinfer", "sgl_kernel", "triton", "filelock", "pynvml")

SCRIPT = """
import sys
sys.argv = ["autotune", *{arguments!r}]
from autotune_cli.app import main
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
print("LOADED", *sorted(name for name in sys.modules if name in {heavy!r}))
"""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--help",), "tune"),
        (("tune", "--help"), "--no-cache"),
        (("kernels", "--help"), "--kernels"),
        (("--version",), "kernel-autotune"),
    ],
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], text: str) -> None:
    script = SCRIPT.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert text in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED", done.stdout.splitlines()[-1]


def test_the_parent_of_a_run_never_imports_torch() -> None:
    """All of the engine but what runs in a worker."""
    script = (
        "import sys, autotune_cli.tuning.run, autotune_cli.render.watch, autotune_cli.render.summary, "
        "autotune_cli.kernels.models\nfrom autotune_cli.kernels.registry import REGISTRY\nREGISTRY.all()\n"
        "print(*sorted({'torch', 'flashinfer', 'sgl_kernel', 'triton'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
