"""Runs that are killed or interrupted: nothing measured is lost, no process is left behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import PATIENCE_S, PROMPT_S, Autotune, is_running, state_of, wait_until

from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

KERNELS = Path(__file__).with_name("steady_kernels.py")
STOPS_ITSELF = Path(__file__).with_name("stops_itself.py")
OPTIONS = (
    *("tune", "--json", "--device", "cpu", "--op", "topk", "--batch", "1,2", "--context", "4096", "--scores", "normal"),
    *("--kernels", KERNELS, "--backend", "steady", "--exhaustive", "--rounds", "3"),
)
NO_CACHE = (*OPTIONS, "--no-cache")


class Watched:
    """A run whose journal and vettings can be read while it goes on."""

    def __init__(self, program: Autotune) -> None:
        self.log = program.root / "vettings"
        self.program = program.with_variables(STEADY_LOG=str(self.log))
        self.runs = program.root / "runs"

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Whole lines of the only journal."""
        text = "".join(path.read_text() for path in self.runs.glob(".*.journal"))
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["record"] == kind]

    def vetted(self) -> set[tuple[str, str]]:
        found = {(line["workload"], line["candidate"]["key"]) for line in self.records("vetted")}
        return {pair for pair in found if pair[1].startswith("steady")}

    def vettings(self) -> Counter[tuple[str, str]]:
        """How often each candidate was vetted in all."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter((key, candidate) for key, candidate, _ in (line.split("|") for line in lines))

    def workers(self) -> set[int]:
        return {int(line.rpartition("|")[2]) for line in self.log.read_text().splitlines()}

    def start(self, stop_at: str, *options: object) -> subprocess.Popen[str]:
        """A run that sends itself signals; see stops_itself.py."""
        return self.program.with_variables(STOP_AT=stop_at).start(*NO_CACHE, *options, program=(STOPS_ITSELF,))

    def killed(self, stop_at: str, *options: object) -> None:
        """A run that is killed there."""
        process = self.start(f"{stop_at} SIGKILL", *options)
        ends = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -signal.SIGKILL, ends


def rounds_of(records: list[dict[str, Any]]) -> dict[tuple[str, str, int], float]:
    """Time of each candidate in each round."""
    return {
        (line["workload"], candidate, line["round"]["conditions"]["round"]): us
        for line in records
        for candidate, us in line["round"]["times"].items()
    }


def rounds_in(run: RunFile) -> dict[tuple[str, str, int], float]:
    return {
        (result.key, candidate.key, number): us
        for result in run.workloads
        for candidate in result.candidates
        for number, us in zip(candidate.rounds, candidate.rounds_us, strict=True)
    }


def check_complete(run: RunFile) -> None:
    assert run.complete
    assert [result.workload.shape for result in run.workloads] == ["1 x 4096", "2 x 4096"]
    for result in run.workloads:
        assert result.choice is not None
        steady = [candidate for candidate in result.candidates if candidate.backend == "steady.sleep"]
        assert [candidate.status for candidate in steady] == ["ok"] * 4
        assert all(len(candidate.rounds) >= 3 for candidate in steady)


def test_sigkill_loses_nothing_and_leaves_no_process(autotune: Autotune) -> None:
    """Killed while vetting, while racing, and in the second workload; then to the end."""
    watched = Watched(autotune)
    kept: Counter[tuple[str, str]] = Counter()
    rounds: dict[tuple[str, str, int], float] = {}
    for number, moment in enumerate(("vetted 2", "round 1", "vetted 4")):
        watched.killed(moment, *(["--resume"] if number else []))
        wait_until(lambda: not any(map(is_running, watched.workers())), "the end of the workers")
        assert not list(watched.runs.glob("*.json"))
        # What was in the journal at an earlier kill was not measured again.
        assert {pair: watched.vettings()[pair] for pair in kept} == kept
        kept = Counter({pair: watched.vettings()[pair] for pair in watched.vetted()})
        rounds |= rounds_of(watched.records("round"))
    finished = watched.program(*NO_CACHE, "--resume", code=0)
    assert {pair: watched.vettings()[pair] for pair in kept} == kept
    assert max(watched.vettings().values()) <= 2  # once more where the kill came in the middle
    check_complete(finished.run)
    assert rounds
    assert rounds.items() <= rounds_in(finished.run).items()
    assert not list(watched.runs.glob(".*.journal"))
    assert not any(map(is_running, watched.workers()))


def test_sigkill_at_random_records(autotune: Autotune) -> None:
    """Of two workloads with four candidates and three rounds or more each."""
    watched = Watched(autotune)
    seed = random.randrange(1 << 32)
    generator = random.Random(seed)
    kind, most = generator.choice((("vetted", 7), ("round", 6), ("done", 2)))
    watched.killed(f"{kind} {generator.randint(1, most)}")
    finished = watched.program(*NO_CACHE, "--resume")
    assert finished.code == 0, (seed, finished.err)
    check_complete(finished.run)


def test_interrupted_run_writes_what_it_has_and_can_go_on(autotune: Autotune) -> None:
    watched = Watched(autotune)
    process = watched.start("vetted 5 SIGINT")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted; go on with the same command and --resume"
    assert not any(map(is_running, watched.workers()))
    path = autotune.root / json.loads(out)["path"]
    partial = read_run(path)
    assert not partial.complete
    assert [result.workload.shape for result in partial.workloads][:1] == ["1 x 4096"]
    vettings = watched.vettings()
    kept = {pair: vettings[pair] for pair in watched.vetted()}
    assert len(kept) >= 5
    finished = watched.program(*NO_CACHE, "--resume", code=0)
    assert finished.path == path
    check_complete(finished.run)
    assert finished.run.workloads[0] == partial.workloads[0]
    assert {pair: watched.vettings()[pair] for pair in kept} == kept
    assert [entry.name for entry in watched.runs.iterdir()] == [path.name]


def test_interrupted_between_race_and_result(autotune: Autotune) -> None:
    """What was loaded is not known then, and a result without it is never reused: the workload isn't done."""
    watched = Watched(autotune)
    process = watched.start("settled 1 SIGINT")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    rounds, vettings = rounds_of(watched.records("round")), watched.vettings()
    kept = {pair: vettings[pair] for pair in watched.vetted()}
    assert rounds
    finished = watched.program(*NO_CACHE, "--resume", code=0)
    check_complete(finished.run)
    assert rounds.items() <= rounds_in(finished.run).items()
    assert {pair: watched.vettings()[pair] for pair in kept} == kept


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_anything_is_measured(autotune: Autotune, number: signal.Signals) -> None:
    """While the worker starts: no result, no worker left, and no wait for the start's time limit."""
    hanging = autotune.root / "hangs.py"
    hanging.write_text(
        f"import os, time\nopen({str(autotune.root / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)\n"
    )
    process = autotune.start("tune", "--kernels", hanging)
    pid = autotune.root / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    process.send_signal(number)
    _, err = process.communicate(timeout=PROMPT_S)
    assert process.returncode == (130 if number == signal.SIGINT else 4)
    assert err.splitlines()[-1] == "interrupted"
    assert not is_running(int(pid.read_text()))


def test_a_hanging_worker_dies_with_its_killed_parent(autotune: Autotune) -> None:
    """It can't notice by itself: it sends nothing and reads nothing."""
    pid = autotune.root / "pid"
    hanging = autotune.root / "hangs.py"
    hanging.write_text(
        "import ctypes, os\n"
        "from autotune_cli.kernels import register\n"
        "@register('topk.select', name='mine.hangs', devices=('cpu',))\n"
        "def prepare(problem):\n"
        f"    open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "    ctypes.PyDLL(None).sleep(1000)\n"
    )
    process = autotune.start(*OPTIONS[:12], "--no-cache", "--kernels", hanging, "--backend", "mine")
    wait_until(lambda: pid.exists() and pid.read_text())
    assert is_running(int(pid.read_text()))
    process.kill()
    wait_until(lambda: not is_running(int(pid.read_text())), "the worker's end")


def test_interrupted_while_a_worker_is_replaced(autotune: Autotune) -> None:
    """Ctrl-C when the old worker has just crashed and the new one isn't there yet."""
    marker = autotune.root / "second"
    crashing = autotune.root / "crashes.py"
    crashing.write_text(
        "import os, time\n"
        "from autotune_cli.kernels import register\n"
        f"marker = {str(marker)!r}\n"
        "if os.path.exists(marker):\n"
        "    open(marker + '.loading', 'w').close()\n"
        "    time.sleep(1000)\n"
        "@register('topk.select', name='mine.crash', devices=('cpu',))\n"
        "def prepare(problem):\n"
        "    open(marker, 'w').close()\n"
        "    os._exit(1)\n"
    )
    process = autotune.start(*OPTIONS[:12], "--no-cache", "--kernels", crashing, "--backend", "mine")
    wait_until(lambda: Path(f"{marker}.loading").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PROMPT_S)
    assert process.returncode == 130, err
    assert "go on with the same command and --resume" in err
    assert "error" not in err


def test_sigterm_is_as_good_and_a_second_signal_ends_at_once(autotune: Autotune) -> None:
    watched = Watched(autotune)
    process = watched.start("round 1 SIGTERM SIGINT")
    _, err = process.communicate(timeout=PATIENCE_S)
    # Of two signals at once the interpreter takes the one with the smaller number first.
    assert process.returncode in (4, 130), err
    assert not any(map(is_running, watched.workers()))
    assert "Traceback" not in err


# --- what can't be resumed -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(shared: Callable[[], Autotune]) -> Path:
    """The folder of a killed run; to be copied."""
    watched = Watched(shared())
    watched.killed("vetted 1")
    return watched.program.root


REFUSED = {
    "a smaller suite": (("--batch", "1"), {}, "begun under other conditions: another suite"),
    "another seed": (("--seed", "7"), {}, "begun under other conditions: seed 0 -> 7"),
    "another variable": ((), {"TORCH_NEW": "1"}, "begun under other conditions: variable TORCH_NEW not set -> 1"),
    "other candidates": (("--backend", "torch"), {}, "begun under other conditions: .*candidates: "),
    "with the cache": (("--cache",), {}, "was begun with --no-cache; give it again"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_not_resumed(killed: Path, autotune: Autotune, what: str) -> None:
    options, variables, reason = REFUSED[what]
    shutil.rmtree(autotune.root)
    shutil.copytree(killed, autotune.root)
    journals = {path: path.read_bytes() for path in autotune.root.glob("runs/.*.journal")}
    log = {"STEADY_LOG": str(autotune.root / "vettings")}
    finished = autotune.with_variables(**variables, **log)(*NO_CACHE, "--resume", *options, code=2)
    last = finished.err.splitlines()[-1]
    assert last.startswith("error: nothing to resume: ")
    assert re.search(reason, last), last
    assert {path: path.read_bytes() for path in autotune.root.glob("runs/.*.journal")} == journals


def test_nothing_to_resume(autotune: Autotune) -> None:
    finished = autotune("tune", "--resume", "--op", "topk", code=2)
    assert "error: nothing to resume: no unfinished run of 'cpu'" in finished.err
    assert os.listdir(autotune.root) == []


def test_a_running_run_is_not_resumed(autotune: Autotune) -> None:
    watched = Watched(autotune)
    process = watched.start("vetted 1 SIGSTOP")
    wait_until(lambda: state_of(process.pid) == "T", "the run's stop")
    assert watched.vetted()
    finished = watched.program(*NO_CACHE, "--resume", code=2)
    assert "nothing to resume" in finished.err
    process.kill()
