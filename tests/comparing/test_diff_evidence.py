"""From files to verdicts: what the conditions of the rounds do, and how many rows are shown."""

from __future__ import annotations

import pytest
from diff_builders import FAST, SLOW, candidate, failed, found, noisy, report, result, run

from autotune_cli.comparing.decisions import Reason
from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.render.diff_rows import rows_of
from autotune_cli.results.schema import Conditions, RunFile


def made(us: float, clocks: tuple[float | None, ...] = (1980.0,) * 10, dropped: int = 0) -> RunFile:
    """A run of one kernel in ten rounds at those clocks, beside rounds that were dropped at another one."""
    kept = [Conditions(round=number, sm_clock_mhz=clock) for number, clock in enumerate(clocks)]
    gone = [Conditions(round=10 + number, sm_clock_mhz=500.0, dropped=True) for number in range(dropped)]
    return run(result((candidate(FAST, noisy(us, us)),), conditions=(*kept, *gone)))


def test_a_difference_between_throttled_runs_is_not_believed() -> None:
    assert found(report(made(100), made(110)), FAST).verdict == ChangeVerdict.SLOWER
    for a, b in ((made(100), made(110, dropped=3)), (made(100, dropped=3), made(110))):
        row = found(report(a, b), FAST)
        assert row.verdict == ChangeVerdict.AMBIGUOUS
        assert Reason.ROUNDS_DROPPED in row.decision.reasons
    assert found(report(made(100, dropped=2), made(110, dropped=2)), FAST).verdict == ChangeVerdict.SLOWER
    # Of several sessions the worst one counts, wherever it stands.
    for sides in ([made(110), made(110.1, dropped=3)], [made(110, dropped=3), made(110.1)]):
        row = found(report([made(100), made(100.1)], sides), FAST)
        assert Reason.ROUNDS_DROPPED in row.decision.reasons


def test_the_clock_of_a_candidates_own_rounds_explains_a_difference() -> None:
    slow = (1800.0,) * 10
    row = found(report(made(100), made(110, slow)), FAST)
    assert row.verdict == ChangeVerdict.AMBIGUOUS
    assert Reason.CLOCK_DIFFERS in row.decision.reasons
    # The median over the rounds, and nothing where the clock isn't known.
    assert found(report(made(100), made(110, (*slow[:4], *(1980.0,) * 6))), FAST).verdict == ChangeVerdict.SLOWER
    assert found(report(made(100), made(110, (None,) * 10)), FAST).verdict == ChangeVerdict.SLOWER
    # Two candidates of a session in different rounds have different clocks.
    conditions = tuple(Conditions(round=number, sm_clock_mhz=1980.0 if number < 5 else 1800.0) for number in range(10))
    early = candidate(FAST, noisy(110, 1, 5), rounds=(0, 1, 2, 3, 4))
    late = candidate(SLOW, noisy(110, 2, 5), rounds=(5, 6, 7, 8, 9))
    before = run(result((candidate(FAST, noisy(100, 3, 5)), candidate(SLOW, noisy(100, 4, 5)))))
    both = report(before, run(result((early, late), conditions=conditions)))
    assert found(both, FAST).verdict == ChangeVerdict.SLOWER
    assert Reason.CLOCK_DIFFERS in found(both, SLOW).decision.reasons


@pytest.mark.parametrize(("workloads", "rows"), [(1, 1), (2, 2), (3, 1), (5, 1)])
def test_a_candidate_that_fails_in_many_workloads_is_one_row(workloads: int, rows: int) -> None:
    good = [result((candidate(FAST, noisy(40, n)), candidate(SLOW, noisy(50, n))), n) for n in range(1, workloads + 1)]
    bad = [result((candidate(FAST, noisy(40, n)), failed(SLOW)), n) for n in range(1, workloads + 1)]
    compared = report(run(*good), run(*bad))
    status = [line for line in rows_of(compared) if line.word == "status"]
    assert len(status) == rows
    assert status[0].workload == (f"{workloads} workloads" if rows < workloads else "attention.decode 1x8192")
    assert len([line for line in rows_of(compared, every=True) if line.word == "status"]) == workloads
