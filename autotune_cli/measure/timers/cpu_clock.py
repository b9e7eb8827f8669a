"""Wall time of a call on the CPU. The caches are warm: flushing them between calls would dominate a short run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from autotune_cli.measure.timers.base import Inspection, Launch, Sample, TimerInfo

ABOUT = TimerInfo(name="cpu_clock", devices=("cpu",), rank=20, header="wall clock")


class CpuClock:
    """``time.perf_counter_ns`` around each call."""

    name = ABOUT.name
    l2 = "warm"

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        samples = []
        for index, launch in enumerate(launches):
            started(index)
            launch()
            times = []
            for _ in range(iterations):
                begin = time.perf_counter_ns()
                launch()
                times.append((time.perf_counter_ns() - begin) / 1e3)
            samples.append(Sample(tuple(times)))
        return samples

    def inspect(self, launch: Launch, iterations: int) -> Inspection:
        from autotune_cli.measure.fired import fired_on_cpu

        return Inspection(self.measure([launch], iterations)[0], fired_on_cpu(launch))


def make(l2: str) -> CpuClock:
    return CpuClock()
