"""Candidates by their knobs, and what is ready to be launched."""

from __future__ import annotations

import pytest

from autotune_cli.kernels.registry import Candidate, Knob, LaunchPlan, Prepared, parse_key

DECODE = Candidate("a.decode", (("path", "fa3"), ("page_size", 16), ("split", None), ("pdl", False)))


@pytest.mark.parametrize(
    ("knobs", "fits"),
    [
        ((), True),
        ((("path", "fa3"),), True),
        ((("page_size", 16), ("path", "fa3")), True),
        ((("page_size", "16"), ("split", "none"), ("pdl", "false")), True),
        ((("path", "fa2"),), False),
        ((("path", "fa"),), False),
        ((("page_size", 1),), False),
        ((("page_size", 16), ("page_size", 1)), False),
        ((("split", "None"),), False),
        ((("tile", None),), False),
    ],
)
def test_a_candidate_matches_the_knobs_that_it_has(knobs: tuple[tuple[str, Knob], ...], fits: bool) -> None:
    assert DECODE.matches(knobs) == fits


def test_a_key_and_its_knobs() -> None:
    assert DECODE.key == "a.decode(path=fa3,page_size=16,split=none,pdl=false)"
    assert parse_key(DECODE.key) == (DECODE.backend, DECODE.knobs)
    assert DECODE.matches(parse_key(DECODE.key)[1])


def test_who_plans_nothing_describes_nothing() -> None:
    assert Prepared(print).describe() == ()
    plan = LaunchPlan(True, 4, buffers={"workspace": 8})
    assert Prepared(print, describe=lambda: (plan,)).describe() == (plan,)
