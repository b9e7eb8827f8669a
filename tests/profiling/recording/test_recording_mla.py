"""Latent attention's paths on a GPU that is made up: what SGLang's backends run is planned, captured, replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
import torch
from recording_paths import RIGHT, checks, phases

from autotune_cli.errors import BadField
from autotune_cli.kernels.attention.problem import GARBAGE_ELSE
from autotune_cli.kernels.mla.problem import make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.models import load_model
from autotune_cli.kernels.models.model import LatentLayers, Model
from autotune_cli.kernels.registry import Backend
from autotune_cli.profiling.errors import NothingToRun
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording import inject
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.request import PathRequest

SMALL = Model(
    name="small",
    source="",
    num_attention_heads=4,
    latent=LatentLayers(
        num_heads=4, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128
    ),
    topk=64,
)  # fmt: skip
DENSE = SMALL.model_copy(update={"topk": None})


def spec(mode: str = "decode", model: Model = DENSE, **values: Any) -> PathSpec:
    sizes = {"batch": 3, "context": 90} | ({"new": 7} if mode == "extend" else {})
    request = PathRequest(mode, **(sizes | values))  # type: ignore[arg-type]
    return plan_path(request, model, model.geometries(), model.latent_geometry())[0]


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_cuda.install(monkeypatch)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "kernels" / "mla"))
    import mla_emulator

    monkeypatch.setattr(Backend, "missing", lambda self: None)
    mla_emulator.install_flashinfer(monkeypatch)
    return mla_emulator.install_sgl_kernel(monkeypatch)


@pytest.mark.parametrize(
    ("mode", "backend", "candidate"),
    [
        ("decode", "flashinfer", "flashinfer.mla(path=fa3,page_size=1)"),
        ("decode", "fa3", "sgl_kernel.fa3_mla(page_size=1,num_splits=0,scheduler_metadata=false)"),
        ("decode", "flashmla", "sgl_kernel.flashmla"),
        ("extend", "flashinfer", "flashinfer.mla(path=fa3,page_size=1)"),
        ("extend", "fa3", "sgl_kernel.fa3_mla(page_size=1,num_splits=0)"),
        ("extend", "flashmla", "flashinfer.mla(path=fa3,page_size=1)"),
    ],
)
def test_every_phase_runs_what_the_server_runs_and_is_right(
    tmp_path: Path, libraries: Any, mode: str, backend: str, candidate: str
) -> None:
    found = phases(spec(mode, backend=backend), tmp_path)
    assert {name: done.error for name, done in found.items()} == dict.fromkeys(("eager", "capture", "replay"), "")
    assert {done.candidates for done in found.values()} == {found["eager"].candidates}
    assert found["eager"].candidates[0].startswith(candidate)
    assert {name: checks(done) for name, done in found.items()} == {"eager": RIGHT, "capture": {}, "replay": RIGHT}
    # Garbage is where the new tokens go, until the step writes them.
    assert {done.plan.writes for done in found.values()} == {"before"}


def test_a_deterministic_server_is_another_one(tmp_path: Path, libraries: Any) -> None:
    found = phases(spec(backend="fa3", deterministic=True), tmp_path)
    assert found["eager"].candidates == ("sgl_kernel.fa3_mla(page_size=1,num_splits=1,scheduler_metadata=false)",)
    refused = phases(spec(backend="flashinfer", deterministic=True), tmp_path)
    assert "with fa3 and triton only" in refused["eager"].error


def test_without_a_prefix_keys_are_projected_up_and_no_graph_has_them(tmp_path: Path, libraries: Any) -> None:
    path = spec("extend", prefix=False, context=7)
    assert [plan.name for plan in path.phases] == ["eager"]
    assert path.layers[0].workload.operation == "attention.mla_prefill"
    with pytest.raises(BadField, match="no capture: SGLang's captured prefill graphs are absorbed"):
        spec("extend", prefix=False, context=7, phases=("capture",))


def test_a_sparse_step_reads_what_was_selected(tmp_path: Path, libraries: Any) -> None:
    path = spec("sparse_decode", SMALL, backend="sgl_kernel.fa3_mla_sparse")
    found = phases(path, tmp_path)
    assert path.layers[0].workload.operation == "attention.mla_sparse_decode"
    assert {name: checks(done) for name, done in found.items()} == {"eager": RIGHT, "capture": {}, "replay": RIGHT}
    with pytest.raises(NothingToRun, match=r"no sparse indexer.*deepseek-v3\.2 has"):
        spec("sparse_decode")
    # As SGLang's fa3 does: dense steps are none of its.
    assert "only the keys that the indexer" in phases(spec("decode", SMALL, backend="fa3"), tmp_path)["eager"].error


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernels": "fa2"}, r"fa: chooses FlashInfer's kernels of MHA and GQA; backend=flashinfer has its own rule"),
        ({"new": 2}, "new: a decode step has one new token a request"),
        ({"mode": "extend", "context": 7}, "context: 7 keys in all leave no prefix beside 7 new tokens"),
        ({"mode": "extend", "prefix": False}, "context: without a prefix it is the number of new tokens, 7"),
        ({"eagle_topk": 2}, "eagle_topk: goes with"),
        ({"mode": "extend", "phases": ("piecewise",)}, "piecewise graphs are for SGLang's extend and mixed, not for"),
        ({"mode": "sparse_decode", "backend": "fa3"}, "fa3 is a path of attention"),
    ],
    ids=str,
)
def test_what_latent_attention_does_not_have(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadField, match=message):
        spec(**{"mode": "decode", "model": SMALL} | values)


def test_modes_without_a_path_of_its_own_say_what_the_model_lacks() -> None:
    with pytest.raises(NothingToRun, match="small: "):
        spec("target_verify", new=4)


def test_graphs_are_captured_for_the_longest_context_served() -> None:
    model = load_model("deepseek-v3")
    path = plan_path(PathRequest("decode"), model, model.geometries(), model.latent_geometry(8))[0]
    (layer,) = path.layers
    assert isinstance(layer.workload, MlaWorkload)
    assert layer.workload.latent.num_heads == 16
    assert layer.workload.served_context == model.max_context
    assert (path.page_size, spec(backend="flashmla").page_size, spec("extend", backend="flashmla").page_size) == (
        1, 64, 1,
    )  # fmt: skip


@pytest.mark.parametrize("page_size", [1, 64])
def test_new_tokens_are_forgotten_and_written_in_both_parts(page_size: int) -> None:
    (layer,) = spec("extend").layers
    problem: Any = make_problem(layer.workload, "workload", "cpu", 3)
    pool = problem.paged(page_size).pool
    before = pool.clone()
    write = CacheWrite(problem, page_size)
    write.forget()
    rows = (pool != before).flatten(0, 1).all(1)
    assert int(rows.sum()) == sum(problem.lengths.qo)
    assert bool((pool.flatten(0, 1)[rows] == torch.tensor(GARBAGE_ELSE, dtype=pool.dtype)).all())
    write()
    assert torch.equal(pool, before)


def test_a_ragged_kernel_to_inject_has_heads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    (layer,) = spec().layers
    seen: list[Any] = []
    monkeypatch.setattr(inject, "_dense", lambda geometry: seen.append(geometry) or (lambda: None))
    inject.injected("dense", make_problem(layer.workload, "workload", "cpu", 3))
    assert seen == [inject._GEOMETRY]
