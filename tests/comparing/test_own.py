"""The user's own kernels of a run against the default, the best other, and an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diff_builders import candidate, failed, noisy, result, run

from autotune_cli.comparing.own import Earlier, OwnCandidate, OwnWorkload, compare_with, own_workloads
from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.render.console import Console
from autotune_cli.render.own_data import own_data
from autotune_cli.render.own_kernels import print_own
from autotune_cli.results.schema import BaselineResult, CandidateResult, RunFile

DEFAULT = candidate("lib.slow", noisy(50, 1), default=True, rough_us=51.0)
BEST = candidate("lib.fast", noisy(40, 2), rough_us=41.0)
OUT = "its rough time is over 1.3 times the best one's"


def of(*own: CandidateResult, winner: str = "lib.fast", ties: tuple[str, ...] = ()) -> RunFile:
    held = BaselineResult(name="sglang", engine="sglang", candidate="lib.slow")
    return run(result((DEFAULT, BEST, *own), winner=winner, ties=ties, baselines=(held,)))


def mine(us: float, seed: int = 3, key: str = "mine.x", **changes: Any) -> CandidateResult:
    return candidate(key, noisy(us, seed), rough_us=us, **changes)


def looked_at(now: RunFile, before: RunFile | None = None) -> OwnWorkload:
    report = None if before is None else compare_with(Earlier(Path("a.json"), before), Path("b.json"), now)
    (found,) = own_workloads(now, {"mine.x", "mine.y"}, report)
    return found


def only(workload: OwnWorkload) -> OwnCandidate:
    (row,) = workload.candidates
    return row


def printed(*workloads: OwnWorkload, width: int = 160, every: bool = False) -> str:
    console = Console(width=width, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    print_own(console, workloads, ["compared with a.json"], every)
    return console.export_text()


def test_against_the_default_and_the_best_other() -> None:
    row = only(looked_at(of(mine(45.0))))
    assert row.default is not None
    assert row.other is not None
    assert (row.default.key, row.other.key) == ("lib.slow", "lib.fast")
    assert row.default.ratio == pytest.approx(50 / 45, rel=0.01)
    assert row.other.ratio == pytest.approx(40 / 45, rel=0.01)
    assert row.default.interval is not None
    assert row.default.interval[0] < row.default.ratio < row.default.interval[1]
    assert (row.rank, row.before) == ("", None)


def test_the_winner_is_held_to_the_best_of_the_others() -> None:
    row = only(looked_at(of(mine(30.0), winner="mine.x")))
    assert row.rank == "winner"
    assert row.other is not None
    assert row.other.ratio == pytest.approx(40 / 30, rel=0.01)
    assert "mine.x (winner)" in printed(looked_at(of(mine(30.0), winner="mine.x")))


def test_the_best_other_is_right() -> None:
    broke = candidate("lib.bad", noisy(5, 9), status="incorrect", reason="wrong after the race")
    row = only(looked_at(of(broke, mine(45.0))))
    assert row.other is not None
    assert row.other.key == "lib.fast"


def test_one_that_was_not_raced_is_compared_by_rough_times() -> None:
    row = only(looked_at(of(candidate("mine.x", rough_us=100.0, reason=OUT))))
    assert row.default is not None
    assert (row.default.rough, row.default.ratio, row.default.us) == (True, 0.51, 51.0)
    text = printed(looked_at(of(candidate("mine.x", rough_us=100.0, reason=OUT))))
    assert "~100.0" in text
    assert "~1.96x slower" in text


@pytest.mark.parametrize(
    ("before", "now", "verdict", "words"),
    [
        (mine(45.0), mine(40.5, 4), ChangeVerdict.FASTER, "faster -10."),
        (mine(45.0), mine(50.0, 4), ChangeVerdict.SLOWER, "slower +11."),
        (mine(45.0), mine(45.0, 4), ChangeVerdict.SAME, "same"),
        (candidate("mine.x", rough_us=900.0, reason=OUT), mine(45.0), ChangeVerdict.FASTER, "faster -95.0 %"),
        (failed("mine.x"), mine(45.0), ChangeVerdict.STATUS, "was incorrect"),
        (None, mine(45.0), ChangeVerdict.ONLY_B, "new"),
    ],
)
def test_against_the_earlier_run(
    before: CandidateResult | None, now: CandidateResult, verdict: ChangeVerdict, words: str
) -> None:
    found = looked_at(of(now), of(*([] if before is None else [before])))
    change = only(found).before
    assert change is not None
    assert change.verdict == verdict
    for width in (60, 160):
        assert words in printed(found, width=width)
    (record,) = own_data([found])
    assert record["change"]["verdict"] == verdict


def test_a_workload_that_the_earlier_run_lacks() -> None:
    other = run(result((DEFAULT, BEST, mine(45.0)), batch=1), result((DEFAULT, BEST), batch=64))
    now = of(mine(45.0, 4))
    found = looked_at(now, run(result((DEFAULT, BEST, mine(45.0)), batch=1)))
    assert (found.in_before, only(found).before) == (False, None)
    assert looked_at(now, other).in_before


def test_the_fastest_before_is_named_where_its_knobs_are_gone() -> None:
    found = looked_at(of(mine(30.0, key="mine.x(block=64)", backend="mine.x")), of(mine(45.0, key="mine.x(block=32)")))
    assert found.best_before is not None
    assert "best of yours before mine.x(block=32) 44.99 us" in printed(found)
    same = looked_at(of(mine(30.0)), of(mine(45.0, 4)))
    assert "best of yours" not in printed(same)


def test_failures_have_their_reasons_and_are_one_line_where_they_are_alike() -> None:
    keys = [f"mine.x(block={n})" for n in (16, 32, 64)]
    wrong = [failed(key, rough_us=5.0) for key in keys]
    apart = failed("mine.y", "error")
    unsupported = candidate("mine.x(block=1)", status="unsupported", reason="needs a power of 2 [red]")
    found = looked_at(of(*wrong, apart, unsupported))
    text = printed(found)
    assert "mine.x(block=16) and 2 more: incorrect, ~5.00 us: wrong on normal: misses 21 of 2048" in text
    assert "mine.y: error: wrong on normal" in text
    assert "mine.x(block=1): unsupported: needs a power of 2 [red]" in text
    assert all(f"{key}: incorrect" in printed(found, every=True) for key in keys)
    assert all(row.default is None and row.other is None for row in found.candidates)


def test_many_are_counted_and_all_lists_them() -> None:
    found = looked_at(of(*(mine(40.0 + n, n, f"mine.x(n={n})") for n in range(20))))
    text = printed(found)
    assert text.count("mine.x(n=") == 8
    assert "... 12 slower ones, up to 58.96 us" in text
    assert printed(found, every=True).count("mine.x(n=") == 20


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    long = f"mine.x(path={'abc_' * 12})"
    found = looked_at(of(mine(45.0, key=long), failed("mine.y", "error")), of(mine(50.0, 4, key=long)))
    text = "".join(printed(found, width=width).split())
    for part in (long, "44.99", "x faster", "x slower", "faster -10", "error: wrong on normal"):
        assert "".join(part.split()) in text
    assert max(map(len, printed(found, width=width).splitlines()[4:])) <= width


def test_without_own_candidates_there_is_nothing() -> None:
    assert own_workloads(of(), {"mine.x"}, None) == []
    assert printed() == ""
