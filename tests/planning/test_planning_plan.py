"""Plans of real results, held against the files' own numbers, and of small ones whose answer is plain."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planning_runs import FLASHINFER, candidate, fa3, real, requiring, result, rough, run, workload, wrong

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.planning.plan import Request, plan_of
from autotune_cli.planning.records import NoPlan, Plan
from autotune_cli.render.plan_words import doubts
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import CandidateResult, RunFile

DECODE, EXTEND = workload("decode"), workload("extend")


def time_in(found: Any, key: str) -> float | None:
    each = next((each for each in found.candidates if each.key == key), None)
    if each is None or found.timed(each).status not in ("ok", "eliminated"):
        return None
    return found.timed(each).median_us or found.timed(each).rough_us


def step_by_hand(of: RunFile, decode: str, other: str) -> float:
    """The sum over all workloads of what decodes and of what does the rest, looked up in the file."""
    times = [time_in(each, decode if each.workload.operation == "attention.decode" else other) for each in of.workloads]
    return math.inf if None in times else sum(filter(None, times))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-8b-fp8", "qwen2.5-7b"])
def test_the_plan_is_the_fastest_page_size_of_fa3_on_an_h100(name: str) -> None:
    of = real(name)
    by_hand = {page: step_by_hand(of, fa3("decode", page), fa3("extend", page)) for page in (1, 16, 64, 128, 256)}
    plan = plan_of(of, Request())
    page = int(plan.values["page-size"] or "1")
    (layers,) = set(plan.layers.values())
    assert plan.step.us == pytest.approx(layers * by_hand[page])
    # No other size is faster beyond what the times are known by.
    assert layers * min(by_hand.values()) > plan.step.us - 2.0 * plan.step.half
    assert plan.gain is not None
    assert plan.gain.value == pytest.approx(by_hand[1] / by_hand[page])
    assert plan.gain.low <= plan.gain.value <= plan.gain.high
    best = sum(time_in(each, each.choice.winner) for each in of.workloads)  # type: ignore[union-attr, misc]
    assert plan.loss.value == pytest.approx(by_hand[page] / best)
    assert plan.compromise.value * plan.untold.value == pytest.approx(plan.loss.value)


def test_llama_on_an_h100_wants_pages_of_128() -> None:
    """The figures of docs/plan.md."""
    plan = plan_of(real("llama-3.1-8b"), Request(step_ms=21.0))
    assert [setting.typed for setting in plan.settings] == ["--page-size 128"]
    assert plan.baseline.name == "sglang --page-size 128"
    assert (plan.untuned, plan.untuned_version, plan.compared) == ("sglang", "0.5.23", 20)
    assert plan.gain is not None
    assert [round(each, 3) for each in plan.gain] == [1.061, 1.054, 1.069]
    setting = plan.settings[0]
    assert setting.gain == plan.gain
    assert setting.costs == ()
    decode, *_ = plan.changes
    assert (decode.step, decode.shape, decode.layers) == ("decode", "", 32)
    shares = [row.weight * row.runs.time.us for row in plan.rows]
    assert [row.share for row in plan.rows] == pytest.approx([share / sum(shares) for share in shares])


def test_an_old_file_whose_default_is_another_backend() -> None:
    plan = plan_of(real("llama-3.1-8b", "h200"), Request())
    assert plan.untuned == "sglang --attention-backend flashinfer"
    assert [setting.typed for setting in plan.settings] == ["--attention-backend flashinfer"]
    assert plan.gain == (1.0, 1.0, 1.0)
    assert "was not measured here" in plan.settings[0].without
    assert "fa3" in dict(plan.rejected)


def test_the_untuned_server_is_wrong() -> None:
    plan = plan_of(real("deepseek-v3.2"), Request())
    assert [setting.typed for setting in plan.settings] == ["--dsa-topk-backend flashinfer"]
    assert (plan.gain, plan.gain_mean, plan.compared) == (None, None, 0)
    assert all(row.untuned_missing.startswith("incorrect: ") for row in plan.rows)
    assert "incorrect" in plan.settings[0].without
    assert all(row.runs.key != "sgl_kernel.fast_topk_v2" for row in plan.rows)


def test_torchs_topk_needs_the_fusion_off() -> None:
    plan = plan_of(real("deepseek-v3.2"), Request(pins=("dsa-topk-backend=torch",)))
    assert [setting.typed for setting in plan.settings] == ["SGLANG_DSA_FUSE_TOPK=0", "--dsa-topk-backend torch"]
    assert "can't be left out: SGLang's torch top-k has no fused path" in plan.settings[0].without


def small(page64: float, page1: float = 100.0, **changes: Callable[..., Any]) -> RunFile:
    """A decode step and an extend, over pages of 1 and of 64."""
    make = changes.get("make", candidate)
    decode = result(
        DECODE,
        candidate(fa3("decode", 1), page1),
        make(fa3("decode", 64), page64),
        candidate(FLASHINFER["decode"], 90.0),
        default=fa3("decode", 1),
    )
    extend = result(
        EXTEND,
        candidate(fa3("extend", 1), 200.0),
        candidate(fa3("extend", 64), 150.0),
        candidate(FLASHINFER["extend"], 500.0),
        default=fa3("extend", 1),
    )
    return run(decode, extend)


def typed(plan: Plan) -> list[str]:
    return [setting.typed for setting in plan.settings]


def test_a_joint_choice_is_no_vote_of_the_workloads() -> None:
    """Decode alone wants flashinfer; together pages of 64 under fa3 and flashinfer for decode are fastest."""
    plan = plan_of(small(95.0), Request())
    assert typed(plan) == [
        "--prefill-attention-backend fa3", "--decode-attention-backend flashinfer", "--page-size 64",
    ]  # fmt: skip
    assert plan.step.us == 32 * 240.0
    assert plan.notes == ("SGLang calls a server with two attention backends experimental",)
    # One backend only.
    plan = plan_of(small(95.0), Request(pins=("attention_backend=fa3",)))
    assert plan.step.us == 32 * 245.0
    assert plan.values["page-size"] == "64"
    decode = plan.rows[0]
    assert decode.compromise.value == pytest.approx(95.0 / 90.0)
    assert decode.reachable_by == "sglang --attention-backend flashinfer"


def test_the_price_of_a_compromise() -> None:
    plan = plan_of(small(110.0), Request(pins=("attention_backend=fa3",)))
    assert plan.values["page-size"] == "64"
    setting = next(setting for setting in plan.settings if setting.name == "page-size")
    assert setting.gain is not None
    assert setting.gain.value == pytest.approx(300.0 / 260.0)
    (cost,) = setting.costs
    assert cost.workload == "attention.decode 8 x 4096"
    assert cost.ratio.value == pytest.approx(1.1)


def test_traffic_decides() -> None:
    many = Request(pins=("attention_backend=fa3",), weights="decode=100,extend=1")
    assert plan_of(small(110.0), many).values["page-size"] == ""
    few = Request(pins=("attention_backend=fa3",), weights="decode=1,extend=1")
    assert plan_of(small(110.0), few).values["page-size"] == "64"
    alone = plan_of(small(110.0), Request(weights="decode=1"))
    assert [row.result.key for row in alone.rows] == [DECODE.key]
    assert alone.left_out == ((EXTEND.key, "no weight"),)


def test_a_winner_without_a_time_is_not_planned_for() -> None:
    """As an edited file may have it."""
    decode, extend = small(110.0).workloads
    timeless = CandidateResult(key=fa3("decode", 1), backend="sgl_kernel.fa3", label="fa3", status="eliminated")
    others = tuple(each for each in decode.candidates if each.key != timeless.key)
    assert decode.choice is not None
    choice = decode.choice.model_copy(update={"winner": timeless.key, "best": timeless.key, "tie_set": (timeless.key,)})
    edited = decode.model_copy(update={"candidates": (timeless, *others), "choice": choice})
    plan = plan_of(run(edited, extend), Request())
    assert plan.left_out == ((DECODE.key, "its winner has no time"),)


def test_layers_of_a_kind_weigh_as_many_calls() -> None:
    """gpt-oss has 18 full and 18 windowed layers, each with sinks; 36 times the same would be one workload."""
    plan = plan_of(real("gpt-oss-120b"), Request())
    assert set(plan.layers.values()) == {18}
    assert {row.weight for row in plan.rows} == {18.0}
    sizes = ("--page-size 16", "--page-size 64", "--page-size 128", "--page-size 256")
    assert plan.unmeasured == tuple((size, f"sglang {size}") for size in sizes)
    assert typed(plan) == []


def test_what_lacks_a_measurement_comes_with_the_server_to_measure() -> None:
    """A variable of one backend means nothing without it; and it stands before the engine in a baseline's name."""
    of = read_run(Path(__file__).parents[1] / "data" / "diff" / "h200.20261121_073639.json")
    plan = plan_of(of, Request())
    server = "SGLANG_FLASHINFER_USE_PAGED=1 sglang --attention-backend flashinfer"
    assert plan.unmeasured == (("SGLANG_FLASHINFER_USE_PAGED=1", server),)
    assert parse_baseline(server).variables == (("SGLANG_FLASHINFER_USE_PAGED", "1"),)
    assert any(line.endswith(f"--baseline '{server}'") for line in doubts(plan))


def test_a_command_to_measure_to_the_end_has_no_budget() -> None:
    command = ("autotune", "tune", "--budget", "110s", "--resume", "--budget=5m", "--baseline=vllm", "--model", "m")
    plan = plan_of(small(95.0).model_copy(update={"command": command}), Request())
    assert plan.command == ("autotune", "tune", "--model", "m")


def test_a_step_that_nothing_is_known_of_is_told() -> None:
    of = run(result(DECODE, candidate(fa3("decode", 1), 100.0), default=fa3("decode", 1)))
    plan = plan_of(of, Request(step_ms=21.0, chunk_ms=60.0))
    assert [line for line in doubts(plan) if "given" in line] == [
        "a prefill chunk of 60 ms was given, and no change of one is known"
    ]


def test_what_is_no_news_is_not_told() -> None:
    """Two servers that can't be told apart: the one that is told nothing."""
    noisy = small(99.0, make=lambda key, us: candidate(key, us, 30.0))
    plan = plan_of(
        noisy.model_copy(update={"workloads": noisy.workloads[:1]}), Request(pins=("attention_backend=fa3",))
    )
    assert (typed(plan), plan.tied) == (["--decode-attention-backend fa3"], 2)
    # A rough time is not known to 1 %, but to 20 %.
    for us, size in ((99.0, ""), (80.0, "64")):
        near = small(us, make=rough)
        plan = plan_of(
            near.model_copy(update={"workloads": near.workloads[:1]}), Request(pins=("attention_backend=fa3",))
        )
        assert plan.values["page-size"] == size
        assert plan.rough == (1 if size else 0)


def test_what_is_wrong_or_was_not_measured_is_not_planned() -> None:
    bad = small(1.0, make=lambda key, us: wrong(key))
    plan = plan_of(bad, Request(pins=("attention_backend=fa3",)))
    assert plan.values["page-size"] == ""
    assert dict(plan.rejected)["--page-size 64"] == "attention.decode 8 x 4096: incorrect: misses 3 of 8"


def test_what_doesn_t_keep_what_is_required_is_not_planned() -> None:
    """Though it is the fastest; the untuned server runs what it runs."""
    narrow, wide, whole = (fa3("decode", page) for page in (1, 64, 128))
    each = [candidate(narrow, 100.0), candidate(wide, 50.0), candidate(whole, 80.0)]
    of = run(requiring(result(DECODE, *each, default=narrow), whole))
    plan = plan_of(of, Request())
    assert typed(plan) == ["--page-size 128"]
    assert plan.gain is not None
    assert plan.gain.value == pytest.approx(100.0 / 80.0)
    assert plan.loss.value == 1.0
    text = f"attention.decode 8 x 4096: {wide} is not deterministic: 3 of 7 runs differed"
    assert dict(plan.rejected)["--page-size 64"] == text
    assert "only kernels that were shown to be deterministic are planned, as the result requires" in doubts(plan)
    assert typed(plan_of(run(result(DECODE, *each, default=narrow)), Request())) == ["--page-size 64"]
    with pytest.raises(BadField, match="is not deterministic: 3 of 7 runs differed"):
        plan_of(of, Request(pins=("page_size=64",)))


def test_pins_that_cant_be_kept() -> None:
    for pins, said in (
        (("attention_backend=flashmla", "page_size=16"), "FlashMLA takes pages of 64 only"),
        (
            ("attention_backend=fa3", "page_size=256"),
            "sgl_kernel.fa3(page_size=256,num_splits=0,scheduler_metadata=true) was not measured here",
        ),
        (("attention_backend=trtllm_mha", "page_size=64"), "trtllm_mha is no candidate of this program"),
    ):
        with pytest.raises(BadField) as error:
            plan_of(small(95.0), Request(pins=pins))
        assert said in str(error.value), pins
        assert str(error.value).startswith("pin: no server with ")


def test_a_stand_in_is_planned_with_only_if_it_is_pinned() -> None:
    stand_in = "triton.decode(page_size=1,block=32,warps=4,stages=2,splits=sglang)"
    of = run(result(DECODE, candidate(fa3("decode", 1), 100.0), candidate(stand_in, 50.0), default=fa3("decode", 1)))
    plan = plan_of(of, Request())
    assert typed(plan) == []
    assert "is not the engine's own kernel" in dict(plan.rejected)["triton"]
    pinned = plan_of(of, Request(pins=("decode-attention-backend=triton",)))
    assert pinned.rows[0].runs.key == stand_in
    assert pinned.stand_ins


def test_nothing_that_the_engine_runs_was_measured() -> None:
    with pytest.raises(NoPlan) as error:
        plan_of(run(result(DECODE, candidate("mine.decode", 1.0))), Request())
    assert error.value.exit_code == 3
    assert "no plan for SGLang" in str(error.value)


def test_another_version_runs_something_else() -> None:
    """Before 0.5.16 SGLang made no scheduler metadata for a decode step."""
    older = plan_of(real("llama-3.1-8b"), Request(version="0.5.10"))
    assert "scheduler_metadata=false" in str(older.rows[0].untuned)
    assert (older.version, older.version_from, older.untuned_version) == ("0.5.10", "named", "0.5.10")


def test_vllms_own_kernels_are_not_known_so_neither_is_the_gain() -> None:
    plan = plan_of(real("llama-3.1-8b"), Request(engine="vllm"))
    assert typed(plan) == ["--attention-backend FLASHINFER"]
    assert plan.gain is None
    assert plan.rows[0].untuned_missing.startswith("vLLM's fork of FlashAttention")


def test_over_another_baseline() -> None:
    plan = plan_of(real("llama-3.1-8b"), Request(baseline="sglang --attention-backend flashinfer"))
    assert plan.gain is not None
    assert plan.gain.low > 1.2
    with pytest.raises(UnknownName):
        plan_of(real("llama-3.1-8b"), Request(baseline="sglang --nothing"))


def latent(operation: str, batch: int = 8) -> MlaWorkload:
    """DeepSeek-V3's layers, one of eight GPUs."""
    layer = LatentGeometry(
        num_heads=16, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128, dtype="bfloat16"
    )
    shape = {"mla_decode": {"context": 4096}, "mla_extend": {"new": 512, "context": 1024}}[operation]
    return MlaWorkload(operation=f"attention.{operation}", latent=layer, batch=batch, mode="eager", **shape)


def test_flashmla_brings_its_pages() -> None:
    """Pages of 64 are no choice there, whatever they cost in an extend."""
    fa3_decode = "sgl_kernel.fa3_mla(page_size={},num_splits=0,scheduler_metadata=false)"
    fa3_extend = "sgl_kernel.fa3_mla(page_size={},num_splits=0)"
    of = run(
        result(
            latent("mla_decode"),
            candidate(fa3_decode.format(1), 100.0),
            candidate(fa3_decode.format(64), 95.0),
            candidate("sgl_kernel.flashmla", 60.0),
            default=fa3_decode.format(1),
        ),
        result(
            latent("mla_extend"),
            candidate(fa3_extend.format(1), 50.0),
            candidate(fa3_extend.format(64), 55.0),
            default=fa3_extend.format(1),
        ),
        name="deepseek-v3",
    )
    plan = plan_of(of, Request())
    assert typed(plan) == [
        "--prefill-attention-backend fa3",
        "--decode-attention-backend flashmla",
        "--page-size 64",
    ]
    page = plan.settings[-1]
    assert page.gain is None
    assert page.without.startswith("can't be left out: FlashMLA takes pages of 64 only")
    assert plan.step.us == 61 * 115.0
    extend = plan.rows[1]
    assert extend.compromise.value == pytest.approx(1.1)


def test_a_result_without_a_workload_says_so() -> None:
    with pytest.raises(NoPlan, match=r"no plan for SGLang: the result has no workload$"):
        plan_of(run(), Request())


def test_a_setting_that_is_known_roughly_and_gains_nothing_is_not_told() -> None:
    """Pages of 16 can't be told from those of 1, nor from those of 64, which are faster than those of 1."""
    keys = {page: fa3("decode", page) for page in (1, 16, 64)}
    of = run(
        result(
            DECODE,
            candidate(keys[64], 97.0, 0.5),
            candidate(keys[1], 100.0, 0.5),
            rough(keys[16], 100.0),
            default=keys[1],
        )
    )
    plan = plan_of(of, Request())
    assert [setting.typed for setting in plan.settings] == ["--page-size 64"]
    assert plan.gain is not None
    assert plan.gain.low > 1.0
