"""One step of a path in one phase: what is planned, written and run, layer after layer, and the outputs it leaves."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.registry import Candidate, Device, Prepared, prepared
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.profiling.live.records import Wanted
from autotune_cli.profiling.padding import PadMode
from autotune_cli.recording.inputs import CacheWrite, Padded, narrowed
from autotune_cli.tuning.plan import plan as plan_workload

# Whose paths are run: what is not said of a candidate is as one of these has it.
_PATHS = ("sglang --attention-backend flashinfer", "sglang")
# What torch says in the sync debug mode "error".
_WAITS = "synchronizing CUDA operation"


class PlanWaits(Exception):
    """A plan waited for the device where it must not."""


class NoCandidate(Exception):
    """What was asked for doesn't exist, or doesn't apply to the workload."""


def choose(wanted: Wanted, workload: AnyWorkload, device: Device) -> Candidate:
    """SGLang's own among the candidates that fit, else the first that can run.

    Raises:
        NoCandidate: none fits, or those that do can't run; with the reason.
    """
    planned = plan_workload(workload, device, [parse_baseline(name) for name in _PATHS]).candidates
    named = [entry for entry in planned if not wanted.backend or entry.candidate.backend == wanted.backend]
    if not named:
        known = ", ".join(dict.fromkeys(entry.candidate.backend for entry in planned))
        raise NoCandidate(f"no backend {wanted.backend!r} for {workload.operation} (known: {known})")
    fitting = [entry for entry in named if entry.candidate.matches(wanted.knobs)]
    if not fitting:
        raise NoCandidate(f"no candidate {wanted} for {workload.key}")
    able = [entry for entry in fitting if entry.status is None]
    if not able:
        raise NoCandidate(f"{wanted} on {workload.key}: {fitting[0].reason}")
    return min(able, key=lambda entry: not entry.default).candidate


def split_policy(ready: Prepared) -> str:
    """How the library split the work of what was prepared; empty where it doesn't say."""
    return " + ".join(str(planned) for planned in ready.describe())


@dataclass
class Call:
    """A kind of layer in a phase."""

    problem: Any
    run: Callable[[], Any]
    plan: Callable[[], None] | None = None
    write: CacheWrite | None = None
    writes_before: bool = True
    forbid_waiting: bool = False
    """Planning must not wait for the device."""
    ready: Prepared | None = None
    """What was planned is asked of this."""

    def __call__(self) -> Any:
        """Write and attend, in the order of the path."""
        if self.write is not None and self.writes_before:
            self.write()
        output = self.run()
        if self.write is not None and not self.writes_before:
            self.write()
        return output


@dataclass
class Step:
    """``count`` calls; kinds of layers take turns."""

    kinds: list[Call]
    count: int
    extra: Callable[[], Any] | None = None
    """A planted kernel, run after the layers."""

    def plan(self, guarded: bool = True) -> None:
        """Plan all kinds.

        Args:
            guarded: raise where a plan that must not wait for the device does.

        Raises:
            PlanWaits: it does.
        """
        for call in self.kinds:
            if call.plan is None:
                continue
            try:
                with no_waiting() if guarded and call.forbid_waiting else nullcontext():
                    call.plan()
            except RuntimeError as error:
                if _WAITS not in str(error):
                    raise
                raise PlanWaits(f"planning waits for the device: {_place(error)}") from error

    def run(self) -> list[Any]:
        """Launches everything; the output of the last call of each kind."""
        outputs: list[Any] = [None] * len(self.kinds)
        for number in range(self.count):
            kind = number % len(self.kinds)
            outputs[kind] = self.kinds[kind]()
        if self.extra is not None:
            self.extra()
        return outputs

    def forget(self) -> None:
        """The caches as they are before the step."""
        for call in self.kinds:
            if call.write is not None:
                call.write.forget()


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, torch raises where the host would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _place(error: BaseException) -> str:
    """Where it was raised: file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else str(error)


class Pieces:
    """An attention layer between two pieces of a piecewise CUDA graph.

    The pieces stand for the model's: one puts the layer's queries into the static tensor, one takes its output on.
    Attention itself runs eagerly between their replays, as in SGLang.
    """

    def __init__(
        self, problem: AttentionProblem, candidate: Candidate, tokens: int, mode: PadMode, page_size: int
    ) -> None:
        self.problem, self.mode, self.real = problem, mode, problem.q.shape[0]
        shape = (tokens, *problem.q.shape[1:])
        self._source = torch.zeros(shape, dtype=problem.q.dtype, device=problem.device)
        self._source[: self.real] = problem.q
        self._static = torch.zeros_like(self._source)
        self._result = torch.full_like(self._source, float("nan"))
        self.output = torch.full_like(self._source, float("nan"))
        # Narrowed, padded tokens write nothing.
        self.write = CacheWrite(problem, page_size, tokens - self.real if mode == "fake-request" else 0)
        self.padded: Padded | None = None
        if mode == "fake-request":
            # As many requests as the pool has: the fake one must still find room.
            self.padded = Padded(problem, self._static, page_size, pool=len(problem.lengths.qo))
            self.ready = prepared(candidate, self.padded.view)
        else:
            self.ready = prepared(candidate, narrowed(problem, self._static))
        self._before = _capture(lambda: self._static.copy_(self._source))
        self._after = _capture(lambda: self.output.copy_(self._result))

    def plan(self) -> None:
        if self.padded is not None:
            self.padded.write()
        if self.ready.plan is not None:
            self.ready.plan()

    def run(self) -> torch.Tensor:
        self._before.replay()
        output = self.ready.run()
        output = output[0] if isinstance(output, tuple) else output
        self._result[: output.shape[0]].copy_(output)
        # What is left behind must not reach the next layer: torch.empty holds anything.
        if self.mode == "narrow":
            self._result[self.real :].zero_()
        self._after.replay()
        return self.output


def _capture(work: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph
