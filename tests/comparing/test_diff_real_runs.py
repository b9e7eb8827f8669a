"""Real H200 runs of the same code (tests/data/diff): read, compared with each other, and no false alarm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from diff_builders import report

from autotune_cli.comparing.choices import ChoiceVerdict
from autotune_cli.comparing.verdicts import Verdict
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

FILES = sorted((Path(__file__).parent.parent / "data" / "diff").glob("*.json"))
# All pairs take a while; benchmarks/diff_aa.py does them all.
MOST_PAIRS = 30

pytestmark = pytest.mark.skipif(len(FILES) < 2, reason="no real runs in tests/data/diff")


@pytest.fixture(scope="module")
def runs() -> list[RunFile]:
    return [read_run(file) for file in FILES]


def test_a_real_run_against_itself_is_all_same(runs: list[RunFile]) -> None:
    compared = report(runs[0], runs[0])
    assert {c.verdict for c in compared.comparisons} <= {Verdict.SAME, Verdict.NOT_TIMED}
    assert {c.decision.ratio for c in compared.comparisons} <= {1.0, None}


def test_runs_of_the_same_code_give_no_false_alarm(runs: list[RunFile]) -> None:
    alarms = []
    for a, b in list(itertools.combinations(runs, 2))[:MOST_PAIRS]:
        compared = report(a, b)
        alarms += [c for c in compared.comparisons if c.verdict in (Verdict.SLOWER, Verdict.FASTER)]
        alarms += [c for c in compared.choices if c.decision.verdict == ChoiceVerdict.CHANGED]  # type: ignore[misc]
    assert alarms == []
