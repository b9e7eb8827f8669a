"""The winner of a race. Numbers only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autotune_cli.measure.statistics import median, paired_ratio
from autotune_cli.results.schema import Choice

RoundTimes = Mapping[int, float]


def choose(
    times: Mapping[str, RoundTimes],
    order: Sequence[str],
    default: str | None,
    margin: float,
    over: str = "default",
    held: Collection[str] = (),
    compared: int = 1,
    barred: Collection[str] = (),
) -> Choice | None:
    """The winner by fixed order from the tie set, never slower than the default or another baseline.

    The default stays unless it is beaten beyond doubt. One round, which has no interval, leaves every doubt; and the
    luckiest of many candidates that are just like the default is ahead of it in any few rounds, so the interval takes
    into account out of how many the best one was picked.

    Args:
        times: rounds in microseconds by candidate, of candidates that are right.
        order: all candidates in the order of preference (the default first).
        default: what runs without tuning, or None.
        margin: relative; closer than this to the best is a tie.
        over: name of the baseline that ``default`` is.
        held: candidates of further baselines.
        compared: how many candidates were raced, those that dropped out of the race among them.
        barred: candidates that may not win, whatever their times: a speed-up can be over one.

    Returns:
        None where no candidate that may win was measured.
    """
    measured = [key for key in order if times.get(key) and key not in barred]
    if not measured:
        return None
    middle = {key: median(list(times[key].values())) for key in measured}
    best = min(measured, key=lambda key: (middle[key], measured.index(key)))
    ties = []
    usable_default = default if default in measured else None
    for key in measured:
        ratio = paired_ratio(times[key], times[best], compared if key == usable_default else 1)
        # Without a common round, or with one only, nothing tells them apart.
        if key == best or ratio is None or ratio.low <= 1.0 + margin:
            ties.append(key)
    clearly_slower = {key for key in ties for other in held if other in ties and _is_slower(times[key], times[other])}
    if usable_default is not None:
        beats_default = {key for key in ties if _is_slower(times[usable_default], times[key], compared)}
    else:
        # There is no default to be held to: a candidate that nothing tells from the best is no choice before it.
        beats_default = {key for key in ties if _has_interval(times[key], times[best])}
    winner, reason = _pick(ties, best, usable_default, beats_default, clearly_slower)
    if winner == usable_default and winner != best and not _has_interval(times[winner], times[best]):
        reason = "too few rounds to tell: the default stays"
    speedup = interval = None
    if default is not None and times.get(default):
        if winner == default:
            speedup, interval = 1.0, (1.0, 1.0)
        else:
            ratio = paired_ratio(times[default], times[winner])
            if ratio is not None and ratio.low > 0.0:
                speedup, interval = ratio.value, (ratio.low, ratio.high)
    return Choice(
        winner=winner,
        tie_set=tuple(ties),
        best=best,
        default=default,
        over=None if default is None else over,
        speedup=speedup,
        speedup_interval=interval,
        reason=reason,
    )


def _is_slower(times: RoundTimes, other: RoundTimes, compared: int = 1) -> bool:
    """Beyond the interval, however little."""
    ratio = paired_ratio(times, other, compared)
    return ratio is not None and ratio.low > 1.0


def _has_interval(times: RoundTimes, other: RoundTimes) -> bool:
    ratio = paired_ratio(times, other)
    return ratio is not None and ratio.low > 0.0


def _pick(
    ties: Sequence[str], best: str, default: str | None, eligible: Collection[str], clearly_slower: Collection[str]
) -> tuple[str, str]:
    """``eligible``: those that certainly are faster than the default; without one, those that are certainly tied.
    ``clearly_slower``: those that a baseline within the ties beats beyond the interval: a tie, yet no choice."""
    if default in ties and default not in clearly_slower:
        assert default is not None
        return default, "the default is within the tie set" if len(ties) > 1 else "the default is the fastest"
    if len(ties) == 1:
        return best, "separated"
    for key in ties:
        if key not in clearly_slower and key in eligible:
            return key, "first of the tie set"
    return best, "best of the tie set"
