"""Candidates that were out before the race on a side: how far off they were, and what changed beyond doubt."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diff_builders import FAST, SLOW, candidate, env, failed, found, noisy, report, result, run, write

from autotune_cli.comparing.decisions import Reason
from autotune_cli.comparing.exit_status import exit_status
from autotune_cli.comparing.rough import rough_ratio
from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.render.diff_model import totals
from autotune_cli.render.diff_rows import rows_of
from autotune_cli.results.schema import CandidateResult, Environment, RunFile

Usage = Callable[..., Any]
BEST = candidate(FAST, noisy(40, 1), rough_us=41.0)
OUT = "its rough time is over 1.3 times the best one's"


def out(us: float | None, **changes: Any) -> CandidateResult:
    return candidate(SLOW, rough_us=us, reason=OUT, **changes)


def raced(us: float, seed: int = 2, rough: float | None = None) -> CandidateResult:
    return candidate(SLOW, noisy(us, seed), rough_us=rough or us)


def of(*candidates: CandidateResult, environment: Environment | None = None) -> RunFile:
    return run(result((BEST, *candidates), environment=environment), environment=environment)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (out(413.0), raced(20.0), ChangeVerdict.FASTER),
        (out(413.0), out(60.0), ChangeVerdict.FASTER),
        (raced(50.0), out(100.0), ChangeVerdict.SLOWER),
        (out(60.0), out(413.0), ChangeVerdict.SLOWER),
        (raced(50.0), out(72.0), ChangeVerdict.ELIMINATED),
        (out(413.0), out(300.0), ChangeVerdict.ELIMINATED),
        (out(None), raced(20.0), ChangeVerdict.ELIMINATED),
        # The rough time says 20 times as fast, the race says nothing of it, or the other way round: not beyond doubt.
        (out(413.0), raced(400.0, rough=20.0), ChangeVerdict.ELIMINATED),
        (out(413.0), raced(20.0, rough=400.0), ChangeVerdict.ELIMINATED),
    ],
)
def test_rough_times_show_what_is_far_beyond_them(
    a: CandidateResult, b: CandidateResult, verdict: ChangeVerdict
) -> None:
    there, back = found(report(of(a), of(b)), SLOW), found(report(of(b), of(a)), SLOW)
    mirror = {ChangeVerdict.FASTER: ChangeVerdict.SLOWER, ChangeVerdict.SLOWER: ChangeVerdict.FASTER}
    assert there.verdict == verdict
    assert back.verdict == mirror.get(verdict, verdict)
    if verdict in mirror:
        assert Reason.ROUGH in there.decision.reasons
        assert there.decision.ratio == pytest.approx(1.0 / (back.decision.ratio or 0.0))
        assert there.decision.interval is None


def test_twenty_times_as_fast_reads_faster(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", of(out(413.0)))
    write(tmp_path / "b.json", of(raced(20.0)))
    done = usage("diff", "a.json", "b.json")
    assert "1 slower" not in done.out
    assert "0 slower, 1 faster" in done.out
    (row,) = (line for line in done.out.splitlines() if line.startswith("faster"))
    assert "~413.0 -> 19.99 us  -95.2 %" in row
    assert "eliminated on its rough time (413 us, 10.07x the best) in A" in " ".join(done.out.split())
    back = usage("diff", "b.json", "a.json")
    assert (back.code, "exit 1: 1 slower" in back.out) == (1, True)


def test_how_far_off_it_was_is_said_instead_of_not_timed() -> None:
    compared = report(of(out(72.0)), of(out(75.0)))
    row = found(compared, SLOW)
    assert (row.a_rough_us, row.b_rough_us) == (72.0, 75.0)
    assert row.a_behind == pytest.approx(72.0 / 41.0)
    (line,) = (line for line in rows_of(compared, every=True) if line.what == SLOW)
    assert (line.word, line.times) == ("eliminated", "~72.00 -> ~75.00 us")
    assert line.note == (
        "eliminated on its rough time (72 us, 1.76x the best) in A; "
        "eliminated on its rough time (75 us, 1.83x the best) in B"
    )
    assert "1 eliminated" in totals(compared)
    assert [line.what for line in rows_of(compared)] == []


def test_out_in_the_heats_says_by_how_much_there() -> None:
    heats = candidate(SLOW, rough_us=47.0, reason="1.162 times the best one's time in the first heat")
    row = found(report(of(raced(46.0)), of(heats)), SLOW)
    assert row.detail == "eliminated (1.162 times the best one's time in the first heat) in B"


def test_a_default_that_was_eliminated_is_always_shown() -> None:
    compared = report(of(out(72.0, default=True)), of(out(75.0, default=True)))
    assert [(line.word, line.what) for line in rows_of(compared)] == [("eliminated", f"{SLOW} (default)")]


def test_on_a_cpu_rough_times_count_for_less() -> None:
    cpu = env(device_kind="cpu", device="AMD EPYC", threads=2)
    twice, often = (report(of(out(us), environment=cpu), of(out(50.0), environment=cpu)) for us in (100.0, 413.0))
    assert found(twice, SLOW).verdict == ChangeVerdict.ELIMINATED
    assert found(often, SLOW).verdict == ChangeVerdict.FASTER


def test_a_duplicate_or_one_without_budget_is_not_timed() -> None:
    twin = candidate(SLOW, status="duplicate", same_as=FAST, rough_us=41.0)
    skipped = candidate(SLOW, status="skipped", reason="the budget was spent before its turn")
    assert found(report(of(twin), of(twin)), SLOW).verdict == ChangeVerdict.NOT_TIMED
    assert found(report(of(skipped), of(raced(41.0))), SLOW).verdict == ChangeVerdict.NOT_TIMED
    # A failure on both sides has no times either, whatever was measured before it failed.
    wrong = failed(SLOW, rough_us=5.0), failed(SLOW, rough_us=500.0)
    assert found(report(of(wrong[0]), of(wrong[1])), SLOW).verdict == ChangeVerdict.NOT_TIMED


def test_a_ratio_needs_a_time_on_each_side() -> None:
    assert rough_ratio((None, 5.0), (None, None), 1.5) == (None, False)
    assert rough_ratio((None, 5.0), (1.0, None), 1.5) == (5.0, True)
    assert rough_ratio((10.0, 5.0), (4.0, None), 1.5) == (1.25, False)


@pytest.mark.parametrize(("count", "rows"), [(3, 3), (4, 1), (40, 1)])
def test_another_choice_of_backends_is_one_row(count: int, rows: int) -> None:
    others = [candidate(f"other{i % 6}(knob={i})", noisy(50 + i, i)) for i in range(count)]
    compared = report(of(*others), of())
    found_rows = [line for line in rows_of(compared) if line.word == "only in A"]
    assert len(found_rows) == rows
    if rows == 1:
        more = f" and {min(count, 6) - 4} more backends" if count > 5 else ""
        assert found_rows[0].what == f"{count} candidates of other0, other1, other2, other3{more}"
    assert len([line for line in rows_of(compared, every=True) if line.word == "only in A"]) == count
    assert exit_status(compared, ("slower", "status")).exit_code == 0


def test_what_was_chosen_has_a_row_of_its_own() -> None:
    others = [candidate(f"other(knob={i})", noisy(30 + i, i)) for i in range(9)]
    a = run(result((BEST, *others), winner="other(knob=0)"))
    rows = [line.what for line in rows_of(report(a, of())) if line.word == "only in A"]
    assert rows == ["other(knob=0) (chosen in A)", "8 candidates of other"]


def test_csv_has_rough_times(usage: Usage, tmp_path: Path) -> None:
    write(tmp_path / "a.json", of(out(413.0)))
    write(tmp_path / "b.json", of(raced(20.0)))
    rows = list(csv.DictReader(io.StringIO(usage("diff", "a.json", "b.json", "--format", "csv").out)))
    row = next(row for row in rows if row["candidate"] == SLOW)
    assert (row["verdict"], row["reasons"], row["a_rough_us"]) == ("faster", "rough beyond_threshold", "413.0")
    assert float(row["a_behind"]) == pytest.approx(413.0 / 41.0)
