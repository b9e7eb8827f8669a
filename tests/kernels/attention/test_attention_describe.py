"""What FlashInfer planned, as its backends tell it."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attention_cases import workload

from autotune_cli.kernels.attention.backends._flashinfer import PLANS, describe
from autotune_cli.kernels.attention.problem import make_problem
from autotune_cli.kernels.registry import Candidate, LaunchPlan, prepared


class Wrapper:
    """Of FlashInfer: keeps what was planned."""

    def __init__(self, *numbers: int) -> None:
        self._plan_info = numbers


def fa2(items: int, queries: int, split: bool) -> tuple[int, ...]:
    """PrefillPlanInfo of scheduler.cuh: padded_batch_size first, cta_tile_q fourth, split_kv last."""
    return (items, 0, 0, queries, *range(100, 110), int(split))


def decode(items: int, split: bool) -> tuple[int, ...]:
    """DecodePlanInfo."""
    return (items, *range(100, 108), int(split))


@pytest.mark.parametrize(
    ("path", "numbers", "plans"),
    [
        ("fa2", fa2(12, 64, False), (LaunchPlan(False, 12, 64),)),
        ("fa2", fa2(40, 16, True), (LaunchPlan(True, 40, 16),)),
        ("cuda_cores", decode(8, False), (LaunchPlan(False, 8),)),
        ("cuda_cores", decode(96, True), (LaunchPlan(True, 96),)),
        # fa3's plan says neither; another version's numbers aren't guessed at.
        ("fa3", tuple(range(9)), ()),
        ("fa3", fa2(1, 16, True), ()),
        ("fa2", decode(8, True), ()),
        ("cuda_cores", fa2(12, 64, False), ()),
    ],
)
def test_a_plan_is_read_by_the_kernels_that_it_is_for(path: str, numbers: Any, plans: tuple[LaunchPlan, ...]) -> None:
    assert describe(Wrapper(*numbers), path, {})() == plans


def test_nothing_planned_yet_and_planned_anew() -> None:
    wrapper = Wrapper()
    wrapper._plan_info = None  # type: ignore[assignment]
    asked = describe(wrapper, "fa2", {})
    assert asked() == describe(object(), "fa2", {})() == ()
    wrapper._plan_info = fa2(9, 64, True)
    assert asked() == (LaunchPlan(True, 9, 64),)
    wrapper._plan_info = fa2(3, 64, False)
    assert asked() == (LaunchPlan(False, 3, 64),)


PAGE = ("page_size", 16)
DECODE = (("split", None), ("pdl", None))


@pytest.mark.parametrize(
    ("operation", "candidate", "tiles"),
    [
        ("attention.decode", Candidate("flashinfer.decode", (("path", "tensor_cores"), PAGE, *DECODE)), (64,)),
        ("attention.decode", Candidate("flashinfer.decode", (("path", "cuda_cores"), PAGE, *DECODE)), (None,)),
        ("attention.decode", Candidate("flashinfer.decode", (("path", "fa3"), PAGE, *DECODE)), ()),
        ("attention.prefill", Candidate("flashinfer.ragged", (("path", "fa2"),)), (64,)),
        ("attention.prefill", Candidate("flashinfer.paged", (("path", "fa2"), PAGE)), (64,)),
        ("attention.extend", Candidate("flashinfer.paged", (("path", "fa3"), PAGE)), ()),
        (
            "attention.extend",
            Candidate("flashinfer.ragged_paged_merge", (("ragged", "fa2"), ("paged", "fa2"), PAGE)),
            (64, 128),
        ),
        (
            "attention.extend",
            Candidate("flashinfer.ragged_paged_merge", (("ragged", "fa3"), ("paged", "fa2"), PAGE)),
            (128,),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_every_planned_wrapper_is_described(
    operation: str, mode: str, candidate: Candidate, tiles: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Importing flashinfer makes folders and a log, by default in $HOME.
    os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    import flashinfer_emulator

    flashinfer_emulator.install(monkeypatch)
    monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._WORKSPACE", 1 << 20)
    monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._GRID", 1)

    def planned(self: Any, *args: Any, **kwargs: Any) -> None:
        """Numbers of the kind of plan that the wrapper's kernels have."""
        tensor_cores = self.made.get("use_tensor_cores", True)
        tile = 128 if "paged_kv_indptr" in kwargs and operation == "attention.extend" else 64
        numbers = fa2(5, tile, True) if tensor_cores else decode(5, True)
        self._plan_info = range(9) if self.made["backend"] == "fa3" else numbers

    monkeypatch.setattr(flashinfer_emulator.Wrapper, "plan", planned)
    for kind in (flashinfer_emulator.Decode, flashinfer_emulator.Paged):
        monkeypatch.delattr(kind, "plan")
    made = make_problem(workload(operation, mode=mode), "workload", "cpu", 7)
    found = prepared(candidate, made).describe()
    assert [(plan.split, plan.work_items, plan.tile) for plan in found] == [(True, 5, tile) for tile in tiles]
    for plan in found:
        assert plan.buffers["float_workspace_buffer"] >= 1 << 20
        kept = {name for name in plan.buffers if "indptr" in name}
        assert bool(kept) == (mode == "graph")


@pytest.mark.parametrize(("path", "plan"), [("fa2", "PrefillPlanInfo"), ("cuda_cores", "DecodePlanInfo")])
def test_the_numbers_stand_where_the_installed_flashinfer_has_them(path: str, plan: str) -> None:
    found = importlib.util.find_spec("flashinfer")
    if found is None or found.origin is None:
        pytest.skip("flashinfer is not installed")
    header = Path(found.origin).parent / "data/include/flashinfer/attention/scheduler.cuh"
    text = header.read_text(encoding="utf-8").partition(f"struct {plan} {{")[2]
    listed = re.search(r"ToVector\(\) const \{\s*return \{([^}]*)\}", text)
    assert listed is not None
    names = [name.strip() for name in listed[1].split(",")]
    places = dict(PLANS[path])
    assert len(names) == places.pop("numbers")
    assert {name: names.index(name) for name in places} == places


def test_a_plan_under_a_custom_mask() -> None:
    wrapper = Wrapper(*fa2(9, 64, True))
    wrapper._custom_mask_buf = None  # type: ignore[attr-defined]
    assert not any(plan.masked for plan in describe(wrapper, "fa2", {})())
    wrapper._custom_mask_buf = object()  # type: ignore[attr-defined]
    assert all(plan.masked for plan in describe(wrapper, "fa2", {})())
