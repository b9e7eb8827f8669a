"""The winner of a race. Numbers only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autotune_cli.measure.statistics import median, paired_ratio
from autotune_cli.results.schema import Choice

Times = Mapping[int, float]


def choose(
    times: Mapping[str, Times],
    order: Sequence[str],
    default: str | None,
    margin: float,
    default_is_right: bool = True,
    over: str = "default",
    held: Collection[str] = (),
) -> Choice | None:
    """The winner by fixed order from the tie set, never slower than the default or another baseline.

    Args:
        times: rounds in microseconds by candidate, of candidates that are right.
        order: all candidates in the order of preference (the default first).
        default: what runs without tuning, or None.
        margin: relative; closer than this to the best is a tie.
        default_is_right: False: the default was measured but must not run.
        over: name of the baseline that ``default`` is.
        held: candidates of further baselines.

    Returns:
        None when nobody was measured.
    """
    measured = [key for key in order if times.get(key)]
    if not measured:
        return None
    middle = {key: median(list(times[key].values())) for key in measured}
    best = min(measured, key=lambda key: (middle[key], measured.index(key)))
    ties = []
    for key in measured:
        ratio = paired_ratio(times[key], times[best])
        # One common round has an infinite interval: then the times themselves decide.
        low = middle[key] / middle[best] if ratio is None or ratio.low == 0.0 else ratio.low
        if key == best or low <= 1.0 + margin:
            ties.append(key)
    usable_default = default if default in measured and default_is_right else None
    clearly_slower = {key for key in ties for other in held if other in ties and _is_slower(times[key], times[other])}
    winner, reason = _pick(ties, best, usable_default, middle, clearly_slower)
    speedup = interval = None
    if usable_default is not None:
        if winner == usable_default:
            speedup, interval = 1.0, (1.0, 1.0)
        else:
            ratio = paired_ratio(times[usable_default], times[winner])
            assert ratio is not None or not times[usable_default]
            if ratio is not None and ratio.low > 0.0:
                speedup, interval = ratio.value, (ratio.low, ratio.high)
            else:
                speedup = middle[usable_default] / middle[winner]
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


def _is_slower(times: Times, other: Times) -> bool:
    """Beyond the interval, however little."""
    ratio = paired_ratio(times, other)
    return ratio is not None and ratio.low > 1.0


def _pick(
    ties: Sequence[str], best: str, default: str | None, middle: Mapping[str, float], clearly_slower: Collection[str]
) -> tuple[str, str]:
    """``clearly_slower``: those that a baseline within the ties beats beyond the interval: a tie, yet no choice."""
    if default in ties and default not in clearly_slower:
        assert default is not None
        return default, "the default is within the tie set" if len(ties) > 1 else "the default is the fastest"
    if len(ties) == 1:
        return best, "separated"
    for key in ties:
        if key not in clearly_slower and (default is None or middle[key] < middle[default]):
            return key, "first of the tie set"
    return best, "best of the tie set"
