"""Calls that move or multiply a known amount, timed. The best of them is a ceiling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autotune_cli.measure.conditions import Gpu
from autotune_cli.measure.timers.base import MeasurementError, Timer

Clocks = tuple[float | None, float | None]


@dataclass(frozen=True)
class Trial:
    """A call to be timed."""

    what: str
    """``amax float32, 4 GiB``."""
    amount: float
    """Bytes it moves, or floating-point operations it does."""
    call: Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """What came of it."""

    what: str
    amount: float
    us: tuple[float, ...]
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None

    @property
    def rate(self) -> float:
        """Amount a second, of the quickest call."""
        return self.amount / min(self.us) * 1e6


@dataclass
class _Watched:
    """Calls, and reads the clocks once as many calls are on their way, while the device works on them."""

    call: Callable[[], object]
    gpu: Gpu | None
    calls_before: int
    clocks: Clocks = (None, None)
    calls: int = field(default=0)

    def __call__(self) -> None:
        self.call()
        self.calls += 1
        if self.gpu is not None and self.calls >= self.calls_before:
            # Where the timer times the host too, this call comes out slow; the quickest one is what counts.
            self.clocks = self.gpu.clocks()


def time_trials(timer: Timer, trials: Sequence[Trial], repeats: int, gpu: Gpu | None) -> list[Timed]:
    """Times of ``repeats`` calls of each, one after another. A trial that can't be measured is left out.

    Raises:
        MeasurementError: the whole pass is lost.
    """
    left = list(trials)
    while left:
        watched = [_Watched(trial.call, gpu, repeats) for trial in left]
        try:
            samples = timer.measure(watched, repeats)
        except MeasurementError as error:
            if error.launch is None:
                raise
            del left[error.launch]
            continue
        return [
            Timed(trial.what, trial.amount, sample.us, *call.clocks)
            for trial, call, sample in zip(left, watched, samples, strict=True)
        ]
    return []
