"""How FlashInfer split the work, read from its plans."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import Prepared
from autotune_cli.profiling.recording.step import split_policy


class Wrapper:
    """Of FlashInfer: keeps what was planned."""

    def __init__(self, *numbers: int) -> None:
        self._plan_info = numbers

    def run(self) -> None:
        return None


def fa2(items: int, queries: int, split: bool) -> Wrapper:
    """PrefillPlanInfo of scheduler.cuh: padded_batch_size first, cta_tile_q fourth, split_kv last."""
    return Wrapper(items, 0, 0, queries, *range(100, 110), int(split))


def decode(items: int, split: bool) -> Wrapper:
    """DecodePlanInfo."""
    return Wrapper(items, *range(100, 108), int(split))


def over(*wrappers: object) -> Callable[[], Any]:
    """A ``run`` as the backends make them: a function over its wrappers."""
    if len(wrappers) == 1:
        (wrapper,) = wrappers
        return lambda: wrapper.run()  # type: ignore[attr-defined]
    first, second = wrappers
    return lambda: (first.run(), second.run())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("run", "policy"),
    [
        (over(fa2(12, 64, False)), "KV not split, 12 work items of 64 queries"),
        (over(fa2(40, 16, True)), "KV split, 40 work items of 16 queries"),
        (over(decode(8, False)), "KV not split, 8 work items"),
        (over(decode(96, True)), "KV split, 96 work items"),
        (
            over(fa2(3, 128, False), fa2(9, 64, True)),
            "KV not split, 3 work items of 128 queries + KV split, 9 work items of 64 queries",
        ),
        # fa3 has nine numbers and never splits; others keep nothing.
        (over(Wrapper(*range(9))), ""),
        (over(Wrapper(*range(9)), fa2(1, 16, False)), "KV not split, 1 work items of 16 queries"),
        (over(object()), ""),
        (lambda: None, ""),
    ],
)
def test_how_the_work_was_split(run: Callable[[], Any], policy: str) -> None:
    assert split_policy(Prepared(run)) == policy


def test_a_plan_that_was_made_anew_is_read_anew() -> None:
    wrapper = fa2(3, 64, False)
    ready = Prepared(over(wrapper))
    assert split_policy(ready) == "KV not split, 3 work items of 64 queries"
    wrapper._plan_info = fa2(9, 64, True)._plan_info
    assert split_policy(ready) == "KV split, 9 work items of 64 queries"


def test_not_planned_yet() -> None:
    wrapper = Wrapper()
    wrapper._plan_info = None  # type: ignore[assignment]
    assert split_policy(Prepared(over(wrapper))) == ""


class Callable_:
    def __call__(self) -> None:
        return None


def unset() -> Callable[[], Any]:
    """A function over a variable that isn't set."""

    def run() -> Any:
        return wrapper.run()

    if not callable(run):
        wrapper = fa2(1, 16, False)
    return run


@pytest.mark.parametrize(
    "run",
    [functools.partial(print), print, Callable_(), Wrapper(1).run, torch.nn.Identity(), unset()],
    ids=lambda run: type(run).__name__,
)
def test_users_functions_of_any_kind_say_nothing(run: Callable[[], Any]) -> None:
    """A backend of one's own may hand over what is no function of Python's."""
    assert split_policy(Prepared(run)) == ""


@pytest.mark.parametrize(
    ("plan", "places"),
    [
        ("PrefillPlanInfo", {"padded_batch_size": 0, "cta_tile_q": 3, "split_kv": 14}),
        ("DecodePlanInfo", {"padded_batch_size": 0, "split_kv": 9}),
    ],
)
def test_the_numbers_stand_where_the_installed_flashinfer_has_them(plan: str, places: dict[str, int]) -> None:
    found = importlib.util.find_spec("flashinfer")
    if found is None or found.origin is None:
        pytest.skip("flashinfer is not installed")
    header = Path(found.origin).parent / "data/include/flashinfer/attention/scheduler.cuh"
    text = header.read_text(encoding="utf-8").partition(f"struct {plan} {{")[2]
    listed = re.search(r"ToVector\(\) const \{\s*return \{([^}]*)\}", text)
    assert listed is not None
    names = [name.strip() for name in listed[1].split(",")]
    assert len(names) == {"PrefillPlanInfo": 15, "DecodePlanInfo": 10}[plan]
    assert {name: names.index(name) for name in places} == places
