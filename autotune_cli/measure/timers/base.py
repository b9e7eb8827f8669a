"""What a timer is. Imports nothing heavy, as help texts list the timers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
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
class TimerInfo:
    """What is known of a timer before it is made: the ``ABOUT`` of its file."""

    name: str
    """By which requests ask for it and results name it; the file is called like that."""
    devices: tuple[Literal["cuda", "cpu"], ...]
    """Where it can be used."""
    rank: int
    """Of the timers of a device the one with the lowest number is the default."""
    header: str
    """In the header of a result: ``CUPTI``, and in brackets what has to be known of its times."""
    noise: str = ""
    """A clause on what makes its times noisy besides clocks and throttling; empty: nothing does."""


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
    """Measures launches one after another. A timer is one file in this folder, with its ``ABOUT`` and with
    ``make(l2)``, which returns the timer. torch is imported in functions alone.
    """

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
