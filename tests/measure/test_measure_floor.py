"""The floor is one: nothing in it can be undercut by a kernel that is right."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import Cost
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.measure.floor import above_floor, at_highest_clock, floor_us, share_of_floor, tflop_per_s
from autotune_cli.results.schema import CandidateResult, Environment, WorkloadResult

MIB = 1 << 20


def env(**changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "device_kind": "cuda",
        "device": "H100",
        "capability": (9, 0),
        "python": "3.12",
        "memory_gb_per_s": 4000.0,
        "matmul_tflop_per_s": 800.0,
    }
    return Environment(**(fields | changes))


def test_floor_is_the_slower_of_memory_and_arithmetic() -> None:
    assert floor_us(Cost(bytes=4e9, flops=0.0), env()) == pytest.approx(1000.0)
    assert floor_us(Cost(bytes=4e9, flops=1.6e12), env()) == pytest.approx(2000.0)


@pytest.mark.parametrize("name", ["memory_gb_per_s", "matmul_tflop_per_s"])
def test_no_floor_without_both_rates(name: str) -> None:
    assert floor_us(Cost(1.0, 1.0), env(**{name: None})) is None
    assert floor_us(Cost(1.0, 1.0, fp8=True), env(**{name: None})) is None


def test_what_may_still_lie_in_the_cache_when_a_kernel_ends_is_not_counted() -> None:
    device = env(l2_bytes=50 * MIB)
    half = Cost(bytes=100.0 * MIB, flops=0.0, written=40.0 * MIB)
    assert floor_us(half, device) == pytest.approx(60 * MIB / 4e6)
    more = Cost(bytes=160.0 * MIB, flops=0.0, written=100.0 * MIB)
    assert floor_us(more, device) == pytest.approx((60 + 50) * MIB / 4e6)
    assert floor_us(half, env()) == pytest.approx(100 * MIB / 4e6)


def test_on_a_warm_cache_neither_is_what_it_may_hold() -> None:
    device = env(l2_bytes=50 * MIB)
    read = Cost(bytes=60.0 * MIB, flops=0.0)
    assert floor_us(read, device, "cold") == pytest.approx(60 * MIB / 4e6)
    assert floor_us(read, device, "warm") == pytest.approx(10 * MIB / 4e6)
    assert floor_us(Cost(bytes=40.0 * MIB, flops=0.0), device, "warm") is None


def test_the_matrix_rate_counts_at_the_highest_clock() -> None:
    assert at_highest_clock(780.0, 1755.0, 1980.0) == pytest.approx(780.0 * 1980 / 1755)
    assert at_highest_clock(780.0, 1980.0, 1980.0) == 780.0
    # A reading above what NVML names as the highest makes no rate lower.
    assert at_highest_clock(780.0, 1995.0, 1980.0) == 780.0
    device = env(matmul_sm_clock_mhz=1755.0, max_sm_clock_mhz=1980.0)
    assert floor_us(Cost(0.0, 1.6e12), device) == pytest.approx(2000.0 * 1755 / 1980)


@pytest.mark.parametrize(("clock", "highest"), [(None, 1980.0), (1755.0, None), (345.0, 1980.0), (985.0, 1980.0)])
def test_a_clock_that_is_unknown_or_idle_changes_nothing(clock: float | None, highest: float | None) -> None:
    assert at_highest_clock(780.0, clock, highest) == 780.0


def test_an_fp8_cache_may_be_multiplied_in_fp8() -> None:
    assert tflop_per_s(env(fp8_tflop_per_s=1400.0)) == 800.0
    assert tflop_per_s(env(fp8_tflop_per_s=1400.0), fp8=True) == 1400.0
    clocks = {"fp8_sm_clock_mhz": 1650.0, "max_sm_clock_mhz": 1980.0}
    assert tflop_per_s(env(fp8_tflop_per_s=1400.0, **clocks), fp8=True) == pytest.approx(1680.0)
    # FP8 keys may be widened as well.
    assert tflop_per_s(env(fp8_tflop_per_s=500.0), fp8=True) == 800.0


def test_where_fp8_was_not_measured_it_is_twice_as_fast() -> None:
    assert tflop_per_s(env(), fp8=True) == 1600.0
    assert tflop_per_s(env(capability=(8, 0)), fp8=True) == 800.0
    assert tflop_per_s(env(capability=None, device_kind="cpu"), fp8=True) == 800.0


# --- what lies below it ------------------------------------------------------------------------------------------


def raced(key: str, us: float | None, half: float = 1.0, **changes: Any) -> CandidateResult:
    fields: dict[str, Any] = {"key": key, "backend": key, "label": key, "status": "ok"}
    if us is not None:
        fields |= {"rounds": (0,), "rounds_us": (us,), "median_us": us, "interval_us": (us - half, us + half)}
    return CandidateResult(**(fields | changes))


def result(*candidates: CandidateResult, floor: float | None = 100.0) -> WorkloadResult:
    workload = AttentionWorkload(
        operation="attention.decode",
        geometry=Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128),
        batch=1,
        context=1024,
        mode="graph",
    )
    return WorkloadResult(
        workload=workload,
        key=workload.key,
        environment="e",
        identity={},
        candidates=candidates,
        floor_us=floor,
        measured_at="2026-11-21T09:30:12Z",
    )


def test_within_its_interval_a_kernel_is_at_the_floor() -> None:
    for us in (99.5, 99.0):
        found = result(raced("a", us))
        assert share_of_floor(found, found.candidates[0]) == 1.0
        assert above_floor(found) == []
    found = result(raced("a", 125.0))
    assert share_of_floor(found, found.candidates[0]) == pytest.approx(0.8)


def test_beyond_its_interval_it_is_above() -> None:
    found = result(raced("a", 98.9))
    assert share_of_floor(found, found.candidates[0]) == pytest.approx(100 / 98.9)
    assert above_floor(found) == [found.candidates[0]]
    bare = raced("a", 98.9, interval_us=None)
    assert above_floor(result(bare)) == [bare]


def test_only_those_that_are_right_count_and_the_fastest_comes_first() -> None:
    wrong = raced("wrong", 10.0, status="incorrect", reason="wrong")
    out = raced("out", 90.0, status="eliminated", reason="slower")
    slow, none = raced("slow", 130.0), raced("none", None, status="unsupported", reason="x")
    found = result(wrong, out, raced("fast", 80.0), slow, none)
    assert [candidate.key for candidate in above_floor(found)] == ["fast", "out"]


def test_without_a_floor_no_candidate_is_faster_than_it() -> None:
    found = result(raced("a", 10.0), floor=None)
    assert above_floor(found) == []
    assert share_of_floor(found, found.candidates[0]) is None
    unmeasured = raced("b", None, status="unsupported", reason="x")
    assert share_of_floor(result(unmeasured), unmeasured) is None


def test_a_workload_goes_all_the_way_to_its_floor() -> None:
    """Decode over an FP8 cache on a device that multiplies so slowly that this is what counts."""
    geometry = Geometry(num_qo_heads=8, num_kv_heads=1, head_dim=64, kv_dtype="float8_e4m3fn")
    workload = AttentionWorkload(
        operation="attention.decode", geometry=geometry, batch=1, context=1000, mode="graph", spread="even"
    )
    slow = env(matmul_tflop_per_s=0.001, fp8_tflop_per_s=0.002)
    assert floor_us(cost(workload), slow) == pytest.approx(4 * 1000 * 8 * 64 / 0.002e6)
