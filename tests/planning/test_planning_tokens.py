"""From microseconds to tokens: layers times gain."""

from __future__ import annotations

import pytest
from planning_runs import candidate, fa3, real, result, run, workload

from autotune_cli.errors import BadField
from autotune_cli.planning.model import model_of
from autotune_cli.planning.plan import Request, plan_of

DECODE, EXTEND = workload("decode"), workload("extend")


def test_layers_times_gain() -> None:
    of = run(
        result(
            DECODE,
            candidate(fa3("decode", 64), 80.0, 1.0),
            candidate(fa3("decode", 1), 100.0, 2.0),
            default=fa3("decode", 1),
        ),
        result(
            EXTEND, candidate(fa3("extend", 64), 300.0), candidate(fa3("extend", 1), 350.0), default=fa3("extend", 1)
        ),
    )
    plan = plan_of(of, Request(step_ms=16.0, chunk_ms=32.0))
    by = {(change.step, change.shape): change for change in plan.changes}
    decode = by["decode", "decode 8 x 4096"]
    assert decode.layers == 32
    assert decode.attention_ms == pytest.approx(2.56)
    assert decode.change_ms == pytest.approx(-0.64)
    assert decode.half_ms == pytest.approx(0.032 * 5.0**0.5)
    assert decode.share == pytest.approx(-0.04)
    mean = by["decode", ""]
    assert (mean.change_ms, mean.half_ms, mean.share) == pytest.approx((decode.change_ms, decode.half_ms, decode.share))
    assert by["prefill", ""].change_ms == pytest.approx(-1.6)
    assert by["prefill", ""].share == pytest.approx(-0.05)


@pytest.mark.parametrize("ms", [0.0, -21.0, float("nan"), float("inf")])
def test_a_step_without_a_length_is_refused(ms: float) -> None:
    for request in (Request(step_ms=ms), Request(chunk_ms=ms)):
        with pytest.raises(BadField, match=r"(step|chunk)_ms: .* is no time of a step"):
            plan_of(run(), request)


def test_a_step_of_a_model_with_two_kinds_of_layers_has_both() -> None:
    geometry = {"num_qo_heads": 64, "head_dim": 64, "sinks": True}
    full, window = workload("decode", **geometry), workload("decode", window_left=127, **geometry)
    narrow = {1: "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=false)"}
    narrow[64] = narrow[1].replace("page_size=1", "page_size=64")
    of = run(
        result(full, candidate(fa3("decode", 64), 80.0), candidate(fa3("decode", 1), 100.0), default=fa3("decode", 1)),
        result(window, candidate(narrow[64], 9.0), candidate(narrow[1], 10.0), default=narrow[1]),
        name="gpt-oss-120b",
    )
    plan = plan_of(of, Request())
    mean, single = plan.changes
    assert single.layers == 36
    assert single.change_ms == pytest.approx(18 * (-20.0 - 1.0) / 1e3)
    assert mean.change_ms == pytest.approx(single.change_ms)
    assert plan.step.us == pytest.approx(18 * 89.0)


def test_shapes_are_averaged_by_their_weight() -> None:
    more = workload("decode", 64)
    of = run(
        result(
            DECODE, candidate(fa3("decode", 64), 80.0), candidate(fa3("decode", 1), 100.0), default=fa3("decode", 1)
        ),
        result(more, candidate(fa3("decode", 64), 700.0), candidate(fa3("decode", 1), 800.0), default=fa3("decode", 1)),
    )
    plan = plan_of(of, Request(weights="decode=3,decode64x4096=1"))
    assert plan.changes[0].change_ms == pytest.approx(32 * -(3 * 20.0 + 100.0) / 4 / 1e3)


def test_without_the_untuned_servers_time_there_is_no_change() -> None:
    plan = plan_of(
        run(result(DECODE, candidate(fa3("decode", 64), 80.0), candidate(fa3("decode", 1), 90.0))), Request()
    )
    assert plan.changes == ()


@pytest.mark.parametrize(
    ("name", "command", "model", "tp"),
    [
        ("x", ("autotune", "tune", "--model", "llama-3.1-70b", "--tp", "8"), "llama-3.1-70b", 8),
        ("x", ("autotune", "tune", "--model=qwen2.5-7b"), "qwen2.5-7b", 1),
        ("llama-3.1-70b-tp8", ("autotune", "tune"), "llama-3.1-70b", 8),
        ("llama-3.1-8b-fp8", ("autotune", "tune"), "llama-3.1-8b", 1),
        ("cpu", ("autotune", "tune"), "cpu", 1),
        ("mine", ("autotune", "tune"), None, 1),
        ("mine", ("autotune", "tune", "--config", "nowhere/config.json"), None, 1),
    ],
)
def test_the_model_of_a_result(name: str, command: tuple[str, ...], model: str | None, tp: int) -> None:
    found = model_of(run(result(DECODE, candidate("x", 1.0)), name=name, command=command))
    assert (found and found.model.name) == model
    assert found is None or found.tp == tp


def test_layers_of_real_results() -> None:
    for name, device, layers in (
        ("llama-3.1-70b-tp8", "h200", {80}),
        ("qwen2.5-7b", "h100", {28}),
        ("deepseek-v3.2", "h100", {61}),
    ):
        assert set(plan_of(real(name, device), Request()).layers.values()) == layers


def test_a_result_without_a_command_line_is_known_by_its_name() -> None:
    key = fa3("decode", 1)
    of = run(result(DECODE, candidate(key, 100.0), default=key), name="llama-3.1-8b-tp2")
    found = model_of(of.model_copy(update={"command": ()}))
    assert found is not None
    assert (found.model.name, found.tp) == ("llama-3.1-8b", 2)


@pytest.mark.parametrize("words", [("--tp", "0"), ("--tp", "9" * 5000), ("--config", "x" * 5000), ("--config", "a\0b")])
def test_a_command_line_that_cant_be_leaves_the_model_to_the_name(words: tuple[str, str]) -> None:
    key = fa3("decode", 1)
    of = run(result(DECODE, candidate(key, 100.0), default=key), command=("autotune", "tune", *words))
    found = model_of(of)
    assert (found is None) == (words[0] == "--config")
    assert plan_of(of, Request()).tp == 1


def test_a_name_with_an_endless_number_of_gpus() -> None:
    key = fa3("decode", 1)
    of = run(result(DECODE, candidate(key, 100.0), default=key), name="llama-3.1-8b-tp" + "9" * 5000)
    assert plan_of(of.model_copy(update={"command": ("autotune",)}), Request()).tp == 1
