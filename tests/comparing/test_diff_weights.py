"""What ``autotune diff`` says of how often a server runs each workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from diff_builders import FAST, candidate, noisy, report, result, run, write
from running import Finished

from autotune_cli.results.schema import RunFile, Traffic

TRAFFIC = Traffic(digest="0123456789abcdef", files=("a.jsonl (lengths)",), steps=7)
OTHER = Traffic(digest="fedcba9876543210", files=("b.jsonl (lengths)",), steps=7)
CANT = "how often a server runs a workload can't be compared: "


def made(weights: Mapping[int, float | None], traffic: Traffic | None = TRAFFIC, seed: int = 0) -> RunFile:
    """A run with these weights by batch size."""
    results = [
        result(
            (candidate(FAST, noisy(40.0, seed + batch)),), batch=batch, when=f"2026-11-21T0{seed}:00:00Z"
        ).model_copy(update={"weight": weight})
        for batch, weight in weights.items()
    ]
    return run(*results, traffic=traffic)


BOTH: dict[int, float | None] = {1: 32.0, 8: 64.0}
NONE: dict[int, float | None] = {1: None, 8: None}


@pytest.mark.parametrize(
    ("a", "b", "note"),
    [
        (made(NONE, None), made(NONE, None, 1), None),
        (made(BOTH), made(BOTH, seed=1), None),
        (made(NONE, None), made(BOTH, seed=1), f"{CANT}A has no traffic record"),
        (made(BOTH), made(NONE, None, 1), f"{CANT}B has no traffic record"),
        (made(BOTH, None), made(BOTH, seed=1), f"{CANT}A has no traffic record"),
        (made(BOTH, None), made({1: 32.0, 8: 65.0}, None, 1), f"{CANT}A and B have no traffic record"),
        (made(BOTH), made(BOTH, OTHER, 1), f"{CANT}the traffic is not the same"),
        (
            made(BOTH),
            made({1: 32.0, 8: 65.0}, seed=1),
            "1 workload has another weight in B than in A, attention.decode 8 x 8192: 64 -> 65",
        ),
        (
            made(BOTH),
            made({1: 32.5, 8: None}, seed=1),
            "2 workloads have another weight in B than in A, such as attention.decode 1 x 8192: 32 -> 32.5",
        ),
    ],
)
def test_weights_are_compared_or_it_is_said_why_not(a: RunFile, b: RunFile, note: str | None) -> None:
    notes = [each for each in report(a, b).notes if "weight" in each or "traffic" in each]
    assert notes == ([] if note is None else [note])


def test_weights_are_no_verdict(usage: Callable[..., Finished], tmp_path: Path) -> None:
    files: list[Any] = [write(tmp_path / "a.json", made(NONE, None)), write(tmp_path / "b.json", made(BOTH, seed=1))]
    done = usage("diff", *files)
    assert done.code == 0
    assert f"note: {CANT}A has no traffic record" in done.out
