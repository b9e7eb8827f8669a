"""The program from its first moment: ``python -m autotune_cli`` and the script ``autotune``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

# What every command needs takes a tenth of a second to import; Ctrl-C may come in it, so only Python's own modules are
# imported before someone catches it.
_INTERRUPTED = 130


def main() -> None:
    """Runs the command line and exits; see :func:`autotune_cli.outermost.guarded`."""
    try:
        from autotune_cli.outermost import guarded

        code = guarded(_run, sys.argv[1:])
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("interrupted", file=sys.stderr)
        code = _INTERRUPTED
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # All is told; another Ctrl-C while the interpreter ends ends it at once, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    from autotune_cli.app import run

    return run(arguments)


if __name__ == "__main__":
    main()
