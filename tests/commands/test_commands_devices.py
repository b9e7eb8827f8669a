from __future__ import annotations

import pytest

from autotune_cli.commands import devices
from autotune_cli.errors import BadField, NoDevice


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs, all visible."""
    monkeypatch.setattr(devices, "_nvml_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("four")
def test_one_worker_a_gpu() -> None:
    assert devices.choose_device("auto", None) == ("cuda", ("0",))
    assert devices.choose_device("cuda", "all") == ("cuda", ("0", "1", "2", "3"))
    assert devices.choose_device("auto", "2, 0") == ("cuda", ("2", "0"))
    assert devices.choose_device("cpu", None) == ("cpu", (None,))


@pytest.mark.usefixtures("four")
def test_numbers_count_among_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["GPU-abc", "3"])
    assert devices.choose_device("auto", None) == ("cuda", ("GPU-abc",))
    assert devices.choose_device("auto", "1") == ("cuda", ("3",))
    with pytest.raises(NoDevice, match=r"no GPU 2, this machine has 2 \(0 to 1\)"):
        devices.choose_device("auto", "2")


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("text", ["x", "0,", "-1", "0;1", "1.0", "", "0x1", "9" * 5000])
def test_malformed_lists(text: str) -> None:
    with pytest.raises(BadField, match="gpus"):
        devices.choose_device("auto", text)


@pytest.mark.usefixtures("four")
def test_the_same_gpu_twice() -> None:
    with pytest.raises(BadField, match="GPU 1 is there twice"):
        devices.choose_device("auto", "1,1")


def test_visible_devices_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_nvml_count", lambda: 4)
    assert devices.visible_gpus({}) == ["0", "1", "2", "3"]
    assert devices.visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-abc"}) == ["2", "GPU-abc"]
    assert devices.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert devices.visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    monkeypatch.setattr(devices, "_nvml_count", lambda: 0)
    assert devices.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == []


def test_memory_of_a_gpu_by_number_or_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    class Memory:
        total = 85_520_809_984

    asked: list[object] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: asked.append(index))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: asked.append(uuid))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: Memory)
    assert devices.gpu_memory("2") == devices.gpu_memory("GPU-abc") == 85_520_809_984
    assert asked == [2, "GPU-abc"]
    assert devices.gpu_memory(None) is None
    monkeypatch.undo()
    assert devices.gpu_memory("0") is None or devices.visible_gpus()
