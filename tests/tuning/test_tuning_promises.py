"""Candidates that promise more than being right cost time, so they are tuned only where somebody asks for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.registry import REGISTRY, Backend, Device
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.focus import Focus
from autotune_cli.tuning.messages import PlannedWorkload
from autotune_cli.tuning.plan import plan
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.request import Request
from autotune_cli.tuning.selection import _narrow
from autotune_cli.worker.protocol import WorkerSettings

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
WORKLOAD = TopkWorkload.select(rows=16, width=65536, k=2048)
ORDERED = "SGLANG_DSA_TOPK_FLASHINFER_DETERMINISTIC=1 sglang --dsa-topk-backend flashinfer"


def planned(*baselines: str) -> PlannedWorkload:
    return plan(WORKLOAD, H100, [parse_baseline(name) for name in baselines])


def kept(found: PlannedWorkload, **asked: Any) -> list[str]:
    worker = WorkerSettings("cuda")
    request = Request("x", (WORKLOAD,), worker, asked.pop("policy", RacePolicy()), Path(), **asked)
    return [entry.candidate.key for entry in _narrow(request, found).candidates]


def test_without_being_asked_for_they_are_left_out() -> None:
    found = planned("sglang")
    keys = kept(found)
    assert {"flashinfer.top_k(algorithm=auto)", "flashinfer.top_k(algorithm=auto,dsa_graph_safe=true)"} < set(keys)
    assert not [key for key in keys if "deterministic=true" in key or "tie_break=large" in key]
    assert all("tie_break=small" not in key or key.startswith("autotune.topk(") for key in keys)
    assert len(found.candidates) - len(keys) == 2 * 12 + 4


@pytest.mark.parametrize(
    "asked",
    [
        {"required": ("tie-break=small",)},
        {"backends": ("flashinfer", "autotune")},
        {"focus": Focus("flashinfer.top_k(algorithm=auto,deterministic=true")},
        {"policy": RacePolicy(exhaustive=True)},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_asked_for_they_are_tuned(asked: dict[str, Any]) -> None:
    assert [key for key in kept(planned("sglang"), **asked) if "deterministic=true,tie_break=large" in key]


def test_a_baseline_is_tuned_whatever_it_promises() -> None:
    ordered = [key for key in kept(planned("sglang", ORDERED)) if "deterministic=true" in key]
    assert ordered == ["flashinfer.top_k(algorithm=auto,deterministic=true,dsa_graph_safe=true)"]


def test_a_promise_is_a_knob_with_its_value_without_it() -> None:
    backend = Backend(
        "topk.select", name="x.y", knobs={"sorted": (False, True), "block": (1, 2)}, promises={"sorted": False}
    )
    assert [backend.promises_more(each) for each in backend.candidates(WORKLOAD, H100)] == [False, False, True, True]
    assert not any(Backend("topk.select", name="x.z", knobs={"sorted": (True,)}).promises_more(each)
                   for each in backend.candidates(WORKLOAD, H100))  # fmt: skip
    for odd in (("sorted",), "sorted", {1: False}):
        with pytest.raises(ValueError, match=r"promises=.* is no mapping of knobs to values"):
            Backend("topk.select", name="x.y", promises=odd)  # type: ignore[arg-type]


def test_promises_name_knobs_that_there_are() -> None:
    for backend in REGISTRY.all():
        names = {name for op in backend.operations if op == "topk.select"
                 for each in backend.candidates(WORKLOAD, H100) for name, _ in each.knobs}  # fmt: skip
        if names:
            assert backend.promises.keys() <= names, backend.name
    assert replace(planned("sglang").candidates[0], promises=True).promises
