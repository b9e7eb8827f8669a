"""What FP8 queries and sinks add to a workload and its problem."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_cases import FP8_QUERIES, OPERATIONS, logical, problem
from pydantic import ValidationError

from autotune_cli.kernels.geometry import Geometry

HEADS = {"num_qo_heads": 8, "num_kv_heads": 2, "head_dim": 64}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({}, "h8/2 d64 bfloat16"),
        ({"kv_dtype": "float8_e4m3fn", "window_left": 9}, "h8/2 d64 bfloat16 kv float8_e4m3fn window 9"),
        (FP8_QUERIES, "h8/2 d64 bfloat16 kv float8_e4m3fn q float8_e4m3fn"),
        (
            FP8_QUERIES | {"window_left": 9, "softcap": 30.0, "sinks": True},
            "h8/2 d64 bfloat16 kv float8_e4m3fn q float8_e4m3fn window 9 softcap 30 sinks",
        ),
        ({"sinks": True}, "h8/2 d64 bfloat16 sinks"),
    ],
)
def test_keys_name_them(values: dict[str, Any], key: str) -> None:
    assert Geometry(**HEADS, **values).key == key


@pytest.mark.parametrize(
    "values",
    [
        {"q_dtype": "float8_e4m3fn"},
        {"q_dtype": "bfloat16"},
        {"q_dtype": "bfloat16", "kv_dtype": "float8_e4m3fn"},
        {"q_dtype": "float8_e4m3fn", "kv_dtype": "float16"},
    ],
    ids=str,
)
def test_other_query_dtypes_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="over a float8_e4m3fn cache only"):
        Geometry(**HEADS, **values)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("case", ["workload", "edges"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_new_tokens_hold_the_scaled_cache_exactly(operation: str, case: str, dtype: str) -> None:
    made = problem(operation, case, dtype=dtype, **FP8_QUERIES)
    assert made.k_scale != made.v_scale
    assert 1.0 not in (made.k_scale, made.v_scale)
    ends = torch.tensor(made.lengths.kv).cumsum(0).tolist()
    rows = [row for end, qo in zip(ends, made.lengths.qo, strict=True) for row in range(end - qo, end)]
    for cached, scale, new in zip(logical(made, 16), (made.k_scale, made.v_scale), (made.k, made.v), strict=True):
        assert new.dtype == made.dtype
        assert torch.equal(cached[rows] * scale, new.double())


@pytest.mark.parametrize("values", [{}, {"kv_dtype": "float8_e4m3fn"}, {"sinks": True}], ids=str)
def test_without_fp8_queries_scales_are_1(values: dict[str, Any]) -> None:
    made = problem("attention.extend", **values)
    assert (made.k_scale, made.v_scale) == (1.0, 1.0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_scaled_logits_have_the_usual_spread(operation: str) -> None:
    plain, scaled = problem(operation, "workload"), problem(operation, "workload", **FP8_QUERIES)
    for name in ("k", "v"):
        assert float(getattr(scaled, name).double().std() / getattr(plain, name).double().std()) == pytest.approx(
            1, 0.02
        )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("extra", [{}, {"window_left": 40}], ids=str)
def test_sinks(operation: str, extra: dict[str, Any]) -> None:
    made = problem(operation, "workload", num_qo_heads=16, sinks=True, **extra)
    sinks = made.sinks
    assert sinks is not None
    assert (sinks.dtype, sinks.shape) == (torch.float32, (16,))
    assert torch.equal(sinks.bfloat16().float(), sinks)
    assert len(set(sinks.tolist())) >= 12
    assert any(held is sinks for held in made.inputs().values())
    # Every other head's is about the log-sum-exp of its keys alone.
    alone = problem(operation, "workload", num_qo_heads=16, **extra).reference.lse.median(0).values * 0.6931
    assert float((sinks - alone)[::2].abs().max()) < 2.0
    assert float((sinks - alone)[1::2].max()) < -1.0


def test_without_sinks_there_are_none() -> None:
    made = problem("attention.decode")
    assert made.sinks is None
    assert made.moved().sinks is None


def test_other_inputs_do_not_depend_on_sinks() -> None:
    plain, sunk = (problem("attention.extend", sinks=sinks) for sinks in (False, True))
    for name in ("q", "k", "v"):
        assert torch.equal(getattr(plain, name), getattr(sunk, name))


def test_queries_are_drawn_in_the_models_dtype() -> None:
    made = problem("attention.decode", "workload", **FP8_QUERIES)
    assert made.q.dtype == torch.bfloat16
    assert not torch.equal(made.q.to(torch.float8_e4m3fn).to(torch.bfloat16), made.q)
