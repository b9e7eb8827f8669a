"""Warming up and capturing, without a GPU: which CUDA calls are made, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune_cli.kernels.registry import REGISTRY, Candidate, Prepared, register
from autotune_cli.worker.launching import capture, prepare, warm_up

LOG: list[str] = []


class Stream:
    def wait_stream(self, other: Stream) -> None:
        LOG.append("wait")


class Graph:
    """Of ``torch.cuda.CUDAGraph``, what is used."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.keep_graph = keep_graph

    def capture_begin(self) -> None:
        LOG.append("begin")

    def capture_end(self) -> None:
        LOG.append("end")
        if "fault" in LOG:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def replay(self) -> None:
        LOG.append("replay")


@contextmanager
def named(name: str) -> Iterator[None]:
    LOG.append(f"{name} (")
    yield
    LOG.append(")")


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    LOG.clear()
    made = {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: named("stream"),
        "graph": lambda graph: named("torch.cuda.graph"),
        "CUDAGraph": Graph,
        "synchronize": lambda: LOG.append("synchronize"),
    }
    for name, what in made.items():
        monkeypatch.setattr(torch.cuda, name, what)


def work() -> str:
    LOG.append("work")
    return "output"


def fault() -> None:
    LOG.append("fault")
    raise ValueError("no such luck")


def test_a_warm_up_runs_on_a_stream_of_its_own_and_waits() -> None:
    warm_up(work, runs=3)
    assert LOG == ["wait", "stream (", "work", "work", "work", ")", "wait", "synchronize"]


def test_a_capture_on_a_stream_gives_no_memory_back() -> None:
    graph, output = capture(work, stream=Stream())  # type: ignore[arg-type]
    assert (output, graph.keep_graph) == ("output", False)  # type: ignore[attr-defined]
    assert LOG == ["stream (", "begin", "work", "end", ")"]


def test_a_capture_as_torch_does_it_keeps_its_graph_on_demand() -> None:
    graph, output = capture(work, keep_graph=True)
    assert (output, graph.keep_graph) == ("output", True)  # type: ignore[attr-defined]
    assert LOG == ["torch.cuda.graph (", "work", ")"]


def test_the_fault_of_captured_work_is_raised_and_not_what_it_does_to_the_capture() -> None:
    with pytest.raises(ValueError, match="no such luck"):
        capture(fault, stream=Stream())  # type: ignore[arg-type]
    assert LOG[-1] == "end"


@pytest.fixture
def candidate() -> Iterator[Candidate]:
    def prepare_it(problem: Any) -> Prepared:
        LOG.append("prepare")
        return Prepared(work)

    REGISTRY.discover()
    register("topk.select", name="tests.captured", devices=("cuda",))(prepare_it)
    yield Candidate("tests.captured")
    REGISTRY._backends.pop("tests.captured")


@pytest.mark.parametrize("captured", [False, True])
def test_a_candidate_is_looked_at_between_its_preparation_and_its_first_run(
    candidate: Candidate, captured: bool
) -> None:
    problem: Any = SimpleNamespace()
    launch = prepare(candidate, problem, captured, before_run=lambda: LOG.append("look"))
    assert LOG[:2] == ["prepare", "look"]
    assert LOG.count("work") == (3 if captured else 0)
    LOG.clear()
    assert launch.run() == "output"
    assert ["replay" if captured else "work"] == LOG


@pytest.mark.parametrize("captured", [False, True])
def test_a_librarys_tuner_sees_eager_runs_and_no_capture(candidate: Candidate, captured: bool) -> None:
    problem: Any = SimpleNamespace()
    prepare(candidate, problem, captured, before_run=lambda: LOG.append("look"), tuner=named("tuner"))
    runs = ["wait", "stream (", "work", "work", ")", "wait", "synchronize"] if captured else ["work"]
    assert LOG[: 4 + len(runs)] == ["tuner (", "prepare", "look", *runs, ")"]
    assert LOG.count("begin") == captured
