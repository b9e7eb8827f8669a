"""Which kernels a launch fires: what is read of torch's profiler, and what is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.measure import fired


class Session:
    """A profiler session that writes a trace, as torch does: beside the name it is given, which it then takes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.path = Path()

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
    late = {"cat": "kernel", "name": "merge", "ts": 9.0, "dur": 2.5, "args": {"grid": [4, 1, 1], "block": [128, 1, 1]}}
    session: Any = Session(trace(late, {"cat": "gpu_memset", "name": "Memset", "ts": 3.0, "dur": 1.0}))
    first, second = fired.kernels_of(session)
    assert (first.name, first.grid, first.us) == ("Memset", None, 1.0)
    assert (second.name, second.grid, second.block, second.us) == ("merge", (4, 1, 1), (128, 1, 1), 2.5)


@pytest.mark.parametrize("text", [trace(), "no trace"])
def test_no_trace_is_left_behind(folder: Path, text: str) -> None:
    session: Any = Session(text)
    try:
        assert list(fired.kernels_of(session)) == []
    except json.JSONDecodeError:
        assert text == "no trace"
    assert session.path.parent == folder
    assert list(folder.iterdir()) == []


def test_two_traces_have_two_names(folder: Path) -> None:
    sessions: list[Any] = [Session(trace()) for _ in range(2)]
    for session in sessions:
        list(fired.kernels_of(session))
    assert sessions[0].path != sessions[1].path
