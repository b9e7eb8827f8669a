"""The operation attention.verify: workloads, edge cases, what a tree costs, and every candidate on a machine without a
GPU, on trees and on chains.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import fa3_emulator
import pytest
from attention_cases import FP8_QUERIES, workload
from pydantic import ValidationError

from autotune_cli.errors import EmptySuite
from autotune_cli.kernels.attention.edges import edge_trees
from autotune_cli.kernels.attention.masks import seen_keys
from autotune_cli.kernels.attention.problem import AttentionProblem, cases, make_problem
from autotune_cli.kernels.attention.trees import draw_trees, is_chain
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.engines import parse_baseline, resolve, situation_of
from autotune_cli.kernels.family import cost, memory_bytes
from autotune_cli.kernels.models import build_suite
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared
from autotune_cli.tuning.plan import plan

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
B200 = Device("cuda", "NVIDIA B200", (10, 0), 148, cuda="13.0")
CPU = Device("cpu", "a processor")


def verify(topk: int = 3, mode: str = "eager", **geometry: Any) -> AttentionWorkload:
    return workload("attention.verify", mode, **geometry).model_copy(update={"eagle_topk": topk})


def supported(shape: AttentionWorkload, library: str, device: Device = H100) -> list[tuple[Backend, Candidate]]:
    return [
        (backend, candidate)
        for backend in REGISTRY.of("attention.verify")
        if backend.name.startswith(library)
        for candidate in backend.candidates(shape, device)
        if backend.why_unsupported(shape, device, candidate) is None
    ]


def keys(shape: AttentionWorkload, library: str) -> set[str]:
    return {candidate.key for _, candidate in supported(shape, library)}


def judge_all(found: list[tuple[Backend, Candidate]], shape: AttentionWorkload) -> None:
    assert found
    made = {case: make_problem(shape, case, "cpu", 7) for case in cases(shape)}
    for backend, candidate in found:
        for case, problem in made.items():
            ready = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(ready, Prepared)
            if ready.plan is not None:
                ready.plan()
            verdict = problem.check(ready.run())
            assert verdict.ok, (candidate.key, case, verdict)


def test_a_workload_names_its_drafts_and_branches() -> None:
    shape = verify(topk=3, mode="graph")
    assert shape.key == "attention.verify 2 x 9+81 topk 3 graph h4/2 d64 bfloat16"
    assert shape.title == "attention.verify topk 3"
    assert shape.cells == ("2", "≤9+81")
    assert shape.lengths.qo == (9, 9)
    assert [kv - 9 for kv in shape.lengths.kv] == sorted(kv - 9 for kv in shape.lengths.kv)
    assert shape.trees is not None
    assert [len(tree) for tree in shape.trees] == [9, 9]
    assert verify(window_left=39).title == "attention.verify topk 3 window 40"
    # The same in each run, whatever the inputs' seed is.
    assert make_problem(shape, "workload", "cpu", 1).trees == make_problem(shape, "workload", "cpu", 2).trees


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eagle_topk": None}, "a verification needs it"),
        ({"operation": "attention.extend"}, "eagle_topk is of a verification"),
        ({"context": 9}, "a verification needs a prefix"),
        ({"eagle_topk": 0}, "greater than 0"),
    ],
)
def test_what_is_no_workload(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AttentionWorkload.model_validate(verify().model_dump() | change)


def test_a_suite_has_it_only_on_request() -> None:
    for names in (None, "attention", "decode,extend"):
        suite = build_suite("llama-3.1-8b", "cuda", operations=names)
        assert not any(each.operation == "attention.verify" for each in suite.workloads)
    asked = build_suite("llama-3.1-8b", "cuda", operations="verify")
    assert {each.operation for each in asked.workloads} == {"attention.verify"}
    # As servers run it, trees and chains.
    assert {each.mode for each in asked.workloads} == {"graph"}
    assert {each.trees is not None and all(map(is_chain, each.trees)) for each in asked.workloads} == {True, False}  # type: ignore[attr-defined]
    assert {each.mode for each in build_suite(None, "cpu", operations="verify").workloads} == {"eager"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"batches": "8"}, ["8 x 8+4096 topk 4", "8 x 64+4096 topk 8", "8 x 4+4096 topk 1"]),
        ({"batches": "3", "contexts": "100"}, ["3 x 8+92 topk 4", "3 x 64+36 topk 8", "3 x 4+96 topk 1"]),
        ({"batches": "3", "contexts": "100", "new": "5", "eagle_topk": "2,1"}, ["3 x 5+95 topk 2", "3 x 5+95 topk 1"]),
        ({"batches": "3", "contexts": "100", "new": "1", "eagle_topk": "4"}, ["3 x 1+99 topk 4"]),
        ({"batches": "64", "new": "6", "eagle_topk": "1"}, ["64 x 6+1024 topk 1"]),
    ],
)
def test_narrowing(wanted: dict[str, Any], found: list[str]) -> None:
    suite = build_suite("llama-3.1-8b", "cuda", operations="verify", **wanted)
    assert [f"{each.shape} topk {each.eagle_topk}" for each in suite.workloads] == found  # type: ignore[attr-defined]


def test_more_drafts_than_keys() -> None:
    with pytest.raises(EmptySuite, match="above the drafts"):
        build_suite("llama-3.1-8b", "cuda", operations="verify", contexts="8", new="8")


def test_edge_cases_hold_one_node_chains_siblings_and_several_lengths() -> None:
    trees = [tree for tree, _ in edge_trees(verify(3))]
    assert (-1,) in trees
    assert (-1, *(0,) * 12) in trees
    assert tuple(range(-1, 4)) in trees
    assert any(len(tree) > 64 and not is_chain(tree) for tree in trees)
    assert {0, 16, 63} <= {cached for _, cached in edge_trees(verify(3))}
    # A candidate for chains is never asked for a tree.
    assert all(is_chain(tree) for tree, _ in edge_trees(verify(1)))
    windowed = make_problem(verify(3, window_left=40), "edges", "cpu", 1)
    assert any(cached > 41 for cached in windowed.prefix)
    # No longer than what the workload has room for.
    assert max(make_problem(verify(3, window_left=9000), "edges", "cpu", 1).lengths.kv) < 9000


@pytest.mark.parametrize("window", [None, 0, 2, 6, 40])
def test_the_pairs_of_a_tree_are_those_of_its_mask(window: int | None) -> None:
    shape = verify(window_left=window)
    assert shape.trees is not None
    each = zip(shape.trees, shape.lengths.kv, strict=True)
    pairs = sum(int(seen_keys(tree, kv - 9, window, "cpu").sum()) for tree, kv in each)
    assert cost(shape).flops == 4.0 * pairs * 4 * 64


def test_a_chain_costs_what_an_extend_costs() -> None:
    chain = verify(1).model_copy(update={"spread": "even"})
    extend = chain.model_copy(update={"operation": "attention.extend", "eagle_topk": None})
    assert cost(chain) == cost(extend)
    assert cost(verify(3)).flops < cost(verify(1)).flops
    # A row of a page table for each draft.
    assert memory_bytes(chain) > memory_bytes(extend)


@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize(
    "extra", [{}, {"window_left": 2}, {"window_left": 40}, {"softcap": 30.0}, {"sinks": True}, FP8_QUERIES], ids=str
)
def test_torch_verifies(topk: int, extra: dict[str, Any]) -> None:
    shape = verify(topk, **({"dtype": "float32"} if extra is not FP8_QUERIES else {}), **extra)
    found = supported(shape, "torch.", CPU)
    assert any(backend.name == "torch.eager" for backend, _ in found)
    judge_all(found, shape)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize("extra", [{}, {"window_left": 2}, {"window_left": 40}, {"kv_dtype": "float8_e4m3fn"}], ids=str)
def test_flashinfer_verifies(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], topk: int, mode: str) -> None:
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    import flashinfer_emulator

    flashinfer_emulator.install(monkeypatch)
    monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._WORKSPACE", 1 << 20)
    shape = verify(topk, mode, **extra)
    judge_all(supported(shape, "flashinfer."), shape)


@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize("extra", [{}, {"window_left": 2}, {"window_left": 40}, {"sinks": True}, FP8_QUERIES], ids=str)
def test_fa3_verifies(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], topk: int) -> None:
    fa3_emulator.install(monkeypatch)
    shape = verify(topk, "graph", **extra)
    judge_all(supported(shape, "sgl_kernel.fa3"), shape)


@pytest.mark.parametrize("case", ["workload", "edges"])
def test_a_causal_output_of_a_tree_is_wrong(case: str) -> None:
    made = make_problem(verify(3, dtype="float32"), case, "cpu", 7)
    causal = AttentionProblem(made.workload, made.lengths, "cpu", 7, edges=case == "edges")
    assert not made.check(causal.reference.out.float()).ok
    assert made.check(made.reference.out.float()).ok


def test_a_tree_is_asked_of_those_that_know_trees_and_a_chain_of_all() -> None:
    assert all("tree=true" in key for key in keys(verify(3), "flashinfer.") | keys(verify(3), "triton."))
    assert all("tree=cascade" in key or "tree=expanded" in key for key in keys(verify(3), "sgl_kernel."))
    assert not any("cascade" in key for key in keys(verify(3, window_left=40), "sgl_kernel."))
    assert keys(verify(3, window_left=40), "sgl_kernel.")
    chain = keys(verify(1), "flashinfer.")
    assert {"flashinfer.paged(path=fa3,page_size=16)", "flashinfer.paged(path=fa2,page_size=16,tree=true)"} <= chain
    assert not any("tree" in key for key in keys(verify(1), "sgl_kernel.") | keys(verify(1), "triton."))
    # torch's kernels that have no mask take chains.
    flash = {topk: "torch.sdpa(kernel=flash)" in keys(verify(topk), "torch.") for topk in (1, 3)}
    assert flash == {1: True, 3: False}


CHAIN = "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"
MASKED = "flashinfer.paged(path=fa2,page_size=1,tree=true)"
TRITON = "triton.extend(page_size=1,rows=128,block=64,warps=8,stages=1,tree=true)"


@pytest.mark.parametrize(
    ("name", "topk", "extra", "wanted"),
    [
        # is_no_spec_infer_or_topk_one: chains over pages of 1 stay with fa3.
        ("sglang", 1, {}, CHAIN),
        ("sglang", 1, {"window_left": 40}, CHAIN),
        ("sglang --page-size 64", 1, {}, MASKED),
        ("sglang", 4, {}, MASKED),
        ("sglang", 4, {"sinks": True}, TRITON),
        ("sglang --attention-backend flashinfer", 1, {}, MASKED),
        ("sglang --attention-backend triton", 1, {}, TRITON),
        ("sglang --attention-backend fa3", 1, {}, CHAIN),
        ("sglang --attention-backend fa3 --page-size 64", 1, {}, CHAIN.replace("size=1", "size=64")),
        ("sglang --attention-backend fa3", 4, {}, CHAIN[:-1] + ",tree=cascade)"),
        ("sglang --attention-backend fa3", 4, {"window_left": 40}, CHAIN[:-1] + ",tree=expanded)"),
        ("sglang --attention-backend fa3 --enable-deterministic-inference", 4, {},
         CHAIN.replace("splits=0", "splits=1")[:-1] + ",tree=cascade)"),
        # The workload says how many branches there are, not the options of the baseline.
        ("sglang --speculative-eagle-topk 1", 4, {}, MASKED),
        ("flashinfer", 4, {}, MASKED.replace("size=1,", "size=16,")),
    ],
)  # fmt: skip
def test_what_engines_run(name: str, topk: int, extra: dict[str, Any], wanted: str) -> None:
    shape = verify(topk, "graph", **extra)
    assert resolve(parse_baseline(name), situation_of(shape, H100)).candidate == wanted
    planned = {entry.candidate.key: entry for entry in plan(shape, H100, [parse_baseline(name)]).candidates}
    assert planned[wanted].default
    assert planned[wanted].status in (None, "unavailable")


def test_where_sglang_has_none() -> None:
    def missing(device: Device, topk: int = 4, name: str = "sglang") -> str | None:
        return plan(verify(topk), device, [parse_baseline(name)]).baselines[0].missing

    assert missing(CPU) == "SGLang's torch_native backend verifies no drafts"
    assert "no candidate of this program" in str(missing(B200, topk=1))


def test_a_server_without_cached_keys_verifies_too() -> None:
    """Requests of nothing but drafts, as after a prompt of one token."""
    trees = draw_trees(2, 5, 3, 1)
    problem = AttentionProblem(verify(3, dtype="float32"), Lengths((5, 5), (5, 5)), "cpu", 7, trees=trees)
    ready = REGISTRY.get("torch.eager").prepare(problem, block=64)
    assert isinstance(ready, Prepared)
    assert problem.check(ready.run()).ok
