"""The race of one workload: what is measured next, which candidates drop out, when it ends. Numbers only; no processes.

Rounds are interleaved: every candidate still in the race is measured once a round, in an order that changes. A
candidate drops out when the interval of its ratio to the best lies above 1 + the tie margin.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune_cli.measure.statistics import Ratio, median, paired_ratio
from autotune_cli.tuning.decided import Rival, can_be_decided, is_clear, is_decided, is_precise, may_be_beaten
from autotune_cli.tuning.policy import RacePolicy

# With fewer rounds than this a candidate dropped out because of one or two numbers.
_FEW_ROUNDS = 3
# Of two candidates that no round has both of.
_UNKNOWN = Ratio(1.0, 0.0, math.inf)


@dataclass
class Race:
    """The rounds so far. ``default`` and ``held`` are never dropped for being slow."""

    policy: RacePolicy
    keys: list[str]
    """Candidates in the order of preference."""
    default: str | None = None
    held: frozenset[str] = frozenset()
    """Candidates of further baselines."""
    kept: frozenset[str] = frozenset()
    """Others that are never dropped for being slow: the user's own, where the run is for a kernel of the user's."""
    barred: Mapping[str, str] = field(default_factory=dict)
    """Candidates that can't win, and why: they don't keep what is required. They put no other out of the race, and only
    those that are held are in it."""
    times: dict[str, dict[int, float]] = field(default_factory=dict)
    """By round; heats are not among them."""
    points: dict[str, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    """By candidate and round, the times at several lengths, of which ``times`` has the mean; where there are such."""
    heats: dict[int, dict[str, float]] = field(default_factory=dict)
    """Times of the heats by their numbers, the first of all rounds."""
    copies: dict[int, float] = field(default_factory=dict)
    """Times of a second copy of ``copied`` (A/A)."""
    copied: str | None = None
    dropped: dict[str, str] = field(default_factory=dict)
    """Candidates that are out, and why."""
    failed: set[str] = field(default_factory=set)
    """Those of them that turned out not to be right."""
    rough: dict[str, float] = field(default_factory=dict)
    """Times of the vetting."""
    restored: set[str] = field(default_factory=set)
    """Candidates that were out and came back, once; only rounds can put them out again."""

    def __post_init__(self) -> None:
        for key in self.keys:
            self.times.setdefault(key, {})

    @property
    def anchor(self) -> str | None:
        """The candidate whose second copy is measured: the default, or else the first that is in."""
        if self.default is not None and self.default not in self.dropped:
            return self.default
        running = self.running
        return running[0] if running else None

    @property
    def running(self) -> list[str]:
        return [key for key in self.keys if key not in self.dropped]

    @property
    def eligible(self) -> list[str]:
        """Those of the running ones that may win."""
        return [key for key in self.running if key not in self.barred]

    @property
    def noise(self) -> float | None:
        """A/A: how far two copies of the same candidate are apart, |ratio - 1|; None without copies."""
        if self.copied is None:
            return None
        ratio = paired_ratio(self.copies, self.times[self.copied])
        return None if ratio is None else abs(ratio.value - 1.0)

    @property
    def margin(self) -> float:
        """Closer than this to the best is a tie, relative."""
        return max(self.policy.tie_margin, self.noise or 0.0)

    @property
    def compared(self) -> int:
        """How many candidates were raced, those that dropped out among them: the best one was picked out of these."""
        return sum(map(bool, self.times.values()))

    @property
    def best(self) -> str | None:
        """The running candidate with the lowest median, of those that may win."""
        measured = [key for key in self.eligible if self.times[key]]
        return min(measured, key=lambda key: (median(list(self.times[key].values())), key), default=None)

    @property
    def best_us(self) -> float:
        """The lowest median of a running candidate; before the first round the lowest time of the vetting, or 0."""
        best = self.best
        if best is not None:
            return median(list(self.times[best].values()))
        return min((self.rough[key] for key in self.eligible if key in self.rough), default=0.0)

    def order(self, number: int) -> list[str]:
        """The running candidates in an order of this round's own, always the same for a number.

        Not a rotation: there each candidate keeps its predecessor. Two copies of one candidate came out 4 % apart in a
        run under the power cap (H200, decode 64 x 8192, exhaustive); what the one before leaves behind is a likely
        reason.
        """
        running = self.running
        random.Random(number).shuffle(running)
        return running

    def add(
        self,
        number: int,
        times: Mapping[str, float],
        copy: float | None,
        points: Mapping[str, tuple[float, ...]] | None = None,
    ) -> None:
        """Take in a round, with the time of the anchor's second copy and the times at several lengths, and drop what is
        now clearly slower.
        """
        if self.is_heat(number):
            self.heats[number] = dict(times)
            self._knock_out()
            return
        for key, us in times.items():
            self.times[key][number] = us
        for key, each in (points or {}).items():
            self.points.setdefault(key, {})[number] = each
        if copy is not None:
            if self.copied != self.anchor:
                self.copied, self.copies = self.anchor, {}
            self.copies[number] = copy
        self._eliminate()

    def is_heat(self, number: int) -> bool:
        """Heats come first. There are none where all candidates are to be measured to the end."""
        return number < self.policy.heats and not self.policy.exhaustive

    def drop(self, key: str, why: str) -> None:
        self.dropped[key] = why

    def fail(self, key: str, why: str) -> None:
        """Take out a candidate that is not right after all. Those that dropped out because of its times are in again,
        unless those of another one drop them too.
        """
        self.failed.add(key)
        self.dropped = {name: self.dropped.get(name, why) for name in self.keys if name in self.failed}
        self.dropped[key] = why
        self._cut()
        self._knock_out()
        self._eliminate()

    def cut_rough(self, rough: Mapping[str, float]) -> None:
        """Keep those out of the race that the vetting's one time shows to be far behind."""
        self.rough = dict(rough)
        self._cut()

    def overlooked(self, winner: str) -> list[str]:
        """Those that dropped out on little evidence, and whose time in the vetting is far below the winner's in the
        race: one of the two is not what the candidate takes.
        """
        if not self.times.get(winner):
            return []
        limit = median(list(self.times[winner].values())) / self.policy.rough_margin
        return [
            key
            for key in self.keys
            if key in self.dropped
            and key not in self.failed
            and key not in self.barred
            and 0.0 < self.rough.get(key, 0.0) < limit
            and len(self.times[key]) < _FEW_ROUNDS
        ]

    def restore(self, keys: Sequence[str]) -> None:
        """Have candidates that dropped out race after all."""
        for key in keys:
            self.dropped.pop(key, None)
            self.restored.add(key)

    def _cut(self) -> None:
        if self.policy.exhaustive:
            return
        for key in self.running:
            if key in self.barred and not self.is_held(key):
                self.drop(key, self.barred[key])
        known = [self.rough[key] for key in self.eligible if key in self.rough]
        if not known:
            return
        limit = self.policy.rough_margin * min(known)
        for key in self.running:
            if not self.is_held(key) and key not in self.restored and self.rough.get(key, 0.0) > limit:
                self.drop(key, f"its rough time is over {self.policy.rough_margin:g} times the best one's")

    def _knock_out(self) -> None:
        """Drop what is far behind in the heats so far, by the geometric mean of its ratios to the best one's times."""
        for count in range(1, len(self.heats) + 1):
            seen = [self.heats[number] for number in sorted(self.heats)[:count]]
            logs = {
                key: sum(math.log(heat[key]) for heat in seen) / count
                for key in self.running
                if all(key in heat for heat in seen)
            }
            if not logs:
                return
            fastest = min((value for key, value in logs.items() if key not in self.barred), default=math.inf)
            margin = self.policy.early_margins[min(count, len(self.policy.early_margins)) - 1]
            for key, value in logs.items():
                ratio = math.exp(value - fastest)
                if ratio > 1.0 + margin and not self.is_held(key) and key not in self.restored:
                    self.drop(key, f"{ratio:.3f} times the best one's time in {_heats(count)}")

    def is_held(self, key: str) -> bool:
        """Is it never dropped for being slow?"""
        return self.is_baseline(key) or key in self.kept

    def is_baseline(self, key: str) -> bool:
        return key == self.default or key in self.held

    def _eliminate(self) -> None:
        best = self.best
        if best is None or self.policy.exhaustive:
            return
        for key in self.running:
            ratio = paired_ratio(self.times[key], self.times[best])
            if key == best or self.is_held(key) or ratio is None:
                continue
            rounds = len(self.times[key])
            early = self.policy.early_margins if self.policy.heats == 0 else ()
            if rounds <= len(early):
                if ratio.value > 1.0 + early[rounds - 1]:
                    self.drop(key, f"{ratio.value:.3f} times the best one's time after {_rounds(rounds)}")
            elif ratio.low > 1.0 + self.policy.tie_margin:
                self.drop(key, f"{ratio.low:.3f} times the best one's time or more, after {_rounds(rounds)}")

    def finished(self) -> str | None:
        """Why no further round is needed, or None."""
        best, running = self.best, self.running
        if not self.eligible:
            return "none left"
        if best is None:
            return None
        fewest = min(len(self.times[key]) for key in running)
        if fewest >= self.policy.most_rounds:
            return "rounds"
        rivals = {key: self._rival(key, best) for key in running if key != best}
        if fewest >= self.policy.rounds:
            if is_decided(self.policy, rivals.values()):
                return "precise"
            hopeless = not can_be_decided(self.policy, rivals.values()) and not self._may_beat_default(best)
            if hopeless and not self.policy.exhaustive:
                return "rounds"
        clear = all(is_clear(self.policy, rival.ratio) for key, rival in rivals.items() if key not in self.barred)
        precise = all(is_precise(self.policy, rival.ratio) for rival in rivals.values())
        if not self.policy.exhaustive and fewest >= self.policy.separated_rounds and clear and precise:
            return "separated"
        return None

    def _rival(self, key: str, best: str) -> Rival:
        ratio = paired_ratio(self.times[key], self.times[best])
        return Rival(ratio or _UNKNOWN, len(self.times[key].keys() & self.times[best].keys()))

    def _may_beat_default(self, best: str) -> bool:
        """May further rounds show that the default is beaten, where these don't?"""
        default = self.default
        if default is None or default == best or default in self.dropped:
            return False
        ratio = paired_ratio(self.times[default], self.times[best], self.compared)
        if ratio is None:
            return False
        rival = Rival(ratio, self._rival(default, best).rounds)
        return may_be_beaten(self.policy, rival, self.margin, self.compared)


def _heats(number: int) -> str:
    return "the first heat" if number == 1 else f"{number} heats"


def _rounds(number: int) -> str:
    return f"{number} round{'' if number == 1 else 's'}"


def usual_clock(clocks: Sequence[float | None]) -> float | None:
    """Median SM clock of the rounds so far, in MHz."""
    known = [clock for clock in clocks if clock]
    return median(known) if known else None
