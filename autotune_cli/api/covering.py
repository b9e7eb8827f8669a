"""The fewest candidates that serve all workloads: a smallest set cover, by branch and bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def fewest(options: Sequence[Mapping[str, float]]) -> frozenset[str]:
    """A smallest set with a key of each of ``options``; of several such sets one with the smallest sum of values, where
    each of ``options`` counts its smallest in the set.

    Args:
        options: what serves each workload, with its cost; none is empty.

    Exact up to ``_STEPS`` branches, which a table of some dozens of workloads is far from; beyond them the best so far.
    """
    best = _greedy(options)
    cost = _cost(best, options)
    steps = 0

    def search(chosen: frozenset[str], open_: Sequence[Mapping[str, float]]) -> None:
        nonlocal best, cost, steps
        steps += 1
        if not open_:
            found = _cost(chosen, options)
            if (len(chosen), found) < (len(best), cost):
                best, cost = chosen, found
            return
        if len(chosen) + 1 > len(best) or steps > _STEPS:
            return
        # Where there is the least to choose from.
        for key in min(open_, key=len):
            search(chosen | {key}, [option for option in open_ if key not in option])

    search(frozenset(), list(options))
    return best


_STEPS = 200_000


def _greedy(options: Sequence[Mapping[str, float]]) -> frozenset[str]:
    """The key that serves most of what is open, again and again."""
    chosen: set[str] = set()
    left = list(options)
    while left:
        keys = {key for option in left for key in option}
        key = max(sorted(keys), key=lambda key: sum(key in option for option in left))
        chosen.add(key)
        left = [option for option in left if key not in option]
    return frozenset(chosen)


def _cost(chosen: frozenset[str], options: Sequence[Mapping[str, float]]) -> float:
    return sum(min(cost for key, cost in option.items() if key in chosen) for option in options)
