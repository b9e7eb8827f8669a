from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from autotune_cli.kernels.workload import Cost
from autotune_cli.measure.conditions import SLOWEST_CLOCK, Gpu, is_throttled
from autotune_cli.measure.floor import floor_us
from autotune_cli.results.schema import Conditions


@pytest.mark.parametrize("reason", ["hardware slowdown", "thermal (software)", "thermal (hardware)", "power brake"])
def test_a_round_under_a_slowdown_is_dropped_at_any_clock(reason: str) -> None:
    assert is_throttled(Conditions(round=0, sm_clock_mhz=1980, throttle=("power cap", reason)), 1980)


def test_a_power_cap_alone_is_normal() -> None:
    assert not is_throttled(Conditions(round=0, sm_clock_mhz=1755, throttle=("power cap",)), 1980)


def test_a_clock_far_below_the_usual_one_is_dropped() -> None:
    assert is_throttled(Conditions(round=0, sm_clock_mhz=SLOWEST_CLOCK * 2000 - 1), 2000)
    assert not is_throttled(Conditions(round=0, sm_clock_mhz=SLOWEST_CLOCK * 2000 + 1), 2000)


def test_without_readings_nothing_is_dropped() -> None:
    assert not is_throttled(Conditions(round=0), 2000)
    assert not is_throttled(Conditions(round=0, sm_clock_mhz=100), None)


def test_floor_is_the_slower_of_memory_and_arithmetic() -> None:
    assert floor_us(Cost(bytes=4e9, flops=0.0), 4000.0, 800.0) == pytest.approx(1000.0)
    assert floor_us(Cost(bytes=4e9, flops=1.6e12), 4000.0, 800.0) == pytest.approx(2000.0)


@pytest.mark.parametrize("rates", [(None, 1.0), (1.0, None), (0.0, 1.0)])
def test_no_floor_without_both_rates(rates: tuple[float | None, float | None]) -> None:
    assert floor_us(Cost(1.0, 1.0), *rates) is None


@pytest.mark.parametrize("uuid", ["3c1b", "GPU-3c1b"])
def test_a_card_is_named_as_nvml_names_it(monkeypatch: pytest.MonkeyPatch, uuid: str) -> None:
    """torch leaves the prefix out."""
    asked: list[str] = []
    fake = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=asked.append)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert Gpu(uuid).uuid == "GPU-3c1b"
    assert asked == ["GPU-3c1b"]
