"""Paths that are not SGLang's over FlashInfer, and breakable graphs: what they run, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.errors import BadField
from autotune_cli.kernels.models import load_model
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.request import FA3, SGLANG, PathRequest

LLAMA = load_model("llama-3.1-8b")
SERVER = "sglang --attention-backend fa3"
# 3 x up to 40 new tokens: 94 in all, padded to 96.
SIZES = {"batch": 3, "new": 40, "context": 300}


def planned(mode: str = "extend", backend: str = FA3, **values: Any) -> tuple[PathSpec, list[str]]:
    sizes = {"batch": 3, "context": 300} if mode == "decode" else SIZES
    request = PathRequest(mode, backend=backend, **(sizes | values))  # type: ignore[arg-type]
    return plan_path(request, LLAMA, LLAMA.geometries())


@pytest.mark.parametrize("mode", ["decode", "extend", "mixed", "target_verify", "draft_extend", "draft_extend_v2"])
@pytest.mark.parametrize("forced", [True, False])
def test_fa3_is_one_paged_call_in_every_mode_and_phase(mode: str, forced: bool) -> None:
    spec, notes = planned(mode, forced_paged=forced, multimodal=True, multi_item_scoring=True)
    graphs = ["breakable"] if mode in ("extend", "mixed") else []
    assert [plan.name for plan in spec.phases] == ["eager", "capture", "replay", *graphs]
    assert notes == []
    for plan in spec.phases:
        assert str(plan.wanted) == SERVER
        assert (plan.shape, plan.planned, plan.executed, plan.writes) == ("paged", "paged", "paged", "before")
        assert plan.reason.startswith(f"{mode}: one paged call")


def test_fa3_without_a_prefix_is_paged_too() -> None:
    spec, _ = planned(prefix=False, context=40)
    assert {plan.shape for plan in spec.phases} == {"paged"}
    assert spec.layers[0].workload.operation == "attention.prefill"


def test_deterministic_fa3_is_another_server_with_fixed_splits() -> None:
    spec, notes = planned(deterministic=True)
    assert {str(plan.wanted) for plan in spec.phases} == {f"{SERVER} --enable-deterministic-inference"}
    assert notes == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "dllm_extend"}, r"mode: dllm_extend is no mode of backend=fa3 \(known: decode, extend, mixed"),
        ({"kernels": "fa2"}, "fa: chooses FlashInfer's kernels; backend=fa3 runs FlashAttention-3"),
        (
            {"phases": ("piecewise",), "pad_mode": "fake-request"},
            r"pad_mode: fake-request is not how backend=fa3 pads \(known: narrow\)",
        ),
        ({"mode": "decode", "phases": ("breakable",)}, "phases: breakable graphs are for .*, not for mode=decode"),
        (
            {"backend": "torch.sdpa", "phases": ("breakable",)},
            "phases: breakable graphs are for .*, not for backend=torch.sdpa",
        ),
        ({"new": 5000, "context": 6000, "phases": ("breakable",)}, "fit no captured size .*: leave breakable out"),
    ],
    ids=str,
)
def test_what_a_path_does_not_have(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadField, match=message):
        planned(**values)


def test_graphs_are_captured_for_the_longest_context_served() -> None:
    assert LLAMA.max_context == 131072
    (layer,) = planned("decode")[0].layers
    assert layer.workload.served_context == 131072  # type: ignore[union-attr]
    (layer,) = planned("decode", batch=1, context=200_000)[0].layers
    assert layer.workload.served_context == 200_000  # type: ignore[union-attr]


@pytest.mark.parametrize(("backend", "kept"), [(FA3, True), (SGLANG, False), ("torch.sdpa", False)])
def test_sinks_are_left_out_where_the_kernels_have_none(backend: str, kept: bool) -> None:
    model = load_model("gpt-oss-120b")
    spec, notes = plan_path(PathRequest("decode", backend=backend), model, model.geometries())
    assert [layer.workload.geometry.sinks for layer in spec.layers] == [kept, kept]  # type: ignore[union-attr]
    assert notes == ([] if kept else ["attention sinks are left out: the kernels of this path have none"])


def test_a_selection_has_no_path_of_attention() -> None:
    model = load_model("deepseek-v3.2")
    with pytest.raises(BadField, match="backend: fa3 is a path of attention, mode=topk has none"):
        plan_path(PathRequest("topk", backend=FA3), model, ())
    assert [str(plan.wanted) for plan in plan_path(PathRequest("topk"), model, ())[0].phases] == [""] * 3


def test_fa3_of_no_request() -> None:
    with pytest.raises(NothingToRun):
        planned("idle")


@pytest.mark.parametrize("backend", [SGLANG, FA3])
def test_graphs_in_pieces(backend: str) -> None:
    """A breakable graph narrows, whatever a piecewise one does."""
    spec, notes = planned(backend=backend, phases=("eager", "piecewise", "breakable"))
    usual = "fake-request" if backend == SGLANG else "narrow"
    assert [(plan.name, plan.in_pieces, plan.static_tokens) for plan in spec.phases] == [
        ("eager", False, 0),
        ("piecewise", True, 96),
        ("breakable", True, 96),
    ]
    assert [plan.pad_mode for plan in spec.phases[1:]] == [usual, "narrow"]
    assert notes == []
    asked, _ = planned(backend=SGLANG, phases=("piecewise", "breakable"), pad_mode="fake-request")
    assert [plan.pad_mode for plan in asked.phases] == ["fake-request", "narrow"]


@pytest.mark.parametrize(("prefix", "shape"), [(True, "pair"), (False, "ragged")])
def test_a_breakable_graph_may_take_the_ragged_path(prefix: bool, shape: str) -> None:
    """SGLang's flag for piecewise graphs isn't set in it: only what forces paged when eager does so there."""
    context = {} if prefix else {"context": 40}
    spec, _ = planned(backend=SGLANG, prefix=prefix, phases=("eager", "piecewise", "breakable"), **context)
    assert [plan.shape for plan in spec.phases] == [shape, "paged", shape]
    assert spec.phases[2].writes == "after"
    forced, _ = planned(backend=SGLANG, phases=("breakable",), forced_paged=True)
    assert (forced.phases[0].shape, forced.phases[0].writes) == ("paged", "before")


def test_more_padding_than_tokens_is_eager() -> None:
    spec, notes = planned(batch=1, new=1, context=100)
    assert [plan.name for plan in spec.phases] == ["eager", "capture", "replay"]
    assert notes == ["1 tokens fit no captured size: no breakable phase, as in SGLang"]
