"""How precise a race is. Imports nothing of the program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RacePolicy:
    """How precise a race is. Defaults: measured on an H200, see docs/benchmarks.md."""

    rounds: int = 9
    """Rounds of a candidate that stays in."""
    most_rounds: int = 14
    """When intervals are still wide after ``rounds``, and so many can make them narrow enough."""
    separated_rounds: int = 7
    """Before a race with only one candidate left may end early."""
    iterations: int = 30
    """Timed calls a round, at most."""
    enough_us: float = 6000.0
    """Calls of the best candidate in a round take no longer than this together: the median of ten calls of a kernel of
    600 us is as good as that of thirty of 200 us, and what differs between placements and rounds is more than either.
    """
    least_iterations: int = 9
    """Timed calls a round, at least."""
    placements: int = 2
    """At how many placements of the inputs in memory a round's calls are made, in turn."""
    rough_iterations: int = 5
    """Timed calls in the vetting."""
    rough_margin: float = 1.3
    """A candidate whose rough time is beyond this times the best rough time isn't raced: clocks move times by 15 %."""
    heats: int = 2
    """Rounds before the others that only knock out: at one placement, the first where the candidates were vetted, with
    a placement's share of the calls.
    """
    early_margins: tuple[float, ...] = (0.15, 0.06)
    """A candidate that is slower by more than this after 1, 2 ... heats (without heats: rounds) drops out: two copies
    were 4 % apart."""
    tie_margin: float = 0.005
    """Closer than this to the best is a tie; never below the workload's own A/A noise."""
    precision: float = 0.005
    """Half-width of a ratio's interval, relative, at which more rounds are of no use."""
    harmless: float = 0.01
    """More rounds are of no use either to tell candidates apart that are certainly closer to the best than this."""
    exhaustive: bool = False
    """No candidate drops out."""

    @classmethod
    def for_cpu(cls, exhaustive: bool = False) -> RacePolicy:
        """On a CPU other processes disturb: ties are wider, and precision of half a percent can't be had."""
        return cls(iterations=10, placements=1, heats=0, rough_iterations=3, most_rounds=12, rough_margin=2.0,
                   early_margins=(0.5, 0.2), tie_margin=0.03, precision=0.03, harmless=0.06,
                   exhaustive=exhaustive)  # fmt: skip

    def calls(self, best_us: float) -> int:
        """Timed calls of each candidate in a round, where the best one takes ``best_us``; 0: that isn't known."""
        if best_us <= 0.0:
            return self.iterations
        return min(self.iterations, max(self.least_iterations, math.ceil(self.enough_us / best_us)))

    def with_rounds(self, rounds: int) -> RacePolicy:
        """The same with another number of rounds."""
        return replace(
            self,
            rounds=rounds,
            most_rounds=max(rounds, min(self.most_rounds, 2 * rounds)),
            separated_rounds=min(self.separated_rounds, rounds),
        )
