"""The winner of a race. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_cli.measure.statistics import median, paired_ratio
from autotune_cli.results.schema import Choice

Times = Mapping[int, float]


def choose(
    times: Mapping[str, Times],
    order: Sequence[str],
    default: str | None,
    margin: float,
    default_is_right: bool = True,
) -> Choice | None:
    """The winner by fixed order from the tie set, never slower than the default.

    Args:
        times: rounds in microseconds by candidate, of candidates that are right.
        order: all candidates in the order of preference (the default first).
        default: what runs without tuning, or None.
        margin: relative; closer than this to the best is a tie.
        default_is_right: False: the default was measured but must not run.

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
    winner, reason = _pick(ties, best, usable_default, middle)
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
        speedup=speedup,
        speedup_interval=interval,
        reason=reason,
    )


def _pick(ties: Sequence[str], best: str, default: str | None, middle: Mapping[str, float]) -> tuple[str, str]:
    if default in ties:
        assert default is not None
        return default, "the default is within the tie set" if len(ties) > 1 else "the default is the fastest"
    if len(ties) == 1:
        return best, "separated"
    for key in ties:
        if default is None or middle[key] < middle[default]:
            return key, "first of the tie set"
    return best, "best of the tie set"
