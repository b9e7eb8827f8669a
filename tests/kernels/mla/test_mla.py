"""Latent attention: suites, cost, reference and judge, and torch's backend. On a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from mla_cases import workload

from autotune_cli.kernels.family import cost, family
from autotune_cli.kernels.mla.plain import PlainProblem
from autotune_cli.kernels.mla.problem import MlaProblem, make_problem
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.models import build_suite, load_model
from autotune_cli.kernels.registry import REGISTRY


def attended(made: MlaProblem, *, scale: float | None = None, rotated: float = 1.0, shift: int = 0) -> torch.Tensor:
    """What a candidate returns; by default a right one."""
    pages, rank = made.paged(16), made.geometry.kv_lora_rank
    out = torch.empty_like(made.q_nope)
    starts = made.qo_indptr.tolist()
    for request, (qo, kv) in enumerate(zip(*made.lengths, strict=True)):
        rows = slice(starts[request], starts[request] + qo)
        ckv, kpe = (part[pages.tables[request].long()].flatten(0, 1)[:kv].float() for part in (pages.ckv, pages.kpe))
        scores = made.q_nope[rows].float() @ ckv.T + rotated * (made.q_pe[rows].float() @ kpe.T)
        own = torch.arange(kv - qo, kv)[:, None] + shift
        hidden = torch.arange(kv)[None, :] > own.clamp(min=0)
        scores = (scores * (scale or made.geometry.scale)).masked_fill(hidden[:, None], -math.inf)
        out[rows] = (scores.softmax(-1) @ ckv).to(out.dtype)
    assert ckv.shape[1] == rank
    return out


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", ["decode", "extend"])
def test_a_right_output_passes_and_wrong_ones_fail(name: str, dtype: str) -> None:
    made = make_problem(workload(name, dtype=dtype), "edges", "cpu", 1)
    verdict = made.check(attended(made))
    assert verdict.ok, verdict.message
    for fault in ({"scale": 1 / math.sqrt(576)}, {"rotated": 0.0}, {"shift": -1}):
        assert not made.check(attended(made, **fault)).ok, fault  # type: ignore[arg-type]


def test_a_causal_mask_that_is_aligned_to_the_start_is_wrong() -> None:
    made = make_problem(workload("extend"), "edges", "cpu", 1)
    assert not made.check(attended(made, shift=1)).ok


def test_every_page_size_holds_the_same_tokens_and_garbage_beside_them() -> None:
    made = make_problem(workload("decode"), "workload", "cpu", 2)
    for size in (1, 64, 128):
        pages = made.paged(size)
        assert pages.ckv.data_ptr() == pages.pool.data_ptr()
        assert pages.kpe.stride(1) == made.geometry.width
        first = 0
        for table, tokens in zip(pages.tables, made.lengths.kv, strict=True):
            assert 0 not in table
            held = pages.pool[table.long()].flatten(0, 1)
            assert torch.equal(held[:tokens], made._tokens[first : first + tokens])
            assert (held[tokens:] > 1e4).all()
            first += tokens


@pytest.mark.parametrize("kv_dtype", [None, "float8_e4m3fn"])
@pytest.mark.parametrize("form", ["products", "sdpa"])
@pytest.mark.parametrize("name", ["decode", "extend"])
def test_torch_is_right(name: str, form: str, kv_dtype: str | None) -> None:
    for case in ("workload", "edges"):
        made = make_problem(workload(name, kv_dtype=kv_dtype), case, "cpu", 3)
        verdict = made.check(REGISTRY.get("torch.mla").prepare(made, form=form).run())  # type: ignore[union-attr]
        assert verdict.ok, verdict.message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("new", [60, 20])
def test_torchs_plain_form_is_right_and_wrong_ones_fail(new: int, dtype: str) -> None:
    shape = workload("prefill", dtype=dtype).model_copy(update={"new": new})
    for case in ("workload", "edges"):
        made = make_problem(shape, case, "cpu", 3)
        assert isinstance(made, PlainProblem)
        assert (made.lengths.qo == made.lengths.kv) == (new == 60)
        right = REGISTRY.get("torch.mla_prefill").prepare(made).run()  # type: ignore[union-attr]
        verdict = made.check(right)
        assert verdict.ok, verdict.message
        assert not made.check(right.roll(1, dims=0)).ok
        # Another softmax scale, heads' keys exchanged, a key that isn't seen.
        for name, changed in (("q", made.q * 1.2), ("k", made.k.roll(1, dims=1)), ("v", made.v.roll(1, dims=0))):
            other = made.for_graphs()
            setattr(other, name, changed)
            assert not made.check(REGISTRY.get("torch.mla_prefill").prepare(other).run()).ok, name  # type: ignore[union-attr]


def test_the_cost_of_a_prefill_by_hand() -> None:
    shape = workload("prefill").model_copy(update={"spread": "even"})
    queries = 3 * 60 * 4
    assert cost(shape).bytes == 2 * queries * (192 + 192 + 128 + 128)
    assert cost(shape).flops == 2 * 3 * 4 * sum(range(1, 61)) * (192 + 128)
    assert cost(shape).written == 2 * queries * 128
    longer = shape.model_copy(update={"new": 20})
    assert cost(longer).flops == 2 * 3 * 4 * sum(range(41, 61)) * (192 + 128)


def test_how_a_prefill_is_named() -> None:
    shape = workload("prefill").model_copy(update={"batch": 2})
    assert shape.key == "attention.mla_prefill 2 x 60 eager h4 d192/128 bfloat16"
    on_prefix = shape.model_copy(update={"new": 20})
    assert (on_prefix.shape, on_prefix.cells) == ("2 x 20+40", ("2", "≤20+40"))
    # Another latent width is the same computation; another width of values isn't.
    assert workload("prefill", kv_lora_rank=256).key == workload("prefill").key
    assert workload("prefill", v_head_dim=64).key != workload("prefill").key
    assert workload("decode", v_head_dim=64).key == workload("decode").key


def test_moved_inputs_lie_elsewhere_and_are_the_same() -> None:
    plain = make_problem(workload("prefill"), "workload", "cpu", 3)
    for one, another in zip(plain.inputs().values(), plain.moved().inputs().values(), strict=True):
        assert torch.equal(one, another)
        assert one.data_ptr() != another.data_ptr()
    made = make_problem(workload("extend"), "workload", "cpu", 3)
    assert isinstance(made, MlaProblem)
    joined = made.q
    other = made.moved()
    assert not {part.data_ptr() for part in (*made.inputs().values(), joined)} & {
        part.data_ptr() for part in other.inputs().values()
    }
    assert torch.equal(other.q, joined)
    assert torch.equal(other.paged(16).pool, made.paged(16).pool)


def test_the_cost_of_a_decode_step_by_hand() -> None:
    shape = workload("decode").model_copy(update={"spread": "even"})
    least = cost(shape)
    queries, tokens = 3 * 4, 3 * 90
    assert least.bytes == 2 * (queries * 576 + tokens * 576 + queries * 512)
    assert least.flops == 2 * tokens * 4 * (576 + 512)
    even = workload("extend").model_copy(update={"spread": "even"})
    assert cost(even).flops == 2 * 3 * sum(range(84, 91)) * 4 * (576 + 512)


@pytest.mark.parametrize(
    ("name", "heads", "nope"),
    [("deepseek-v3", 128, 128), ("deepseek-v3.2", 128, 128), ("kimi-k2", 64, 128), ("glm-5", 64, 192)],
)
@pytest.mark.parametrize("tp", [1, 8, 16])
def test_suites_of_the_known_models(name: str, heads: int, nope: int, tp: int) -> None:
    found = build_suite(name, "cuda", tp=tp, operations="mla").workloads
    mla = family("attention.mla_decode")
    assert {each.operation for each in found} == {mla.run_for(load_model(name), each) for each in mla.usual}
    assert {each.latent.key for each in found if isinstance(each, MlaWorkload)} == {
        f"h{heads // tp} mla 512+64 d{nope} bfloat16"
    }
    # GLM-5's values are as wide as its keys.
    wide = "256/256" if nope == 192 else "192/128"
    plain = [each.key for each in found if each.operation == "attention.mla_prefill"]
    assert plain
    assert all(key.endswith(f" h{heads // tp} d{wide} bfloat16") for key in plain)
    topk = load_model(name).topk
    assert {each.situation["attention"] for each in found} == {"mla" if topk is None else "dsa"}
    assert {each.mode for each in found if each.operation.endswith("decode")} == {"graph"}


def test_another_judge_of_attention_makes_earlier_results_of_latent_attention_worthless() -> None:
    own = {path.relative_to(path.parents[1]).as_posix() for path in family("attention.mla_decode").sources()}
    assert own >= {
        "attention/paging.py",
        "mla/batch.py",
        "mla/problem.py",
        "mla/reference.py",
        "attention/reference.py",
        "attention/problem.py",
    }


def test_a_view_has_the_inputs_that_its_candidate_asks_for() -> None:
    made = make_problem(workload("decode"), "workload", "cpu", 3)
    assert isinstance(made, MlaProblem)
    one, another = made.view(), made.view()
    joined, pool = one.q, another.paged(64).pool
    assert set(one.inputs()) == {"q_nope", "q_pe", "q"}
    assert set(another.inputs()) == {"q_nope", "q_pe", "pages of 64"}
    # What one asked for is made once, and is the problem's own.
    assert set(made.inputs()) == {"q_nope", "q_pe", "tokens", "q", "pages of 64"}
    assert made.q.data_ptr() == joined.data_ptr()
    assert made.paged(64).pool.data_ptr() == pool.data_ptr()
    plain = make_problem(workload("prefill"), "workload", "cpu", 3)
    assert set(plain.view().inputs()) == {"q", "keys", "values"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("key", [0, 63, 64, 511, 512, -1])
def test_one_key_that_is_lost_between_blocks_is_far_off(key: int, dtype: str) -> None:
    """A split that begins one key too late loses one of 1045, which weighs nothing: it passed. (Over an FP8 cache it
    still does: the limit there is 0.2.)

    Put back: leave out ``_mark_blocks`` in ``MlaProblem``.
    """
    made = make_problem(workload("decode", dtype=dtype), "edges", "cpu", 1)
    assert isinstance(made, MlaProblem)
    out = attended(made)
    assert made.check(out).ok
    request = made.lengths.kv.index(max(made.lengths.kv))
    start = sum(made.lengths.kv[:request])
    tokens = made._tokens[start : start + made.lengths.kv[request]].double()
    scores = made.q[request].double() @ tokens.T * made.geometry.scale
    scores[:, key] = -math.inf
    out[request] = (scores.softmax(-1) @ tokens[:, : made.geometry.kv_lora_rank]).to(out.dtype)
    verdict = made.check(out)
    assert not verdict.ok
    assert verdict.error > 2 * verdict.limit
