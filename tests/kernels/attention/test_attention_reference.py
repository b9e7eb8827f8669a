"""The reference against loops that share nothing with it, and against itself in other block sizes."""

from __future__ import annotations

import math

import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, problem, workload

from autotune_cli.kernels.attention import reference as module
from autotune_cli.kernels.attention.problem import AttentionProblem, make_problem
from autotune_cli.kernels.attention.workload import Lengths


def loops(made: AttentionProblem) -> tuple[list[list[list[float]]], list[list[float]]]:
    """out [query][head][dim] and lse [query][head], one number at a time."""
    g = made.geometry
    queries = made.q if g.q_dtype is None else made.q.to(torch.float8_e4m3fn)
    q, k, v = (tensor.double().tolist() for tensor in (queries, made._keys, made._values))
    sinks = None if made.sinks is None else made.sinks.tolist()
    outs, lses, query, first = [], [], 0, 0
    for qo, kv in zip(*made.lengths, strict=True):
        for token in range(qo):
            own = kv - qo + token
            low = 0 if g.window_left is None else max(0, own - g.window_left)
            row, row_lse = [], []
            for head in range(g.num_qo_heads):
                shared = head // (g.num_qo_heads // g.num_kv_heads)
                logits = []
                for key in range(low, own + 1):
                    pairs = zip(q[query][head], k[first + key][shared], strict=True)
                    logit = sum(a * b * made.k_scale for a, b in pairs) / math.sqrt(g.head_dim)
                    logits.append(g.softcap * math.tanh(logit / g.softcap) if g.softcap else logit)
                weights = [math.exp(logit) for logit in logits]
                total = sum(weights) + (math.exp(sinks[head]) if sinks else 0.0)
                values = [[x * made.v_scale for x in v[first + key][shared]] for key in range(low, own + 1)]
                row.append([sum(w * x[d] for w, x in zip(weights, values, strict=True)) / total for d in range(4)])
                row_lse.append(math.log2(total))
            outs.append(row)
            lses.append(row_lse)
            query += 1
        first += kv
    return outs, lses


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"window_left": 3},
        {"window_left": 0},
        {"softcap": 2.0},
        {"kv_dtype": "float8_e4m3fn"},
        FP8_QUERIES,
        {"sinks": True},
        {"sinks": True, "window_left": 3},
        {"sinks": True, "softcap": 2.0},
        {"sinks": True, "window_left": 0} | FP8_QUERIES,
    ],
    ids=str,
)
def test_agrees_with_loops(kv_heads: int, extra: dict[str, object]) -> None:
    lengths = Lengths((1, 5, 3, 4), (1, 5, 7, 9))
    shape = workload("attention.extend", num_kv_heads=kv_heads, head_dim=4, **extra)
    made = AttentionProblem(shape, lengths, "cpu", seed=1)
    out, lse = loops(made)
    assert torch.allclose(made.reference.out, torch.tensor(out, dtype=torch.float64), rtol=1e-10, atol=1e-12)
    assert torch.allclose(made.reference.lse, torch.tensor(lse, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("extra", [{}, {"window_left": 20}, {"sinks": True} | FP8_QUERIES], ids=str)
def test_blocks_make_no_difference(operation: str, extra: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = problem(operation, **extra).reference
    monkeypatch.setattr(module, "_SCORES", 300)
    blocks = problem(operation, **extra).reference
    assert torch.allclose(whole.out, blocks.out, rtol=1e-12, atol=1e-13)
    assert torch.allclose(whole.lse, blocks.lse, rtol=1e-12, atol=1e-13)


def test_is_computed_once() -> None:
    made = problem("attention.decode")
    assert made.reference is made.reference


def test_leaves_tf32_as_it_was() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert problem("attention.decode").reference.out.dtype == torch.float64
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_same_seed_same_problem() -> None:
    shape = workload("attention.extend", kv_dtype="float8_e4m3fn")
    first, second, third = (make_problem(shape, "edges", "cpu", seed) for seed in (5, 5, 6))
    second.paged(64)
    for name in ("q", "k", "v"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(third, name))
    assert torch.equal(first.paged(16).indices, second.paged(16).indices)
