"""Two cards of the same product differ by a few per cent, which is no change of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from diff_builders import SLOW, candidate, env, report, result, run

from autotune_cli.comparing.verdicts import ChangeVerdict
from autotune_cli.results.schema import RunFile

ROUNDS = (100.0, 100.1, 99.9, 100.05, 99.95, 100.0, 100.02, 99.98, 100.0)


def measured(card: str | None, factor: float = 1.0, when: str = "2026-11-21T01:00:00Z", kind: str = "cuda") -> RunFile:
    times = candidate(SLOW, [us * factor for us in ROUNDS])
    environment = env(device_kind=kind) if kind == "cuda" else env(device_kind=kind, device="a CPU", threads=2)
    return run(result((times,), when=when, card=card, environment=environment), environment=environment)


@pytest.mark.parametrize(
    ("a", "b", "factor", "verdict"),
    [
        ("GPU-1", "GPU-1", 1.02, ChangeVerdict.SLOWER),
        ("GPU-1", "GPU-2", 1.02, ChangeVerdict.AMBIGUOUS),
        ("GPU-1", None, 1.02, ChangeVerdict.AMBIGUOUS),
        (None, None, 1.02, ChangeVerdict.AMBIGUOUS),
        ("GPU-1", "GPU-2", 1.25, ChangeVerdict.SLOWER),
    ],
)
def test_what_another_card_can_be_is_not_called_slower(
    a: str | None, b: str | None, factor: float, verdict: ChangeVerdict
) -> None:
    compared = report(measured(a), measured(b, factor, "2026-11-21T02:00:00Z"))
    assert [c.verdict for c in compared.comparisons] == [verdict]
    assert bool(compared.notes) == (a != b or a is None)
    assert [(g.field, g.a, g.b) for g in compared.environment] == (
        [] if a == b else [("card", (a,), (b or "not recorded",))]
    )


def test_several_sessions_on_the_same_cards_are_compared_without_them() -> None:
    when = [f"2026-11-21T0{hour}:00:00Z" for hour in range(1, 5)]
    a = [measured("GPU-1", 1.0, when[0]), measured("GPU-2", 1.0, when[1])]
    b = [measured("GPU-2", 1.02, when[2]), measured("GPU-1", 1.02, when[3])]
    assert report(a, b).notes == ()
    assert report(a, b[:1]).notes != ()


def test_a_cpu_has_no_card() -> None:
    a, b = measured(None, kind="cpu"), measured(None, 1.02, "2026-11-21T02:00:00Z", "cpu")
    assert report(a, b).notes == ()


def test_the_real_runs_name_their_card() -> None:
    from autotune_cli.results.files import read_run

    files = sorted((Path(__file__).parent.parent / "data" / "diff").glob("*.json"))
    assert {result.card for file in files for result in read_run(file).workloads} == {"one H200"}
