"""An exception that nobody foresaw is one line and exit code 70: 1 means that a check failed, and nothing else."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import typer
from running import Finished

from autotune_cli.errors import EXIT_FAILED, BadFile
from autotune_cli.outermost import guarded

Usage = Callable[..., Finished]
PROFILE = ("profile", "--from-trace", "example", "--paged")


class Odd(Exception):
    """An exception that can't even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


def deep(number: int = 0) -> int:
    return deep(number + 1) + 1


def in_a_thread(error: Exception) -> None:
    def work() -> None:
        raise error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def raises(error: BaseException) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


FAULTS = {
    "ValueError: a b": raises(ValueError("a\nb")),
    r"KeyError: '\x1b[31m'": raises(KeyError("\x1b[31m")),
    r"ValueError: \x1b[31m\u202e\ud800": raises(ValueError("\x1b[31m\u202e\ud800")),
    f"ValueError: {'x' * 300}...": raises(ValueError("x" * 5000)),
    "Odd": raises(Odd()),
    "MemoryError": raises(MemoryError()),
    "RecursionError: maximum recursion depth exceeded": lambda *_, **__: deep(),
    "AssertionError": raises(AssertionError()),
    # What click's own main() makes exit code 1 of: it could be anybody's pipe, a worker's.
    "BrokenPipeError: [Errno 32] Broken pipe": raises(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "EOFError": raises(EOFError()),
    "Abort": raises(typer.Abort()),
    "SystemExit: 1": raises(SystemExit(1)),
    "SystemExit: text": raises(SystemExit("text")),
    "GeneratorExit": raises(GeneratorExit()),
    "PermissionError: [Errno 13] no: 'f'": raises(PermissionError(errno.EACCES, "no", "f")),
    "RuntimeError: in a thread": lambda *_, **__: in_a_thread(RuntimeError("in a thread")),
}


@pytest.mark.parametrize("words", FAULTS)
def test_one_line_with_where_to_report_it(usage: Usage, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr("autotune_cli.commands.profile_trace.load_classifier", FAULTS[words])
    done = usage(*PROFILE)
    line = done.err.splitlines()[0]
    assert done.code == 70
    assert line.startswith(f"error: internal error: {words}")
    assert line.endswith("; please report it with the output of 'autotune --debug ...'")
    if "in a thread" in words:
        # What came of the rest is nobody's verdict.
        return
    assert (done.out, len(done.err.splitlines())) == ("", 1)


def run(command: Callable[[Sequence[str]], int], *arguments: str) -> int:
    return guarded(command, arguments)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def command(arguments: Sequence[str]) -> int:
        raise ValueError("\x1b[31mx")

    assert run(command, "--debug", "diff", "a") == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert "test_main_faults.py" in err
    assert "\x1b" not in err
    # After the command's name it is another's option.
    assert run(command, "diff", "--debug") == 70
    assert "Traceback" not in capsys.readouterr().err


def test_debug_is_an_option_of_the_program(usage: Usage) -> None:
    assert usage("--debug", *PROFILE).code == 0
    assert "--debug" in usage("--help").out
    assert usage(*PROFILE, "--debug").code == 2


def test_what_threads_raise_is_told_once_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    def command(arguments: Sequence[str]) -> int:
        for number in range(3):
            in_a_thread(ValueError(f"number {number}"))
        return EXIT_FAILED

    before = threading.excepthook
    assert run(command) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: number 0" in line
    assert threading.excepthook is before


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (3, 3)])
def test_what_a_command_says_is_the_code(code: int, expected: int) -> None:
    assert run(lambda _: code) == expected


def test_a_failure_of_ours_keeps_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda _: raises(BadFile(path="a\nb", detail="\x9b"))()) == 2  # type: ignore[func-returns-value,arg-type]
    assert capsys.readouterr().err == "error: a\\nb: \\x9b\n"


def test_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    run(lambda _: raises(KeyboardInterrupt())())  # type: ignore[func-returns-value,arg-type]
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().err == "interrupted\n"


def test_a_worker_of_a_tuning_that_fails_is_a_fault(usage: Usage, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_cli.tuning import run as tuning

    monkeypatch.setattr(tuning, "tune", raises(ZeroDivisionError("division by zero")))
    done = usage("tune", "--device", "cpu")
    assert (done.code, done.out) == (70, "")
    assert done.err.splitlines()[-1].startswith("error: internal error: ZeroDivisionError: division by zero;")


def test_usage_errors_stay_2(usage: Usage, tmp_path: Path) -> None:
    for arguments in ((), ("nope",), ("--nope",), ("diff", "--format"), ("tune", "--tp", "x"), ("show",)):
        assert usage(*arguments).code == 2, arguments
