"""Trees of drafts: the mask, the reference under it, and the candidates that verify them."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import fa3_emulator
import pytest
import torch
from attention_cases import FP8_QUERIES, workload

from autotune_cli.kernels.attention.masks import flat_mask, seen_keys
from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.trees import Tree, draw_trees, path_to
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.registry import REGISTRY, Backend, Candidate, Device, Prepared

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132)
# 0 has the children 1 and 2, 2 the child 3, 1 the child 4.
BRANCHED: Tree = (-1, 0, 0, 2, 1)
CHAIN: Tree = (-1, 0, 1, 2, 3)
TREES = (BRANCHED, CHAIN, (-1, 0, 0, 0, 0))
# A request of one cached key, one that the windows below cut, one between.
LENGTHS = Lengths((5, 5, 5), (6, 75, 30))
KNOBS: dict[str, Any] = {"page_size": 1, "num_splits": 0, "pack_gqa": None}


def made(trees: tuple[Tree, ...] = TREES, mode: str = "eager", **geometry: Any) -> AttentionProblem:
    shape = workload("attention.extend", mode=mode, **geometry).model_copy(update={"served_context": 200})
    return AttentionProblem(shape, LENGTHS, "cpu", 7, trees=trees)


def prepared(problem: AttentionProblem, name: str, **knobs: Any) -> Prepared:
    ready = REGISTRY.get(name).prepare(problem, **knobs)
    assert isinstance(ready, Prepared)
    return ready


def reason(name: str, shape: AttentionWorkload, **knobs: Any) -> str:
    return REGISTRY.get(name).why_unsupported(shape, H100, Candidate(name, tuple(knobs.items()))) or ""


def flashinfer(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    import flashinfer_emulator

    flashinfer_emulator.install(monkeypatch)
    monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._WORKSPACE", 1 << 20)
    return flashinfer_emulator


def test_a_draft_sees_the_cached_keys_and_its_ancestors() -> None:
    assert [path_to(BRANCHED, draft) for draft in range(5)] == [[0], [0, 1], [0, 2], [0, 2, 3], [0, 1, 4]]
    assert seen_keys(BRANCHED, 2, None, "cpu").int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 1, 1, 0],
        [1, 1, 1, 1, 0, 0, 1],
    ]


def test_a_window_counts_positions_and_siblings_share_one() -> None:
    """The drafts stand at 2, 3, 3, 4, 4; each sees two keys before its own."""
    assert seen_keys(BRANCHED, 2, 2, "cpu").int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 1, 0, 0],
        [0, 0, 1, 0, 1, 1, 0],
        [0, 0, 1, 1, 0, 0, 1],
    ]
    assert seen_keys(BRANCHED, 2, 2, "cpu", first=1).shape == (5, 6)


def test_a_flat_mask_lays_requests_side_by_side() -> None:
    mask = flat_mask((CHAIN, BRANCHED), (1, 2), None, "cpu", (0, 2))
    assert mask.dtype == torch.uint8
    assert mask.tolist() == [
        *(int(key <= 1 + draft) for draft in range(5) for key in range(6)),
        *seen_keys(BRANCHED, 2, None, "cpu", 2).int().flatten().tolist(),
    ]


@pytest.mark.parametrize(("drafts", "topk"), [(1, 4), (2, 4), (8, 4), (60, 8), (8, 1)])
def test_drawn_trees_grow_level_by_level(drafts: int, topk: int) -> None:
    trees = draw_trees(20, drafts, topk, 3)
    assert trees == draw_trees(20, drafts, topk, 3)
    for tree in trees:
        assert len(tree) == drafts
        assert tree[0] == -1
        assert all(0 <= parent < draft for draft, parent in enumerate(tree) if draft)
        levels = [len(path_to(tree, draft)) for draft in range(drafts)]
        assert levels == sorted(levels)
        assert max(map(levels.count, levels)) <= topk
        assert drafts == 1 or levels.count(2) == min(topk, drafts - 1)
    assert drafts < 8 or (len(set(trees)) > 1) == (topk > 1)


@pytest.mark.parametrize("window", [None, 0, 2, 40])
def test_the_reference_of_a_chain_is_causal(window: int | None) -> None:
    causal, chain = (made(trees, window_left=window).reference for trees in (None, (CHAIN,) * 3))  # type: ignore[arg-type]
    torch.testing.assert_close(chain.out, causal.out)
    torch.testing.assert_close(chain.lse, causal.lse)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_the_reference_is_that_of_each_path_alone(window: int | None) -> None:
    """A draft's ancestors and itself as a chain behind the cached keys: the last row of a causal batch."""
    problem = made(window_left=window)
    keys, values = (part.split(LENGTHS.kv) for part in (problem._keys, problem._values))
    for request, tree in enumerate(TREES):
        cached = LENGTHS.kv[request] - 5
        for draft in range(5):
            rows = [*range(cached), *(cached + parent for parent in path_to(tree, draft))]
            alone = made(None, window_left=window)  # type: ignore[arg-type]
            alone.lengths = Lengths((1,), (len(rows),))
            alone.q = problem.q[5 * request + draft][None]
            alone._keys, alone._values = keys[request][rows], values[request][rows]
            torch.testing.assert_close(problem.reference.out[5 * request + draft], alone.reference.out[0])


def test_trees_must_fit_the_requests() -> None:
    with pytest.raises(ValueError, match=r"trees of \[5, 5\] drafts for \[5, 5, 5\] new tokens"):
        made(TREES[:2])


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize(
    "extra", [{}, {"window_left": 2}, {"window_left": 40}, {"softcap": 30.0}, {"kv_dtype": "float8_e4m3fn"}], ids=str
)
def test_flashinfer_under_a_mask(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], page_size: int, mode: str
) -> None:
    flashinfer(monkeypatch)
    problem = made(mode=mode, **extra)
    knobs: dict[str, Any] = {"path": "fa2", "page_size": page_size}
    ready = prepared(problem, "flashinfer.paged", tree=True, **knobs)
    assert ready.plan is not None
    ready.plan()
    verdict = problem.check(ready.run())
    assert verdict.ok, verdict.message
    # A causal call sees siblings.
    assert not problem.check(prepared(problem, "flashinfer.paged", **knobs).run()).ok


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("page_size", [1, 64])
@pytest.mark.parametrize("extra", [{}, {"softcap": 30.0}, FP8_QUERIES, {"dtype": "float16"}], ids=str)
def test_fa3_in_two_calls_and_a_merge(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], page_size: int, mode: str
) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    problem = made(mode=mode, **extra)
    knobs = KNOBS | {"page_size": page_size}
    verdict = problem.check(prepared(problem, "sgl_kernel.fa3", tree="cascade", **knobs).run())
    assert verdict.ok, verdict.message
    first, second = emulator.calls["flash_attn_with_kvcache"]
    assert [call["causal"] for call in (first, second)] == [False, False]
    assert (first["max_seqlen_q"], second["max_seqlen_q"]) == (5, 1)
    # As many columns as a path has drafts; the cached keys' are those of the longest context, in a graph.
    assert second["page_table"].shape == (15, 5)
    assert first["page_table"].shape[1] == (-(-200 // page_size) if mode == "graph" else -(-70 // page_size))
    assert len(emulator.calls["merge_state_v2"]) == 1
    assert not problem.check(prepared(problem, "sgl_kernel.fa3", **knobs).run()).ok


@pytest.mark.parametrize("extra", [{"window_left": 2}, {"window_left": 40}, {}, {"sinks": True}, FP8_QUERIES], ids=str)
def test_fa3_with_each_draft_a_request(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]) -> None:
    emulator = fa3_emulator.install(monkeypatch)
    problem = made(**extra)
    verdict = problem.check(prepared(problem, "sgl_kernel.fa3", tree="expanded", **KNOBS).run())
    assert verdict.ok, verdict.message
    (call,) = emulator.calls["flash_attn_with_kvcache"]
    assert call["page_table"].shape[0] == len(call["cache_seqlens"]) == 15
    assert "merge_state_v2" not in emulator.calls


@pytest.mark.parametrize("prefix", [0, 3])
def test_fa3_over_requests_without_cached_keys(monkeypatch: pytest.MonkeyPatch, prefix: int) -> None:
    """Their part has no key: a log-sum-exp of -inf, and an output that must not count."""
    fa3_emulator.install(monkeypatch)
    lengths = Lengths((5, 5), (5, 5 + prefix))
    problem = AttentionProblem(workload("attention.extend"), lengths, "cpu", 7, trees=TREES[:2])
    verdict = problem.check(prepared(problem, "sgl_kernel.fa3", tree="cascade", **KNOBS).run())
    assert verdict.ok, verdict.message


def test_who_can_not_verify_a_tree() -> None:
    plain, windowed = workload("attention.extend"), workload("attention.extend", window_left=40)
    sinks = workload("attention.extend", sinks=True)
    paged = {"page_size": 1, "split": None}
    assert reason("flashinfer.paged", plain, path="fa2", tree=True, **paged) == ""
    assert "custom mask, which only fa2 has" in reason("flashinfer.paged", plain, path="fa3", tree=True, **paged)
    assert reason("sgl_kernel.fa3", plain, tree="cascade", **KNOBS) == ""
    assert "one window for all" in reason("sgl_kernel.fa3", windowed, tree="cascade", **KNOBS)
    assert reason("sgl_kernel.fa3", windowed, tree="expanded", **KNOBS) == ""
    assert "count twice" in reason("sgl_kernel.fa3", sinks, tree="cascade", **KNOBS)
    assert "not as other" in reason("sgl_kernel.fa3", plain, tree="other", **KNOBS)


def test_no_list_of_an_extend_has_a_tree() -> None:
    backends: list[Backend] = [REGISTRY.get(name) for name in ("flashinfer.paged", "sgl_kernel.fa3")]
    for backend in backends:
        listed = list(backend.candidates(workload("attention.extend"), H100))
        assert listed
        assert not any("tree" in dict(candidate.knobs) for candidate in listed)
