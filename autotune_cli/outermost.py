"""What surrounds every command: whatever becomes of it is one line and an exit code that means something.

Exit code 1 means that a check failed, which a CI job acts upon. So nothing that nobody foresaw may end in it, neither
an exception (Python's own exit code for those is 1) nor a reader of our output who went away (for click it is 1).
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from autotune_cli.errors import EXIT_FAILED, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, AutotuneError
from autotune_cli.plain_text import shown, shown_lines
from autotune_cli.streams import Stream, open_closed_descriptors

DEBUG = "--debug"
_LONGEST = 300


def guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of ``command(arguments)``; what it raises is told on stderr. Nothing is raised.

    Args:
        command: gets the arguments and returns an exit code.
        arguments: without the program's name. With ``--debug`` in front of the command's name, a fault of the program
            itself is told with its traceback.
    """
    debug = DEBUG in itertools.takewhile(lambda argument: argument.startswith("-"), arguments)
    try:
        with _streams() as out:
            faults = _Faults(debug)
            with faults.of_threads():
                code = _code_of(lambda: command(arguments), faults)
                # Here, not at the interpreter's end: a full disk is told, and a verdict that nobody got is none.
                flushed = _code_of(lambda: _flush(out), faults)
            if faults.found:
                return EXIT_INTERNAL
            return flushed if flushed != EXIT_OK and code in (EXIT_OK, EXIT_FAILED) else code
    except KeyboardInterrupt:
        # A second one, while the first was told.
        return EXIT_INTERRUPTED


class _Faults:
    """Exceptions that nobody foresaw, of the command and of its threads."""

    def __init__(self, debug: bool) -> None:
        self.found = False
        self._debug = debug

    def tell(self, error: BaseException) -> None:
        """One line; with ``--debug`` below the traceback."""
        told_before, self.found = self.found, True
        if self._debug:
            import traceback

            _say(shown_lines("".join(traceback.format_exception(error)).rstrip()))
        elif told_before:
            return
        _say(f"error: internal error: {_in_short(error)}; please report it with the output of 'autotune {DEBUG} ...'")

    @contextlib.contextmanager
    def of_threads(self) -> Iterator[None]:
        """Threads whose exceptions nobody takes: the result may be right, yet nobody knows."""
        before = threading.excepthook

        def hook(arguments: threading.ExceptHookArgs) -> None:
            if arguments.exc_value is not None:
                self.tell(arguments.exc_value)

        threading.excepthook = hook
        try:
            yield
        finally:
            threading.excepthook = before


def _code_of(call: Callable[[], int], faults: _Faults) -> int:
    try:
        return call()
    except AutotuneError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BaseException as error:
        # SystemExit too: only a command says what the exit code is.
        faults.tell(error)
        return EXIT_INTERNAL


def _flush(out: Stream) -> int:
    out.flush()
    return EXIT_OK


def _in_short(error: BaseException) -> str:
    """``ValueError: what it says``, cut to length."""
    try:
        text = shown(" ".join(str(error).split()))
    except Exception:  # its own __str__ is at fault
        text = ""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _streams() -> Iterator[Stream]:
    """Puts streams that can take everything in the place of stdout and stderr; yields stdout."""
    open_closed_descriptors()
    before = sys.stdout, sys.stderr
    out, errors = Stream(sys.stdout, "standard output"), Stream(sys.stderr, None)
    sys.stdout, sys.stderr = out, errors
    try:
        yield out
    finally:
        errors.flush()
        sys.stdout, sys.stderr = before
