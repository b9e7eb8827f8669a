"""Paths that verify trees of drafts: what each phase runs and must show, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.errors import BadField
from autotune_cli.kernels.attention.trees import path_to
from autotune_cli.kernels.models import Model, load_model
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.request import FA3, SGLANG, PathRequest

LLAMA = load_model("llama-3.1-8b")
GEMMA = load_model("gemma-2-9b")
WINDOWED = GEMMA.model_copy(update={"layers": tuple(kind for kind in GEMMA.layers if kind.window is not None)})
CASCADE = "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none,tree=cascade)"


def planned(
    backend: str, mode: str = "target_verify", model: Model = LLAMA, **values: Any
) -> tuple[PathSpec, list[str]]:
    request = PathRequest(mode, backend=backend, batch=3, **values)  # type: ignore[arg-type]
    return plan_path(request, model, model.geometries())


@pytest.mark.parametrize("topk", [1, 4])
def test_flashinfer_masks_trees_and_chains(topk: int) -> None:
    spec, notes = planned(SGLANG, eagle_topk=topk)
    assert [plan.name for plan in spec.phases] == ["eager", "capture", "replay"]
    for plan in spec.phases:
        assert str(plan.wanted) == "flashinfer.paged(path=fa2,page_size=1,tree=true)"
        assert (plan.shape, plan.planned, plan.executed, plan.writes) == ("paged", "paged", "paged", "before")
        assert plan.reason == "target_verify: a draft is verified over pages, under the mask of its tree"
    assert notes == []


def test_fa3_takes_two_calls_for_a_tree_and_one_for_a_chain() -> None:
    tree, chain = (planned(FA3, eagle_topk=topk)[0].phases for topk in (4, 1))
    assert {(str(plan.wanted), plan.shape, plan.writes) for plan in tree} == {(CASCADE, "cascade", "before")}
    assert {plan.planned == plan.executed == "paged" for plan in tree} == {True}
    assert {(str(plan.wanted), plan.shape) for plan in chain} == {("sglang --attention-backend fa3", "paged")}


def test_fa3_over_windows_is_one_call() -> None:
    """Beside full layers the phase still has its merges; where every layer has a window it has none."""
    spec, notes = planned(FA3, model=GEMMA, eagle_topk=4)
    assert {plan.shape for plan in spec.phases} == {"cascade"}
    wanted = {str(spec.phases[0].wanted_of(layer.workload)) for layer in spec.layers}
    assert wanted == {CASCADE, CASCADE.replace("cascade", "expanded")}
    assert {plan.shape for plan in planned(FA3, model=WINDOWED, eagle_topk=4)[0].phases} == {"paged"}
    assert notes == []


def test_flashinfers_plan_over_windows_is_said_to_be_another() -> None:
    (note,) = planned(SGLANG, model=GEMMA, eagle_topk=4)[1]
    assert note.startswith("SGLang plans drafts over a window with the first keys of a request (0.5.23)")
    assert planned(SGLANG, model=GEMMA)[1] == []


def test_every_layer_has_the_trees_of_the_step() -> None:
    spec, _ = planned(FA3, model=GEMMA, eagle_topk=4, seed=5)
    first, second = (layer.trees for layer in spec.layers)
    assert first is not None
    assert first == second != planned(FA3, model=GEMMA, eagle_topk=4, seed=6)[0].layers[0].trees
    # What SGLang takes for Llama if nobody says: 8 drafts.
    assert [len(tree) for tree in first] == [8, 8, 8]
    assert spec.layers[0].lengths is not None
    assert spec.layers[0].lengths.qo == (8, 8, 8)
    assert planned(FA3)[0].layers[0].trees is None


def test_a_chain_has_as_many_drafts_as_without_trees() -> None:
    (layer,) = planned(FA3, eagle_topk=1)[0].layers
    assert layer.trees is not None
    assert [[len(path_to(tree, draft)) for draft in range(len(tree))] for tree in layer.trees] == [[1, 2, 3, 4]] * 3


@pytest.mark.parametrize(
    ("backend", "mode", "message"),
    [
        (SGLANG, "extend", "eagle_topk: goes with mode=verify"),
        (FA3, "decode", "eagle_topk: goes with mode=verify"),
        ("torch.sdpa", "target_verify", "eagle_topk: backend=torch.sdpa verifies no trees of drafts"),
    ],
)
def test_trees_elsewhere_are_refused(backend: str, mode: str, message: str) -> None:
    with pytest.raises(BadField, match=message):
        planned(backend, mode, eagle_topk=4)
