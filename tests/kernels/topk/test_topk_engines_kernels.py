"""Selections of serving engines, against fakes that take what the real ones say they take."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, Prepared, prepared
from autotune_cli.kernels.topk.backends import deep_select_topk, sglang_topk_v2, vllm_topk
from autotune_cli.kernels.topk.problem import TopkProblem, cases, make_problem
from autotune_cli.kernels.topk.workload import TopkWorkload

H100 = Device("cuda", "NVIDIA H100", (9, 0), 132)
A100 = Device("cuda", "NVIDIA A100", (8, 0), 108)
PACKED = {"requests": 3, "packed": True}


def load(operation: str = "topk.select", **fields: Any) -> TopkWorkload:
    given = {"operation": operation, "rows": 6, "width": 192, "k": 16, "mode": "eager", "spread": "uneven"}
    return TopkWorkload.model_validate(given | fields)


def supported(name: str, workload: TopkWorkload, device: Device = H100) -> list[Candidate]:
    backend = REGISTRY.get(name)
    found = list(backend.candidates(workload, device))
    return [each for each in found if backend.why_unsupported(workload, device, each) is None]


def refusal(name: str, workload: TopkWorkload, device: Device = H100) -> str:
    backend = REGISTRY.get(name)
    (reason,) = {backend.why_unsupported(workload, device, each) for each in backend.candidates(workload, device)}
    return reason or ""


def assert_right(name: str, workload: TopkWorkload) -> None:
    found = supported(name, workload)
    assert found
    for case in cases(workload):
        problem = make_problem(workload, case, "cpu", 3)
        before = {name: tensor.clone() for name, tensor in problem.inputs().items()}
        for candidate in found:
            run = prepared(candidate, problem).run
            for _ in range(2):
                verdict = problem.check(run())
                assert verdict.ok, (candidate.key, case, verdict.message)
        assert all(torch.equal(before[name], tensor) for name, tensor in problem.inputs().items())


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("sglang.topk_transform_paged_v2", load()),
        ("sglang.topk_transform_paged_v2", load(spread="even")),
        ("sglang.topk_transform_paged_v2", load("topk.paged")),
        ("sglang.topk_transform_paged_v2", load("topk.paged", page_size=64)),
        ("sglang.topk_transform_512_v2", load("topk.paged", page_size=64)),
        ("sglang.topk_transform_ragged_v2", load("topk.ragged")),
        ("sglang.topk_transform_ragged_v2", load("topk.ragged", **PACKED)),
        ("deep_select.topk", load()),
        ("deep_select.topk", load(spread="even", k=13)),
        ("deep_select.topk", load(dtype="bfloat16")),
        ("sglang.deep_select", load()),
        ("sglang.deep_select_page_transform", load("topk.paged", page_size=64)),
    ],
    ids=lambda value: getattr(value, "key", value),
)
def test_sglangs_are_called_as_they_are_meant(fake_sglang: list[str], name: str, workload: TopkWorkload) -> None:
    assert_right(name, workload)


@pytest.mark.parametrize("name", ["persistent_topk", "cooperative_topk", "top_k_per_row_decode"])
@pytest.mark.parametrize("spread", ["even", "uneven"])
def test_vllms_are_called_as_they_are_meant(fake_vllm: list[str], name: str, spread: str) -> None:
    assert_right(f"vllm.{name}", load(spread=spread, k=512, width=1024))
    assert set(fake_vllm) == {name}


def test_a_plan_is_made_once_and_again_where_lengths_were_refilled(fake_sglang: list[str]) -> None:
    problem = make_problem(load("topk.paged"), "normal", "cpu", 0)
    made: Prepared = prepared(Candidate("sglang.topk_transform_paged_v2"), problem)
    assert problem.check(made.run()).ok
    other = problem.other_batch()
    for name, tensor in problem.inputs().items():
        tensor.copy_(other.inputs()[name])
    assert not other.check(made.run()).ok, "the plan is that of other lengths"
    assert made.plan is not None
    made.plan()
    assert other.check(made.run()).ok
    assert fake_sglang == ["plan", "paged", "paged", "plan", "paged"]


def test_scores_that_would_be_overwritten_are_refused(fake_sglang: list[str]) -> None:
    odd = load("topk.ragged", width=204, requests=4, packed=True, rows=8)
    assert odd.keys % 4
    name = "sglang.topk_transform_ragged_v2"
    assert refusal(name, odd) == "overwrites scores before a window that begins at no multiple of 4"
    drawn: TopkProblem = make_problem(odd, "normal", "cpu", 0)
    before = drawn.scores.clone()
    prepared(Candidate(name), drawn).run()
    assert not torch.equal(before, drawn.scores), "the fake does it, as the real one says"


@pytest.mark.parametrize(
    ("name", "workload", "device", "reason"),
    [
        ("sglang.topk_transform_paged_v2", load(k=2049, width=4096), H100, "selects at most 2048, this is k = 2049"),
        ("sglang.topk_transform_paged_v2", load(width=190), H100, "rows of 190 don't begin at multiples of it"),
        ("sglang.topk_transform_paged_v2", load(dtype="bfloat16"), H100, "takes float32 scores only"),
        ("sglang.topk_transform_paged_v2", load("topk.paged", **PACKED), H100, "one query of each request"),
        (
            "sglang.topk_transform_512_v2",
            load("topk.paged", requests=6, batch_idx_list=True),
            H100,
            "in the order of the page table",
        ),
        ("deep_select.topk", load(), A100, "needs compute capability 9.0, 10.0, 10.3"),
        ("deep_select.topk", load(width=200), H100, "needs rows of a multiple of 128 bytes"),
        ("deep_select.topk", load(k=4097, width=8192), H100, "selects at most 4096"),
        ("sglang.deep_select_page_transform", load("topk.paged", **PACKED), H100, "one query of each request"),
        ("vllm.persistent_topk", load(k=16), H100, "is compiled for k = 512, 1024, 2048, this is k = 16"),
        ("vllm.cooperative_topk", load(k=512, width=1024, rows=33), H100, "takes at most 32 rows, these are 33"),
        ("vllm.cooperative_topk", load(k=512, width=1024), A100, "needs thread block clusters"),
        ("vllm.top_k_per_row_decode", load(dtype="bfloat16"), H100, "takes float32 scores only"),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_what_they_cannot_do(name: str, workload: TopkWorkload, device: Device, reason: str) -> None:
    assert reason in refusal(name, workload, device)


@pytest.mark.parametrize(
    ("prefix", "command"),
    [("sglang.", "pip install sglang"), ("vllm.", "pip install vllm"), ("deep_select.", "pip install tokenspeed-")],
)
def test_where_they_are_missing_they_say_how_to_get_them(prefix: str, command: str) -> None:
    found = [backend for backend in REGISTRY.all() if backend.name.startswith(prefix)]
    assert found
    for backend in found:
        assert backend.install.startswith(command)
        top = backend.requires[0].partition(":")[0].partition(".")[0]
        if importlib.util.find_spec(top) is None:
            assert backend.missing() == backend.requires[0]


def _parameters(path: Path, function: str) -> list[str]:
    (found,) = (
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == function
    )
    return [each.arg for each in (*found.args.args, *found.args.kwonlyargs)]


@pytest.mark.parametrize(
    ("module", "function", "ours"),
    [
        (sglang_topk_v2.NOW, "plan_topk_v2", ["seq_lens"]),
        (
            sglang_topk_v2.NOW,
            "topk_transform_paged_v2",
            ["scores", "seq_lens", "page_tables", "out_page_indices", "page_size", "metadata"],
        ),
        (sglang_topk_v2.NOW, "topk_transform_ragged_v2", ["scores", "seq_lens", "out_offsets", "out_indices"]),
        (sglang_topk_v2.FIRST, "plan_topk_v2", ["seq_lens"]),
        (
            sglang_topk_v2.FIRST,
            "topk_transform_512_v2",
            ["scores", "seq_lens", "page_tables", "out_page_indices", "page_size", "metadata"],
        ),
        (deep_select_topk.SGLANGS, "topk", ["input", "topk"]),
        (deep_select_topk.SGLANGS, "topk_page_transform", ["input", "topk", "page_table", "page_size", "end"]),
        ("deep_select.interface", "topk", ["input", "topk"]),
    ],
)
def test_the_installed_ones_take_what_we_pass(module: str, function: str, ours: list[str]) -> None:
    """Their Python sources; importing SGLang needs far more than these."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    path = folder.joinpath(*inner).with_suffix(".py")
    if spec is None or not path.is_file():
        pytest.skip(f"{module} is not installed")
    known = _parameters(path, function)
    assert known[: len(ours)] == ours or set(ours) <= set(known)
    if function == "topk":
        passed = {"end", "indices_type", "sorted_index", "idx_oob_fill_value", "return_value", "abort_when_nan_found"}
        assert passed <= set(known)


def test_vllms_operators_are_looked_up_when_they_are_prepared(fake_vllm: list[str]) -> None:
    del torch.ops._C.cooperative_topk
    problem = make_problem(load(k=512, width=1024), "normal", "cpu", 0)
    with pytest.raises(AttributeError, match="cooperative_topk"):
        vllm_topk.prepare_cooperative(problem)
