"""Few groups of alike steps: Ward's method, on the logarithms of their sizes, weighed by the time that they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def ward(points: Floats, weights: Floats, groups: Sequence[object]) -> Iterator[list[tuple[int, ...]]]:
    """Ever fewer clusters, each a sorted tuple of indices: first one a point, last one a group.

    Two clusters of a group are merged whose merging adds least to the weighted sum of squares within clusters (Ward,
    1963). Of equal ones the first pair by index is taken, so the same points give the same clusters.

    Args:
        points: [number, dimensions].
        weights: [number], above 0.
        groups: of each point; clusters of two groups are never merged.
    """
    count = len(points)
    members: list[tuple[int, ...]] = [(index,) for index in range(count)]
    center, mass = points.astype(np.float64).copy(), weights.astype(np.float64).copy()
    cost = np.full((count, count), np.inf)
    names = np.array([list(dict.fromkeys(groups)).index(group) for group in groups])

    def renew(index: int, alive: npt.NDArray[np.bool_]) -> None:
        """What merging a cluster with each other one costs."""
        others = np.flatnonzero(alive & (names == names[index]))
        others = others[others != index]
        distance = ((center[others] - center[index]) ** 2).sum(axis=1)
        found = mass[others] * mass[index] / (mass[others] + mass[index]) * distance
        cost[index, :] = np.inf
        cost[:, index] = np.inf
        # Each pair once, below the diagonal's upper side.
        low, high = np.minimum(others, index), np.maximum(others, index)
        cost[low, high] = found

    alive = np.ones(count, dtype=bool)
    for index in range(count):
        renew(index, alive)
    yield [members[index] for index in np.flatnonzero(alive)]
    while True:
        first, second = np.unravel_index(int(np.argmin(cost)), cost.shape) if count else (0, 0)
        if not count or not np.isfinite(cost[first, second]):
            return
        i, j = int(first), int(second)
        center[i] = (mass[i] * center[i] + mass[j] * center[j]) / (mass[i] + mass[j])
        mass[i] += mass[j]
        members[i] = tuple(sorted((*members[i], *members[j])))
        alive[j] = False
        cost[j, :] = np.inf
        cost[:, j] = np.inf
        renew(i, alive)
        yield [members[index] for index in np.flatnonzero(alive)]
