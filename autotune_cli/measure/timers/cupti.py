"""Kernel time as CUPTI records it, through torch's profiler.

One profiler session a pass. Before and after every iteration runs a tiny marker kernel that no attention or top-k
kernel resembles; what lies between two markers belongs to the iteration, eager or in a CUDA graph's replay alike.
The time of an iteration is the union of its kernels' intervals: gaps, in which the device waits for the host, and
overlaps (programmatic dependent launch) are not counted twice or at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from autotune_cli.measure.timers.base import Inspection, Launch, MeasurementError, Sample, TimerInfo

if TYPE_CHECKING:
    from torch.autograd.profiler import profile

    from autotune_cli.results.schema import Kernel

ABOUT = TimerInfo(name="cupti", devices=("cuda",), rank=0, header="CUPTI")

# torch.erfinv: its kernel has this word in its name, and no attention or top-k kernel has it.
MARKER = "erfinv"


class Activity(NamedTuple):
    """One kernel, copy or fill on the device, times in nanoseconds."""

    start: int
    duration: int
    name: str


Named = TypeVar("Named", Activity, "Kernel")


class Cupti:
    """CUPTI kernel records through torch's profiler."""

    name = ABOUT.name

    def __init__(self, l2: str) -> None:
        import torch

        from autotune_cli.measure.flush import Flush

        self.l2 = l2
        self._flush = Flush() if l2 == "cold" else None
        self._half = torch.full((1,), 0.5, device="cuda")
        self._marked = torch.empty_like(self._half)
        # Marking must take the host no longer than it has to: two marks stand around every launch.
        self._erfinv = torch.erfinv

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        session = self._record(launches, iterations, started)
        blocks = list(iterations_of(_activities(session)))
        if len(blocks) != len(launches) * iterations:
            raise MeasurementError(f"{len(blocks)} iterations recorded, {len(launches) * iterations} launched")
        return [sample(blocks[index * iterations : (index + 1) * iterations], index) for index in range(len(launches))]

    def inspect(self, launch: Launch, iterations: int) -> Inspection:
        from autotune_cli.measure.fired import collapse, kernels_of, shapes_told

        session = self._record([launch], iterations, lambda index: None, shapes_told())
        blocks = list(iterations_of(_activities(session)))
        if len(blocks) != iterations:
            raise MeasurementError(f"{len(blocks)} iterations recorded, {iterations} launched")
        return Inspection(sample(blocks, 0), collapse(next(between_markers(kernels_of(session)), [])))

    def _record(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None], options: Any = None
    ) -> profile:
        import torch
        from torch.autograd.profiler import profile

        torch.cuda.synchronize()
        session: profile
        # torch.profiler.profile records the same through this class, but imports TorchInductor first (seconds).
        with profile(use_cpu=False, use_device="cuda", use_kineto=True, experimental_config=options) as session:
            for index, launch in enumerate(launches):
                started(index)
                for _ in range(iterations):
                    if self._flush is not None:
                        self._flush()
                    self._mark()
                    launch()
                    self._mark()
                # A hang or a fault belongs to the launch that has just been started.
                torch.cuda.synchronize()
        return session

    def _mark(self) -> None:
        self._erfinv(self._half, out=self._marked)


def make(l2: str) -> Cupti:
    return Cupti(l2)


def _activities(session: profile) -> list[Activity]:
    from torch._C._autograd import DeviceType

    results: Any = session.kineto_results
    found = [
        Activity(event.start_ns(), event.duration_ns(), event.name())
        for event in results.events()
        if event.device_type() == DeviceType.CUDA
    ]
    return sorted(found)


def between_markers(events: Iterable[Named]) -> Iterator[list[Named]]:
    """What lies between each pair of markers, in the order given."""
    current: list[Named] | None = None
    for event in events:
        if MARKER in event.name:
            if current is None:
                current = []
            else:
                yield current
                current = None
        elif current is not None:
            current.append(event)


def iterations_of(activities: Iterable[Activity]) -> Iterator[list[Activity]]:
    """What ran in each iteration. ``activities`` are sorted by start."""
    return between_markers(activities)


def busy_us(activities: Sequence[Activity]) -> float:
    """Length of the union of the intervals, in microseconds."""
    total, end = 0, 0
    for activity in sorted(activities):
        stop = activity.start + activity.duration
        total += max(0, stop - max(activity.start, end))
        end = max(end, stop)
    return total / 1e3


def sample(blocks: Sequence[Sequence[Activity]], launch: int) -> Sample:
    """Times and kernels of one launch's iterations.

    Raises:
        MeasurementError: no kernel ran, or not the same ones each time.
    """
    names = [tuple(activity.name for activity in block) for block in blocks]
    first = names[0]
    if not first:
        raise MeasurementError("no kernel was recorded", launch)
    for index, other in enumerate(names):
        if sorted(other) != sorted(first):
            raise MeasurementError(
                f"iteration {index} ran {len(other)} kernels ({', '.join(sorted(set(other) ^ set(first)))[:200]}), "
                f"iteration 0 ran {len(first)}: the same iteration must show the same kernels each time",
                launch,
            )
    times = tuple(busy_us(block) for block in blocks)
    if min(times) <= 0.0:
        raise MeasurementError("a kernel without duration was recorded", launch)
    return Sample(times, first)
