from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from autotune_cli.measure.conditions import SLOWEST_CLOCK, Gpu, clock_mhz, is_throttled
from autotune_cli.results.schema import CandidateResult, Conditions


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


def raced(*rounds: int) -> CandidateResult:
    times = (9.0,) * len(rounds)
    return CandidateResult(
        key="a", backend="a", label="a", status="ok", rounds=rounds, rounds_us=times, median_us=9.0 if times else None
    )


def test_a_candidate_has_the_middle_clock_of_its_own_rounds() -> None:
    readings = [Conditions(round=i, sm_clock_mhz=clock) for i, clock in enumerate((1980, 1755, 1700, 1320, None))]
    assert clock_mhz(raced(0, 1, 2, 4), readings) == 1755
    assert clock_mhz(raced(3), readings) == 1320
    assert clock_mhz(raced(4), readings) is None
    assert clock_mhz(raced(), readings) is None


def test_clocks_are_those_of_the_multiprocessors_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def clock(handle: str, kind: int) -> int:
        if kind == 2 and handle == "GPU-b":
            raise NVMLError
        return {1: 1755, 2: 2619}[kind]

    fake = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=str, nvmlDeviceGetClockInfo=clock, NVMLError=NVMLError,
        NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert Gpu("a").clocks() == (1755, 2619)
    assert Gpu("b").clocks() == (1755, None)


@pytest.mark.parametrize("uuid", ["3c1b", "GPU-3c1b"])
def test_a_card_is_named_as_nvml_names_it(monkeypatch: pytest.MonkeyPatch, uuid: str) -> None:
    """torch leaves the prefix out."""
    asked: list[str] = []
    fake = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=asked.append)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert Gpu(uuid).uuid == "GPU-3c1b"
    assert asked == ["GPU-3c1b"]
