from __future__ import annotations

from pathlib import Path

import fake_nvml
import pytest
from fake_nvml import FakeGpu

from autotune_cli.doctor import gpus
from autotune_cli.doctor.findings import Finding, State


def found(monkeypatch: pytest.MonkeyPatch, *there: FakeGpu, **more: object) -> dict[tuple[str, str], Finding]:
    fake_nvml.install(monkeypatch, *there, **more)  # type: ignore[arg-type]
    return {(finding.group, finding.name): finding for finding in gpus.gpu_findings()}


def test_a_gpu_at_rest_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = found(monkeypatch, FakeGpu())
    assert {finding.state for finding in seen.values()} == {State.OK}
    assert seen["gpu", "driver"].text == "580.95, up to CUDA 13.0"
    assert seen["gpu 0", "device"].text == "NVIDIA H100 80GB HBM3, compute capability 9.0, 80.0 GiB"
    assert seen["gpu 0", "clocks"].text == "SM 345 of 1980 MHz now, memory 2619 MHz, 34 C, 71 W"
    assert not any(finding.fix for finding in seen.values())


@pytest.mark.parametrize(
    ("gpu", "name", "state", "words"),
    [
        (FakeGpu(reasons=0x40), "clocks", State.PROBLEM, "throttled: thermal (hardware)"),
        (FakeGpu(limit_w=350), "power", State.WARNING, "limited to 350 W of 700 W"),
        (FakeGpu(ecc=3), "memory", State.PROBLEM, "3 uncorrected memory errors"),
        (FakeGpu(compute_mode=2), "compute", State.PROBLEM, "forbids CUDA"),
        (FakeGpu(processes=2), "in use", State.WARNING, "2 other processes:"),
        (FakeGpu(load=99, memory=(80 << 30, 40 << 30)), "in use", State.WARNING, "busy 99 % of the time, 40.0 GiB"),
        (FakeGpu(uuid=None), "device", State.PROBLEM, "doesn't answer"),
    ],
)
def test_what_is_wrong_with_a_gpu_and_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, name: str, state: State, words: str
) -> None:
    seen = found(monkeypatch, FakeGpu(uuid="GPU-1"), gpu)
    finding = seen["gpu 1", name]
    assert finding.state == state
    assert words in finding.text
    assert finding.fix
    assert all(other.state == State.OK for (group, _), other in seen.items() if group == "gpu 0")


def test_a_reading_that_nvml_refuses_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(name=None, capability=None, sm_mhz=None, reasons=None, limit_w=None, default_w=None, load=None)
    gpu.ecc = None
    seen = found(monkeypatch, gpu)
    assert {finding.state for finding in seen.values()} == {State.OK}
    assert seen["gpu 0", "clocks"].text.startswith("SM ? of 1980 MHz")


def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no GPU is visible" in found(monkeypatch)["gpu", "devices"].text


def test_no_driver_is_told_and_one_that_does_not_answer_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpus, "_LOADED", tmp_path / "version")
    seen = found(monkeypatch, fails="NVML Shared Library Not Found")
    assert [finding.state for finding in seen.values()] == [State.NOTE]
    assert "no NVIDIA GPU" in seen["gpu", "devices"].text
    (tmp_path / "version").write_text("580")
    broken = found(monkeypatch, fails="Driver/library version mismatch")["gpu", "driver"]
    assert (broken.state, "reboot" in broken.fix) == (State.PROBLEM, True)
    assert "Driver/library version mismatch" in broken.text
    assert gpus.driver_cuda() is None
