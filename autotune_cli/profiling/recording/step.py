"""One step of a path in one phase: what is planned, written and run, layer after layer, and the outputs it leaves."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.registry import Candidate, Device, Knob, Prepared, prepared
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.profiling.recording.batches import narrowed
from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.recording.padded import Padded
from autotune_cli.profiling.request import CandidateSpec
from autotune_cli.sglang.padding import PadMode
from autotune_cli.tuning.messages import Planned
from autotune_cli.tuning.plan import one
from autotune_cli.tuning.plan import plan as plan_workload
from autotune_cli.worker.launching import capture, warm_up

# Knobs that a request leaves open are those of the first of these baselines that has the backend.
_PATHS = ("sglang --attention-backend flashinfer", "sglang")
# What torch says in the sync debug mode "error".
_WAITS = "synchronizing CUDA operation"


class PlanWaits(Exception):
    """A plan waited for the device where it must not."""


class NoCandidate(Exception):
    """What was asked for doesn't exist, or doesn't apply to the workload."""


def choose(wanted: CandidateSpec, workload: AnyWorkload, device: Device) -> Candidate:
    """What a baseline runs, where one is named; else SGLang's own among the candidates that fit, or the first.

    Raises:
        NoCandidate: none fits, or those that do can't run; with the reason.
    """
    if wanted.baseline:
        return _of_baseline(wanted.baseline, workload, device)
    planned = plan_workload(workload, device, [parse_baseline(name) for name in _PATHS]).candidates
    named = [entry for entry in planned if not wanted.backend or entry.candidate.backend == wanted.backend]
    if not named:
        known = ", ".join(dict.fromkeys(entry.candidate.backend for entry in planned))
        raise NoCandidate(f"no backend {wanted.backend!r} for {workload.operation} (known: {known})")
    fitting = [entry for entry in named if entry.candidate.matches(wanted.knobs)]
    if not fitting:
        raise NoCandidate(f"no candidate {wanted} for {workload.key}")
    if wanted.unlisted:
        fitting = [_with(entry, wanted.unlisted, workload, device) for entry in fitting]
    able = [entry for entry in fitting if entry.status is None]
    if not able:
        raise NoCandidate(f"{wanted} on {workload.key}: {fitting[0].reason}")
    return min(able, key=lambda entry: not entry.default).candidate


def _with(entry: Planned, knobs: Sequence[tuple[str, Knob]], workload: AnyWorkload, device: Device) -> Planned:
    """The candidate with further knobs."""
    candidate = Candidate(entry.candidate.backend, (*entry.candidate.knobs, *knobs))
    return replace(one(candidate, workload, device), default=entry.default)


def _of_baseline(name: str, workload: AnyWorkload, device: Device) -> Candidate:
    planned = plan_workload(workload, device, [parse_baseline(name)])
    (baseline,) = planned.baselines
    if baseline.missing is not None:
        raise NoCandidate(f"{name} on {workload.key}: {baseline.missing}")
    return next(entry.candidate for entry in planned.candidates if entry.candidate.key == baseline.candidate)


def split_policy(ready: Prepared) -> str:
    """How the library split the work of what was prepared; empty where it doesn't say."""
    return " + ".join(str(planned) for planned in ready.describe())


@dataclass
class LayerCall:
    """A kind of layer in a phase."""

    problem: Any
    run: Callable[[], Any]
    plan: Callable[[], None] | None = None
    write: CacheWrite | None = None
    writes_before: bool = True
    forbid_waiting: bool = False
    """Planning must not wait for the device."""
    ready: Prepared | None = None
    """What FlashInfer planned is asked of this."""

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

    kinds: list[LayerCall]
    count: int
    extra: Callable[[], Any] | None = None
    """An injected kernel, run after the layers."""

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
                raise PlanWaits(f"planning waits for the device: {_raised_at(error)}") from error

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


def _raised_at(error: BaseException) -> str:
    """File and line."""
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
            self.ready = prepared(candidate, self.padded.batch)
        else:
            self.ready = prepared(candidate, narrowed(problem, self._static))
        self._before = _capture(lambda: self._static.copy_(self._source))
        self._after = _capture(lambda: self.output.copy_(self._result))

    @property
    def is_masked(self) -> bool:
        """Is a custom mask planned? That waits for the device, in a server too."""
        return any(plan.masked for plan in self.ready.describe())

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
    warm_up(work, runs=1)
    return capture(work).graph
