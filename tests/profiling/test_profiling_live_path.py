"""What a phase of a path plans, runs and must show: SGLang's rules for every mode, and what a worker is to run."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from autotune_cli.kernels.models import Model, load_model
from autotune_cli.profiling.path import PathSpec, PhasePlan
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.request import PathRequest
from autotune_cli.sglang.resolve import MODES, ForwardMode, Resolution, resolve

LLAMA = load_model("llama-3.1-8b")
GRAPHS = ("capture", "replay")
FLAGS = ("forced_paged", "deterministic", "multimodal", "multi_item_scoring")


def path(mode: str, model: Model = LLAMA, **values: Any) -> PathSpec:
    ask = PathRequest(mode, **values)  # type: ignore[arg-type]
    return plan_path(ask, model, model.geometries())[0]


def phases(mode: str, model: Model = LLAMA, **values: Any) -> dict[str, PhasePlan]:
    return {plan.name: plan for plan in path(mode, model, **values).phases}


def found(mode: ForwardMode, phase: str, prefix: bool, flags: dict[str, bool]) -> Resolution:
    return resolve(mode, prefix=prefix, graph=phase in GRAPHS, piecewise=phase == "piecewise", **flags)


def wanted(executed: str, prefix: bool) -> str:
    """The candidate, as SGLang's wrappers are made: fa2, pages of one key, the ragged one by FlashInfer's choice."""
    paged, ragged = "flashinfer.paged(path=fa2,page_size=1)", "flashinfer.ragged"
    pair = "flashinfer.ragged_paged_merge(paged=fa2,page_size=1)"
    return {
        "decode": "flashinfer.decode(page_size=1)",
        "paged": paged,
        "ragged": pair if prefix else ragged,
    }[executed]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "idle"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no-prefix"])
def test_every_phase_follows_the_resolution(mode: ForwardMode, prefix: bool) -> None:
    """All combinations of the flags. Each is shown as it is, also where SGLang plans one path and runs another."""
    for values in itertools.product((False, True), repeat=len(FLAGS)):
        flags = dict(zip(FLAGS, values, strict=True))
        planned = phases(mode, prefix=prefix, **flags)
        graphs = () if mode == "decode" and flags["deterministic"] else GRAPHS
        assert list(planned) == ["eager", *graphs, *(["piecewise"] if mode in ("extend", "mixed") else [])]
        for name, plan in planned.items():
            rule = found(mode, name, prefix, flags)
            assert (plan.planned, plan.executed, plan.reason) == (rule.planned, rule.executed, rule.reason)
            assert plan.is_consistent == (rule.planned == rule.executed)
            shape = "paged" if rule.executed != "ragged" else "pair" if prefix else "ragged"
            assert plan.shape == shape, (name, flags)
            if not plan.wanted.baseline:
                assert str(plan.wanted) == wanted(rule.executed, prefix)
            # Deterministic inference names the server, whose splits are fixed.
            assert not plan.wanted.baseline or (flags["deterministic"] and name not in GRAPHS)
            # Ragged attention reads the new keys from where they are, and a paged call finds them in the cache.
            assert plan.writes == ("after" if rule.executed == "ragged" else "before")


@pytest.mark.parametrize(
    ("mode", "values", "phase", "planned", "executed", "shape", "candidate"),
    [
        ("extend", {}, "eager", "ragged", "ragged", "pair", "flashinfer.ragged_paged_merge(paged=fa2,page_size=1)"),
        ("extend", {"prefix": False}, "eager", "ragged", "ragged", "ragged", "flashinfer.ragged"),
        ("extend", {}, "replay", "paged", "paged", "paged", "flashinfer.paged(path=fa2,page_size=1)"),
        ("extend", {}, "piecewise", "paged", "paged", "paged", "flashinfer.paged(path=fa2,page_size=1)"),
        ("mixed", {"forced_paged": True}, "eager", "paged", "paged", "paged", "flashinfer.paged(path=fa2,page_size=1)"),
        ("decode", {}, "capture", "decode", "decode", "paged", "flashinfer.decode(page_size=1)"),
        ("target_verify", {}, "eager", "paged", "paged", "paged", "flashinfer.paged(path=fa2,page_size=1)"),
        # SGLang's fault: planned by the flag, executed ragged whatever it is.
        (
            "dllm_extend",
            {"forced_paged": True},
            "replay",
            "paged",
            "ragged",
            "pair",
            "flashinfer.ragged_paged_merge(paged=fa2,page_size=1)",
        ),
        ("dllm_extend", {"forced_paged": True, "prefix": False}, "capture", "paged", "ragged", "ragged", None),
        ("dllm_extend", {"forced_paged": True}, "eager", "paged", "paged", "paged", None),
    ],
)
def test_a_few_by_hand(
    mode: str, values: dict[str, bool], phase: str, planned: str, executed: str, shape: str, candidate: str | None
) -> None:
    plan = phases(mode, **values)[phase]
    assert (plan.planned, plan.executed, plan.shape) == (planned, executed, shape)
    assert candidate in (None, str(plan.wanted))


@pytest.mark.parametrize(
    ("mode", "prefix", "forced", "kernels", "candidate"),
    [
        ("extend", True, False, "fa2", "flashinfer.ragged_paged_merge(ragged=fa2,paged=fa2,page_size=1)"),
        ("extend", True, False, "fa3", "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa3,page_size=1)"),
        ("extend", False, False, "fa2", "flashinfer.ragged(path=fa2)"),
        ("extend", False, False, "fa3", "flashinfer.ragged(path=fa3)"),
        ("extend", True, True, "fa2", "flashinfer.paged(path=fa2,page_size=1)"),
        ("extend", True, True, "fa3", "flashinfer.paged(path=fa3,page_size=1)"),
        ("decode", True, True, "fa2", "flashinfer.decode(page_size=1)"),
        ("decode", True, True, "fa3", "flashinfer.decode(page_size=1,path=fa3)"),
    ],
)
def test_flashinfers_kernels_can_be_chosen(mode: str, prefix: bool, forced: bool, kernels: str, candidate: str) -> None:
    assert str(phases(mode, prefix=prefix, forced_paged=forced, kernels=kernels)["eager"].wanted) == candidate


@pytest.mark.parametrize(("forced", "shape"), [(False, "any"), (True, "paged")])
def test_another_backend_runs_as_it_is(forced: bool, shape: str) -> None:
    """No path of SGLang's: nothing is planned, nothing written, no piecewise graph; only --paged says what to see."""
    planned = phases("extend", backend="torch.sdpa(kernel=flash)", forced_paged=forced)
    assert list(planned) == ["eager", "capture", "replay"]
    for plan in planned.values():
        assert (plan.planned, plan.executed, plan.writes, plan.shape) == ("", "", "never", shape)
        assert plan.is_consistent
        assert str(plan.wanted) == "torch.sdpa(kernel=flash)"


@pytest.mark.parametrize("forced", [False, True])
def test_a_selection_is_the_default_or_the_one_that_is_named(forced: bool) -> None:
    deepseek = load_model("deepseek-v3.2")
    for backend, name in (("flashinfer", ""), ("flashinfer.top_k(tie_break=small)",) * 2):
        spec = path("topk", deepseek, backend=backend, forced_paged=forced, batch=3, context=9000)
        assert [plan.name for plan in spec.phases] == ["eager", "capture", "replay"]
        assert {(str(plan.wanted), plan.shape, plan.planned) for plan in spec.phases} == {(name, "topk", "")}
        (layer,) = spec.layers
        assert layer.lengths is None
        assert (layer.workload.operation, layer.workload.shape, layer.workload.k) == ("topk.select", "3 x 9000", 2048)  # type: ignore[union-attr]


def test_kinds_of_layers_take_turns() -> None:
    gemma = load_model("gemma-2-9b")
    spec = path("decode", gemma)
    assert [layer.workload.geometry.window_left for layer in spec.layers] == [None, 4095]  # type: ignore[union-attr]
    assert spec.calls == 2
    assert path("decode", gemma, calls=5).calls == 5
    assert path("decode").calls == 2


def test_what_the_worker_is_told() -> None:
    geometries = LLAMA.geometries(tp=8)
    sizes = {"batch": 2, "new": 16, "context": 48, "calls": 3}
    ask = PathRequest("extend", **sizes, pad_mode="narrow", bitwise=True, injected=("dense",), seed=7)
    spec, _ = plan_path(ask, LLAMA, geometries)
    assert spec.title == "llama-3.1-8b extend 2 x 16+32"
    assert (spec.calls, spec.page_size, spec.bitwise) == (3, 1, True)
    assert [(plan.name, plan.pad_mode) for plan in spec.phases if plan.in_pieces] == [("piecewise", "narrow")]
    assert (spec.injected, spec.seed) == (("dense",), 7)
    assert spec.layers[0].workload.geometry == geometries[0]  # type: ignore[union-attr]
