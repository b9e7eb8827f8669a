"""What a timer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune_cli.results.schema import Kernel

Launch = Callable[[], Any]


class MeasurementError(Exception):
    """A measurement that can't be trusted.

    ``launch`` is the index of the launch at fault, or None when the whole pass is lost.
    """

    def __init__(self, detail: str, launch: int | None = None) -> None:
        super().__init__(detail)
        self.launch = launch


@dataclass(frozen=True)
class Sample:
    """One candidate in one pass."""

    us: tuple[float, ...]
    """Device time of each iteration, in microseconds."""
    kernels: tuple[str, ...] = ()
    """Names of the kernels of an iteration in order; empty where the timer can't see them."""


@dataclass(frozen=True)
class Inspection:
    """A candidate looked at closely: a few timed iterations and the kernels of one of them."""

    sample: Sample
    kernels: tuple[Kernel, ...]


class Timer(Protocol):
    """Measures launches one after another. A new timer is one file in this folder and one entry in ``TIMERS``."""

    name: str
    l2: str
    """``cold``: the L2 cache is flushed before every iteration; ``warm``: it isn't."""

    def measure(
        self, launches: Sequence[Launch], iterations: int, started: Callable[[int], None] = lambda index: None
    ) -> list[Sample]:
        """``iterations`` timed calls of each launch; ``started(i)`` is called before the first of launch ``i``.

        Raises:
            MeasurementError: what was recorded makes no sense.
        """
        ...

    def inspect(self, launch: Launch, iterations: int) -> Inspection:
        """A rough time, and which kernels fire with which launch shape.

        Raises:
            MeasurementError: as :meth:`measure`.
        """
        ...
