"""How long a round of a race will take, and what must leave it for its rounds to fit into the budget."""

from __future__ import annotations

from collections.abc import Collection

from autotune_cli.measure.statistics import median
from autotune_cli.tuning.race import Race

NO_TIME = "the budget was spent before it could be raced"
# Fewer give no interval that tells anything.
_LEAST_ROUNDS = 3
# To prepare a candidate at one placement in memory, and to hand it over; corrected by the first round.
_PREPARE_S = 0.003


class Pace:
    """Predicts a round from its candidates' times, and learns from each by how much that is off."""

    def __init__(self) -> None:
        self._factor = 1.0

    def predict(self, race: Race, keys: Collection[str], calls: int, placements: int) -> float:
        """Seconds of a round with these candidates."""
        return sum(self._seconds(race, key, calls, placements) for key in keys)

    def learn(self, predicted: float, actual: float) -> None:
        """``predicted``: what :meth:`predict` said before a round that took ``actual`` seconds."""
        if predicted > 0.0:
            self._factor *= actual / predicted

    def surplus(self, race: Race, calls: int, placements: int, left_s: float) -> list[str]:
        """Candidates without which the rounds that are left fit into ``left_s``: the slowest, the user's own ones last.

        Baselines stay, and one candidate in any case.
        """
        running = race.running
        # Each round has a second copy of the anchor.
        copies = [race.anchor] if race.anchor is not None else []
        rounds = max(1, _LEAST_ROUNDS - min((len(race.times[key]) for key in running), default=0))
        free = left_s / rounds - self.predict(race, copies, calls, placements)
        out: list[str] = []
        for key in sorted(
            running, key=lambda key: (not race.is_baseline(key), not race.is_held(key), _time_us(race, key))
        ):
            free -= self._seconds(race, key, calls, placements)
            if free < 0.0 and not race.is_baseline(key):
                out.append(key)
        return out if len(out) < len(running) else out[1:]

    def _seconds(self, race: Race, key: str, calls: int, placements: int) -> float:
        # Each placement has a first call of its own.
        return self._factor * ((calls + 2 * placements) * _time_us(race, key) / 1e6 + placements * _PREPARE_S)


def _time_us(race: Race, key: str) -> float:
    times = race.times[key]
    return median(list(times.values())) if times else race.rough.get(key, 0.0)
