"""Which kernels a launch fires: what is read of torch's profiler, and what is left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._C._autograd import DeviceType
from torch.autograd import profiler

from autotune_cli.measure import fired


@dataclass
class Event:
    """One of the profiler's."""

    title: str
    start: int
    metadata: str = ""
    device: DeviceType = DeviceType.CUDA

    def name(self) -> str:
        return self.title

    def device_type(self) -> DeviceType:
        return self.device

    def start_ns(self) -> int:
        return self.start

    def duration_ns(self) -> int:
        return 2500

    def metadata_json(self) -> str:
        return self.metadata


class Session:
    """A profiler session that writes a trace, as torch does: beside the name it is given, which it then takes."""

    def __init__(self, text: str = "", *events: Event) -> None:
        self.text = text
        self.path = Path()
        self.kineto_results = SimpleNamespace(events=lambda: list(events))

    def export_chrome_trace(self, path: str) -> None:
        self.path = Path(path)
        assert not self.path.exists()
        made = self.path.with_suffix(".tmp")
        made.write_text(self.text)
        made.rename(self.path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fired, "_folder", lambda: tmp_path)
    return tmp_path


def trace(*events: dict[str, Any]) -> str:
    return json.dumps({"traceEvents": [{"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0.5}, *events]})


def test_device_activities_come_in_the_order_of_their_start(folder: Path) -> None:
    # Of a torch that tells no shapes.
    kernel = Event("merge", 9000)
    late = {"cat": "kernel", "name": "merge", "ts": 9.0, "dur": 2.5, "args": {"grid": [4, 1, 1], "block": [128, 1, 1]}}
    session: Any = Session(trace(late, {"cat": "gpu_memset", "name": "Memset", "ts": 3.0, "dur": 1.0}), kernel)
    first, second = fired.kernels_of(session)
    assert (first.name, first.grid, first.us) == ("Memset", None, 1.0)
    assert (second.name, second.grid, second.block, second.us) == ("merge", (4, 1, 1), (128, 1, 1), 2.5)


def test_what_events_tell_needs_no_trace(folder: Path) -> None:
    shape = '"queued": 0, "stream": 7, "grid": [4, 1, 1], "block": [128, 1, 1], "occupancy": 0'
    host = Event("cudaLaunchKernel", 1, device=DeviceType.CPU)
    session: Any = Session("", Event("merge", 9, shape), host, Event("Memset (Device)", 3, '"bytes": 4'))
    first, second = fired.kernels_of(session)
    assert (first.name, first.grid, first.us) == ("Memset (Device)", None, 2.5)
    assert (second.name, second.grid, second.block, second.us) == ("merge", (4, 1, 1), (128, 1, 1), 2.5)
    assert session.path == Path()


@pytest.mark.parametrize("metadata", ["", '"stream": 7', "grid"])
def test_events_that_do_not_tell_shapes_are_read_from_the_trace(folder: Path, metadata: str) -> None:
    told = {"cat": "kernel", "name": "merge", "ts": 9.0, "dur": 2.5, "args": {"grid": [4, 1, 1], "block": [128, 1, 1]}}
    session: Any = Session(trace(told), Event("merge", 9, metadata))
    (kernel,) = fired.kernels_of(session)
    assert kernel.grid == (4, 1, 1)


def test_torch_is_asked_for_shapes_where_it_can_tell_them() -> None:
    with profiler.profile(use_kineto=True, experimental_config=fired.shapes_told()) as session:
        torch.ones(3)
    results: Any = session.kineto_results
    assert all(event.metadata_json() for event in results.events())


@pytest.mark.parametrize("text", [trace(), "no trace"])
def test_no_trace_is_left_behind(folder: Path, text: str) -> None:
    session: Any = Session(text, Event("merge", 9))
    try:
        assert list(fired.kernels_of(session)) == []
    except json.JSONDecodeError:
        assert text == "no trace"
    assert session.path.parent == folder
    assert list(folder.iterdir()) == []


def test_two_traces_have_two_names(folder: Path) -> None:
    sessions: list[Any] = [Session(trace(), Event("merge", 9)) for _ in range(2)]
    for session in sessions:
        list(fired.kernels_of(session))
    assert sessions[0].path != sessions[1].path
