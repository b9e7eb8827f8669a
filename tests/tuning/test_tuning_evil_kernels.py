"""Real worker processes that really hang, crash and lie: each is a row with a reason, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import HangClock, ticking
from running import TINY, Autotune, Finished, candidates

from autotune_cli.results.schema import MEASURED, CandidateResult, WorkloadResult

EVIL = Path(__file__).with_name("evil_kernels.py")
# Of a clock that leaps over it where a kernel says that it hangs; what doesn't hang has all the time it needs.
TIMEOUT_S = 90
LEAP_S = 100.0

# Status and what the reason must say.
FAILURES = {
    "raises": ("error", r'^ValueError: no such luck \[/red\], in File "evil_kernels.py", line \d+ in run$'),
    "raises_in_prepare": ("error", "NotImplementedError: head_dim 128"),
    "raises_something_odd": ("error", "Odd"),
    "exits_politely": ("crashed", r"it calls exit\(5\)"),
    "exits_at_once": ("crashed", "exited with code 3"),
    "segfaults": ("crashed", r'killed by SIGSEGV, in File "evil_kernels.py", line \d+'),
    "kills_itself": ("crashed", r"^killed by SIGKILL twice \(out of host memory\?\)$"),
    "interrupts_itself": ("crashed", "killed by SIGINT twice"),
    "closes_everything": ("crashed", "closed its connection"),
    "writes_into_the_connection": ("crashed", "wrote into the worker's connection"),
    "writes_less_than_a_message": ("crashed", "wrote into the worker's connection"),
    "leaves_a_child": ("crashed", "exited with code 7"),
    "sleeps": ("timeout", rf"no answer within {TIMEOUT_S} s, in File .*evil_kernels.py.*, line \d+"),
    "spins": ("timeout", "evil_kernels.py"),
    "sleeps_in_c": ("timeout", "evil_kernels.py"),
    "allocates_tensors": ("out_of_memory", "can't allocate memory|out of memory"),
    "allocates_bytes": ("out_of_memory", "MemoryError"),
    "returns_nothing": ("incorrect", "NoneType"),
    "returns_wrong_shape": ("incorrect", "shape"),
    "returns_wrong_type": ("incorrect", "dtype"),
    "returns_nan": ("incorrect", "wrong on"),
    "returns_zeros": ("incorrect", "wrong on"),
    "returns_its_input": ("incorrect", "changes its inputs"),
    "is_right_once": ("incorrect", "wrong on"),
    "overwrites_its_input": ("incorrect", "changes its inputs"),
    "sorts_its_input": ("incorrect", "changes its inputs"),
    "overwrites_its_input_in_prepare": ("incorrect", "changes its inputs"),
}
ONLY_TOPK = {
    "does_not_build": ("error", "nvcc fatal: unsupported architecture"),
    "raises_later": ("error", r"in round \d+: RuntimeError: too late"),
    "exits_later": ("crashed", r"in round \d+: exited with code 9"),
    "sleeps_later": ("timeout", r"in round \d+: no answer within 90 s, in File"),
    "is_wrong_later": ("incorrect", "wrong after the race, right before it"),
    "overwrites_its_input_later": ("incorrect", "wrong after the race, right before it: it changes its inputs"),
}
HARMLESS = ("prints", "floods", "starts_threads", "builds_slowly", "comes_back_twice", "is_killed_once")


@pytest.fixture(scope="module")
def finished(shared: Callable[[], Autotune]) -> Finished:
    options = ("--no-cache", "--kernels", EVIL, "--backend", "evil,torch", "--timeout", TIMEOUT_S)
    program = shared()
    clock = HangClock(program.root / "hangs", LEAP_S)
    with ticking(clock):
        return program.with_variables(EVIL_HANGS=str(clock.file)).tune(*TINY, *options, code=0)


@pytest.fixture(scope="module")
def topk(finished: Finished) -> WorkloadResult:
    (result,) = finished.run.workloads
    return result


@pytest.fixture(scope="module")
def evil(topk: WorkloadResult) -> dict[str, CandidateResult]:
    return candidates(topk, "evil.")


@pytest.mark.parametrize("name", [*FAILURES, *ONLY_TOPK])
def test_failure_becomes_a_status_with_a_reason(evil: dict[str, CandidateResult], name: str) -> None:
    status, reason = (FAILURES | ONLY_TOPK)[name]
    assert evil[name].status == status, evil[name]
    assert re.search(reason, evil[name].reason or ""), evil[name].reason


@pytest.mark.parametrize("name", HARMLESS)
def test_a_nuisance_that_is_right_is_measured(evil: dict[str, CandidateResult], name: str) -> None:
    assert evil[name].status in MEASURED, evil[name]
    assert evil[name].rough_us is not None


def test_building_counts_apart_from_the_time_limit(evil: dict[str, CandidateResult]) -> None:
    assert evil["builds_slowly"].status in MEASURED
    assert evil["builds_slowly"].build_s is not None


def test_the_run_goes_on_to_a_right_winner(finished: Finished, topk: WorkloadResult) -> None:
    assert topk.choice is not None
    winner = topk.candidate(topk.choice.winner)
    assert winner.status == "ok"
    assert all(case.ok for case in winner.evidence)
    # A worker was killed each time, perhaps from outside: shown, and not reused from a cache.
    assert topk.stopped == "killed"
    assert finished.run.complete


def test_who_was_beaten_by_cheaters_only_is_raced_after_all(topk: WorkloadResult) -> None:
    """The liars took 2 us, the honest ones 20: the vetting's times alone had put these out of the race."""
    honest = candidates(topk)["torch.topk(sorted=false)"]
    assert honest.status in MEASURED
    assert len(honest.rounds) >= 2


def test_failures_in_the_race_keep_their_evidence(evil: dict[str, CandidateResult]) -> None:
    wrong = evil["is_wrong_later"]
    assert [(case.case, case.ok) for case in wrong.evidence] == [
        ("normal", True),
        ("refilled", True),
        ("normal", False),
    ]
    assert wrong.rounds_us  # what it measured before it was found out


def test_json_is_all_that_is_on_stdout(finished: Finished) -> None:
    (workload,) = finished.summary["workloads"]  # type: ignore[misc]
    assert "evil.returns_zeros" in workload["incorrect"]  # type: ignore[index]


def test_every_failure_on_attention(autotune: Autotune) -> None:
    """Those that don't end the process, on another family's judge; and the table is drawn whatever reasons hold."""
    quick = [name for name, (status, _) in FAILURES.items() if status not in ("crashed", "timeout")]
    chosen = ",".join(f"evil.{name}" for name in quick)
    options = ("--op", "decode", "--batch", "2", "--context", "32", "--rounds", "3", "--no-cache", "--all")
    program = autotune.with_variables(EVIL_HANGS=str(autotune.root / "hangs"))
    finished = program("tune", *options, "--kernels", EVIL, "--backend", chosen, code=0)
    rows = re.findall(r"^evil\.(\w+) +(error|incorrect|out of memory)", finished.out, re.MULTILINE)
    expected = {name: FAILURES[name][0].replace("_", " ") for name in quick}
    assert dict(rows) == expected
    assert "no such luck [/red]" in finished.out


def test_no_right_candidate_is_exit_4(autotune: Autotune, tmp_path: Path) -> None:
    """A file that breaks torch itself for every candidate in the worker."""
    file = tmp_path / "breaks_torch.py"
    file.write_text(
        "import torch\n"
        "def broken(*arguments, **options):\n"
        "    raise RuntimeError('no kernel image is available')\n"
        "right = torch.topk\n"
        "class Late:\n"
        "    def __call__(self, *a, **o):\n"
        "        import sys\n"
        "        callers = sys._getframe(1).f_code.co_filename\n"
        "        return (broken if 'backends' in callers else right)(*a, **o)\n"
        "torch.topk = Late()\n"
    )
    finished = autotune("tune", "--no-cache", *TINY, "--kernels", file, code=4)
    assert re.search("none +- +error", finished.out)
    assert "no winner" in finished.out
    assert "no kernel image is available" in finished.out
