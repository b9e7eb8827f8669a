"""How the scripts that read result files start and end: a wrong argument or file is a line and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from autotune_cli.errors import EXIT_USAGE
from autotune_cli.outermost import guarded


def start(main: Callable[[Sequence[str]], int], usage: str | None, least: int) -> NoReturn:
    """End the process with ``main``'s exit code, as the program's own commands end.

    Args:
        main: gets the command line's arguments.
        usage: printed where fewer than ``least`` arguments are given.
    """
    arguments = sys.argv[1:]
    if len(arguments) < least:
        print(usage, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    sys.exit(guarded(main, arguments))
