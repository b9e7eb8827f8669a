"""CUDA events around each launch: a fallback where CUPTI can't be used.

Around an eager launch they time the host as well (34 % spread on an 11 us kernel on an H200), so results say
``events`` and are never mixed with CUPTI's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune_cli.measure.timers.base import Inspection, Launch, Sample, TimerInfo

ABOUT = TimerInfo(
    name="events",
    devices=("cuda",),
    rank=10,
    header="CUDA events (they time the host too)",
    noise="CUDA events time the host too, which other programs' load slows down",
)


class Events:
    """``torch.cuda.Event`` pairs."""

    name = ABOUT.name

    def __init__(self, l2: str) -> None:
        from autotune_cli.measure.flush import Flush

        self.l2 = l2
        self._flush = Flush() if l2 == "cold" else None

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        import torch

        samples = []
        for index, launch in enumerate(launches):
            started(index)
            launch()
            pairs = []
            for _ in range(iterations):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                if self._flush is not None:
                    self._flush()
                begin.record()
                launch()
                end.record()
                pairs.append((begin, end))
            torch.cuda.synchronize()
            samples.append(Sample(tuple(begin.elapsed_time(end) * 1e3 for begin, end in pairs)))
        return samples

    def inspect(self, launch: Launch, iterations: int) -> Inspection:
        return Inspection(self.measure([launch], iterations)[0], ())


def make(l2: str) -> Events:
    return Events(l2)
