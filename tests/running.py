"""Running the program: in this process where its workers are what matters, as a process where it is killed itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autotune_cli.results.files import read_run
from autotune_cli.results.schema import CandidateResult, RunFile, WorkloadResult

# One workload that takes a tenth of a second; the worker's start takes two.
# Kept however busy this machine is: what is tested is what becomes of results, not how good they are.
TINY = ("--op", "topk", "--batch", "2", "--context", "4096", "--scores", "normal", "--rounds", "3", "--keep-noisy")
# Variables of the person who runs the tests must not reach what is tested.
PRIVATE = ("AUTOTUNE_", "SGLANG_", "FLASHINFER_", "TRITON_", "CUDA_VISIBLE_DEVICES")
WIDE = {"COLUMNS": "200"}
# Only a test that hangs waits so long: a machine with other work to do takes many times what a free one does.
PATIENCE_S = 400.0
# What ends at once if all is well, and after a limit of the program's own (180 s for a worker's start) if it isn't.
PROMPT_S = 100.0


@dataclass(frozen=True)
class Finished:
    """What a call came to."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def summary(self) -> dict[str, object]:
        """What ``--json`` printed: nothing else may be on stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    @property
    def path(self) -> Path:
        """Of the file that ``--json`` names."""
        return self.folder / str(self.summary["path"])

    @property
    def run(self) -> RunFile:
        """What is in it."""
        return read_run(self.path)


def call_here(root: Path, variables: Mapping[str, str], arguments: Iterable[object]) -> Finished:
    """Runs ``autotune`` in this process, in the folder ``root``, with these variables besides this process's own.

    A process of its own takes half a second more, to import the program. Workers are processes all the same.
    """
    from autotune_cli.app import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith(PRIVATE)]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(root)
        patch.setattr(sys, "argv", ["autotune", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    assert "Traceback" not in complained, complained
    return Finished(code, said, complained, root)


@dataclass
class Autotune:
    """The program with a root folder and environment of its own."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: object, code: int | None = None) -> Finished:
        """Run ``autotune`` to its end, in this process."""
        finished = call_here(self.root, WIDE | self.variables, arguments)
        assert code is None or finished.code == code, finished
        return finished

    def apart(self, *arguments: object, code: int | None = None) -> Finished:
        """Run ``autotune`` to its end, as a process."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        assert code is None or process.returncode == code, (process.returncode, out, err)
        return Finished(process.returncode, out, err, self.root)

    def tune(self, *arguments: object, code: int = 0) -> Finished:
        """``autotune tune --json`` on this CPU."""
        return self("tune", "--device", "cpu", "--json", *arguments, code=code)

    def start(self, *arguments: object, program: Sequence[object] = ("-m", "autotune_cli")) -> subprocess.Popen[str]:
        """Start ``autotune`` and leave it running; ``program``: what runs it, for Python's command line."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        process = subprocess.Popen(
            [sys.executable, *map(str, program), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env=kept | WIDE | self.variables,
        )
        self.started.append(process)
        return process

    def with_variables(self, **variables: str) -> Autotune:
        """The same root with other variables."""
        return Autotune(self.root, self.variables | variables, self.started)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Autotune]]:
    """Makes programs, each with a fresh root, for runs that several tests look at."""
    made: list[Autotune] = []

    def make() -> Autotune:
        made.append(Autotune(tmp_path_factory.mktemp("root")))
        return made[-1]

    yield make
    for program in made:
        end(program)


@pytest.fixture
def autotune(tmp_path: Path) -> Iterator[Autotune]:
    """The program with a fresh root."""
    (tmp_path / "root").mkdir()
    program = Autotune(tmp_path / "root")
    yield program
    end(program)


def end(program: Autotune) -> None:
    for process in program.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Options of the smallest suite."""
    return TINY


@pytest.fixture
def usage(tmp_path: Path) -> Callable[..., Finished]:
    """Runs ``autotune`` in this process and the test's folder, with ``variables`` as its environment's."""

    def call(*arguments: object, variables: Mapping[str, str] | None = None) -> Finished:
        return call_here(tmp_path, variables or {}, arguments)

    return call


def candidates(result: WorkloadResult, prefix: str = "") -> dict[str, CandidateResult]:
    """Candidates by key without ``prefix``."""
    return {
        candidate.key.removeprefix(prefix): candidate
        for candidate in result.candidates
        if candidate.key.startswith(prefix)
    }


def state_of(pid: int) -> str:
    """Of a process, by the kernel's letter: T for one that was stopped, Z or X for one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def is_running(pid: int) -> bool:
    """Is the process there, and not just waiting for its parent to take note of its end?"""
    return state_of(pid) not in ("Z", "X")


def in_session(leader: int) -> list[int]:
    """Ids of the living processes whose session ``leader`` leads or led, itself among them."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry)) == leader and is_running(int(entry)):
                found.append(int(entry))
    return found


def wait_until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S} s"
        time.sleep(0.02)


__all__ = ["Autotune", "Finished", "candidates", "in_session", "is_running", "signal", "wait_until"]
