"""How the work was split, in the words that phases are compared by."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.kernels.registry import LaunchPlan, Prepared
from autotune_cli.profiling.recording.step import split_policy


@pytest.mark.parametrize(
    ("plans", "policy"),
    [
        ((), ""),
        ((LaunchPlan(False, 12, 64),), "KV not split, 12 work items of 64 queries"),
        ((LaunchPlan(True, 96, buffers={"workspace": 1024}),), "KV split, 96 work items"),
        (
            (LaunchPlan(False, 3, 128), LaunchPlan(True, 9, 64)),
            "KV not split, 3 work items of 128 queries + KV split, 9 work items of 64 queries",
        ),
    ],
)
def test_how_the_work_was_split(plans: tuple[LaunchPlan, ...], policy: str) -> None:
    assert split_policy(Prepared(print, describe=lambda: plans)) == policy


def test_a_backend_that_says_nothing() -> None:
    """One of the user's may hand over any callable."""

    class Launcher:
        def __call__(self) -> Any:
            return None

    assert split_policy(Prepared(print)) == split_policy(Prepared(Launcher())) == ""
