"""Real H200 runs of the same code (tests/data/diff): read, compared with each other, and no false alarm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from diff_builders import report

from autotune_cli.comparing.verdicts import ChangeVerdict, ChoiceVerdict
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

FILES = sorted((Path(__file__).parent.parent / "data" / "diff").glob("*.json"))
# All pairs take a while; benchmarks/diff_aa.py does them all.
EVERY = 2


def test_the_runs_are_there() -> None:
    """They are part of the repository: a checkout without them is broken."""
    assert len(FILES) == 12


@pytest.fixture(scope="module")
def runs() -> list[RunFile]:
    return [read_run(file) for file in FILES]


def test_a_real_run_against_itself_is_all_same(runs: list[RunFile]) -> None:
    compared = report(runs[0], runs[0])
    assert {c.verdict for c in compared.comparisons} <= {ChangeVerdict.SAME, ChangeVerdict.NOT_TIMED}
    assert {c.decision.ratio for c in compared.comparisons} <= {1.0, None}


def test_runs_of_the_same_code_give_no_false_alarm(runs: list[RunFile]) -> None:
    alarms = []
    for a, b in list(itertools.combinations(runs, 2))[::EVERY]:
        compared = report(a, b)
        alarms += [c for c in compared.comparisons if c.verdict in (ChangeVerdict.SLOWER, ChangeVerdict.FASTER)]
        alarms += [c for c in compared.choices if c.decision.verdict == ChoiceVerdict.CHANGED]  # type: ignore[misc]
    assert alarms == []


def test_repeated_sessions_give_no_false_alarm(runs: list[RunFile]) -> None:
    half = len(runs) // 2
    compared = report(runs[:half], runs[half:])
    assert compared.sessions == (half, half)
    assert compared.count(ChangeVerdict.SLOWER) == compared.count(ChangeVerdict.FASTER) == 0
    assert compared.count(ChangeVerdict.SAME) > 0


@pytest.mark.parametrize("size", [0.02, 0.05])
def test_slow_downs_in_three_real_sessions_are_found(runs: list[RunFile], size: float) -> None:
    a, b = runs[:3], runs[3:6]
    slow = next(c for c in runs[0].workloads[1].candidates if c.default)
    compared = report(a, [_slowed(run, runs[0].workloads[1].key, slow.key, 1.0 + size) for run in b])
    assert {(c.workload, c.candidate) for c in compared.comparisons if c.verdict == ChangeVerdict.SLOWER} == {
        (runs[0].workloads[1].key, slow.key)
    }


def _slowed(run: RunFile, workload: str, candidate: str, factor: float) -> RunFile:
    results = []
    for result in run.workloads:
        candidates = tuple(
            c.model_copy(update={"rounds_us": tuple(us * factor for us in c.rounds_us)})
            if (result.key, c.key) == (workload, candidate)
            else c
            for c in result.candidates
        )
        results.append(result.model_copy(update={"candidates": candidates}))
    return run.model_copy(update={"workloads": tuple(results)})
