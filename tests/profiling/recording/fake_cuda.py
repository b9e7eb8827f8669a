"""A path's recorder without a GPU: torch's CUDA calls made up, FlashInfer's wrappers computed by torch.

A captured step is run to learn its outputs, which are then spoilt: only its replay makes them right.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune_cli.kernels.family import Problem, family
from autotune_cli.kernels.registry import Device
from autotune_cli.kernels.steps import StepLayer
from autotune_cli.profiling.recording import run, step

DEVICE = Device("cuda", "a GPU that is made up", (9, 0), 132)


class Graph:
    """Of ``torch.cuda.CUDAGraph``, what is used."""

    capturing: Graph | None = None

    def __init__(self, keep_graph: bool = False) -> None:
        assert keep_graph, "without it the nodes can't be listed"
        self.work: list[Callable[[], Any]] = []
        self.is_ready = False

    def instantiate(self) -> None:
        self.is_ready = True

    def raw_cuda_graph(self) -> int:
        return 4711

    def replay(self) -> None:
        assert self.is_ready
        for work in self.work:
            work()


@contextmanager
def capture(graph: Graph) -> Iterator[None]:
    Graph.capturing = graph
    try:
        yield
    finally:
        Graph.capturing = None


@contextmanager
def nothing(*_: Any) -> Iterator[None]:
    yield


class Step(step.Step):
    """Notices a capture."""

    def run(self) -> list[Any]:
        graph = Graph.capturing
        outputs = super().run()
        if graph is None:
            return outputs
        for tensor in _tensors(outputs):
            tensor.fill_(float("nan") if tensor.is_floating_point() else -7)
        held = list(_tensors(outputs))

        def again() -> None:
            for old, new in zip(held, _tensors(super(Step, self).run()), strict=True):
                old.copy_(new)

        graph.work.append(again)
        return outputs


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for part in outputs:
            yield from _tensors(part)


def install(patch: pytest.MonkeyPatch) -> None:
    """Skips where FlashInfer isn't installed: its signatures are what its calls are held against."""
    os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
    pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
    patch.syspath_prepend(str(Path(__file__).parents[2] / "kernels" / "attention"))
    import flashinfer_emulator

    from autotune_cli.kernels.attention.backends import _flashinfer

    flashinfer_emulator.install(patch)
    built = SimpleNamespace(build=lambda *args, **kwargs: None)
    patch.setattr(run, "REGISTRY", SimpleNamespace(get=lambda name: built))
    patch.setattr(_flashinfer, "_WORKSPACE", 1 << 10)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    patch.setattr(torch.cuda, "synchronize", lambda: None)
    patch.setattr(torch.cuda, "Stream", lambda: stream)
    patch.setattr(torch.cuda, "current_stream", lambda: stream)
    patch.setattr(torch.cuda, "stream", nothing)
    patch.setattr(torch.cuda, "CUDAGraph", Graph)
    patch.setattr(torch.cuda, "graph", capture)
    patch.setattr(step, "no_waiting", nothing)
    patch.setattr(step, "_capture", lambda work: SimpleNamespace(replay=work))
    patch.setattr(run, "Step", Step)
    patch.setattr(run, "problem_of", problem_of)
    patch.setattr(run, "kernel_nodes", lambda graph: ("_Z1av",))
    patch.setattr(run, "Session", Session)


class Session:
    """Of torch's profiler, which takes half a second."""

    def prepare(self, work: Callable[[], Any]) -> None:
        work()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def export(self, path: str) -> None:
        Path(path).write_bytes(b"")


def problem_of(layer: StepLayer, seed: int) -> Problem:
    return family(layer.workload.operation).step_problem(layer, "cpu", seed)
