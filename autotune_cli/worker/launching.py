"""Turning a candidate into something that can be launched again and again: eagerly, or as a CUDA graph's replay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from autotune_cli.kernels.family import Problem
from autotune_cli.kernels.registry import Candidate, prepared

RUNS_BEFORE_CAPTURE = 2
"""torch asks for a few eager runs on a side stream before a capture, so that lazy allocations are over."""


@dataclass
class Launchable:
    """``run`` launches and returns the output; ``plan`` is the host work of a new batch, where there is any."""

    run: Callable[[], Any]
    plan: Callable[[], None] | None = None
    keep: Any = None
    """What must stay alive as long as ``run``."""
    problem: Problem | None = None
    """What it was prepared on."""
    refill: Callable[[Problem], None] | None = None
    """Has ``run`` compute the batch at other lengths; see :class:`~autotune_cli.kernels.candidate.Prepared`."""
    frozen: str = ""
    """What all calls have in common, whatever their lengths, in words."""


class Captured(NamedTuple):
    """A CUDA graph, and what the captured work returned: the output that each replay writes."""

    graph: torch.cuda.CUDAGraph
    output: Any


def prepare(
    candidate: Candidate,
    problem: Problem,
    captured: bool,
    before_run: Callable[[], None] = lambda: None,
    tuner: AbstractContextManager[None] | None = None,
) -> Launchable:
    """Prepare a candidate on a problem, and capture it if asked. ``before_run`` is called before its first run.

    Args:
        tuner: of the candidate's library, which tunes what runs inside. In it the candidate is prepared and runs
            eagerly, in any case before it is captured; None: there is none.
    """
    with nullcontext() if tuner is None else tuner:
        ready = prepared(candidate, problem)
        before_run()
        stream = warm_up(ready.run) if captured else None
        if tuner is not None and not captured:
            ready.run()
    frozen = "; ".join([*map(str, ready.describe()), *filter(None, [ready.frozen])])
    if not captured:
        return Launchable(ready.run, ready.plan, ready, problem, ready.refill, frozen)
    graph, output = capture(ready.run, stream=stream)

    def replay() -> Any:
        graph.replay()
        return output

    return Launchable(replay, ready.plan, (graph, ready), problem, ready.refill, frozen)


def warm_up(work: Callable[[], Any], runs: int = RUNS_BEFORE_CAPTURE) -> torch.cuda.Stream:
    """Run some work eagerly on a side stream, as before a capture, and wait for the device.

    Returns:
        That stream.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(runs):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    return side


def capture(work: Callable[[], Any], *, stream: torch.cuda.Stream | None = None, keep_graph: bool = False) -> Captured:
    """Capture some work, which was run before (:func:`warm_up`), in a CUDA graph.

    Args:
        stream: where it is captured. None: as ``torch.cuda.graph`` does it, which first gives back all unused memory of
            GPU and host, for the next work to ask for anew.
        keep_graph: keep the graph itself beside what is instantiated of it, so that its nodes can be listed; the caller
            then instantiates it.
    """
    graph = torch.cuda.CUDAGraph(keep_graph=keep_graph)
    if stream is None:
        with torch.cuda.graph(graph):
            output = work()
        return Captured(graph, output)
    with torch.cuda.stream(stream):
        graph.capture_begin()
        try:
            output = work()
        except BaseException:
            # The work's own fault is raised, not that the capture is spoilt by it.
            with suppress(Exception):
                graph.capture_end()
            raise
        graph.capture_end()
    return Captured(graph, output)
