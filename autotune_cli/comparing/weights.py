"""Traffic weights of both sides: whether a server runs a workload as often as before, or why that can't be said."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune_cli.comparing.join import SessionResult, WorkloadPair

# Weights are steps times layers: whole numbers, which a float holds.
_SAME = 1e-9


def weight_notes(pairs: Sequence[WorkloadPair]) -> list[str]:
    """Sentences on the weights of the workloads that both sides have; none where no side has weights, or all are equal.

    No verdict depends on weights.
    """
    sides = [[session for pair in pairs for session in pair.a], [session for pair in pairs for session in pair.b]]
    if not any(session.result.weight is not None for side in sides for session in side):
        return []
    lacking = [name for name, side in zip("AB", sides, strict=True) if any(each.run.traffic is None for each in side)]
    if lacking:
        has = "has" if len(lacking) == 1 else "have"
        return [
            f"how often a server runs a workload can't be compared: {' and '.join(lacking)} {has} no traffic record"
        ]
    if len({each.run.traffic.digest for side in sides for each in side if each.run.traffic is not None}) > 1:
        return ["how often a server runs a workload can't be compared: the traffic is not the same"]
    changed = [(pair, *weights) for pair in pairs if not _alike(weights := (_weight(pair.a), _weight(pair.b)))]
    if not changed:
        return []
    pair, a, b = changed[0]
    workload = pair.a[0].result.workload
    such = f"{workload.operation} {workload.shape}: {_words(a)} -> {_words(b)}"
    counted = "1 workload has" if len(changed) == 1 else f"{len(changed)} workloads have"
    return [f"{counted} another weight in B than in A, {'' if len(changed) == 1 else 'such as '}{such}"]


def _weight(side: Sequence[SessionResult]) -> float | None:
    """Of the newest session."""
    return max(side, key=lambda session: session.result.measured_at).result.weight


def _alike(weights: tuple[float | None, float | None]) -> bool:
    a, b = weights
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=_SAME))


def _words(weight: float | None) -> str:
    return "none" if weight is None else f"{weight:g}"
