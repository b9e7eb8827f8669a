"""Matched workloads with what each side knows of their candidates, and what tables call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.comparing.decisions import Timing
from autotune_cli.comparing.evidence import SideEvidence, noise, side_evidence
from autotune_cli.comparing.join import SessionResult, WorkloadPair
from autotune_cli.comparing.statistics import session_scale
from autotune_cli.kernels.workload import AnyWorkload


@dataclass
class CandidatePair:
    """A candidate on the way to its verdict."""

    key: str
    a: SideEvidence
    b: SideEvidence
    timing: Timing | None = None


@dataclass
class MatchedWorkload:
    """A workload that both sides have, with its candidates by key, and what all of them share."""

    pair: WorkloadPair
    key: str
    label: str
    """The workload as tables show it."""
    operation: str
    noise: float
    """Relative, see :func:`autotune_cli.comparing.evidence.noise`."""
    winners: tuple[str | None, str | None]
    """Of the newest session of each side."""
    candidates: dict[str, CandidatePair]


def matched_workloads(pairs: Sequence[WorkloadPair]) -> list[MatchedWorkload]:
    """The pairs with their candidates, in the order given."""
    labels = workload_labels([pair.workload for pair in pairs])
    return [_matched(pair, labels[pair.workload.key]) for pair in pairs]


def workload_labels(workloads: Sequence[AnyWorkload]) -> dict[str, str]:
    """Short names for tables by key, only as long as needed to tell the workloads apart.

    ``attention.decode 64x8192``, with the mode where both are there, or the whole key where that is not enough (several
    geometries).
    """
    unique = {workload.key: workload for workload in workloads}
    names = {key: f"{workload.operation} {workload.shape.replace(' ', '')}" for key, workload in unique.items()}
    for better in (
        {key: f"{names[key]} {workload.mode}" for key, workload in unique.items()},
        {key: key for key in unique},
    ):
        used: dict[str, int] = {}
        for name in names.values():
            used[name] = used.get(name, 0) + 1
        names = {key: name if used[name] == 1 else better[key] for key, name in names.items()}
    return names


def session_scales(workloads: Sequence[MatchedWorkload]) -> tuple[float, float]:
    """How far the sessions of A and of B scatter, see :func:`autotune_cli.comparing.statistics.session_scale`."""
    candidates = [each for workload in workloads for each in workload.candidates.values()]
    sides = ([each.a for each in candidates], [each.b for each in candidates])
    a, b = (session_scale([(each.rounds, each.typical) for each in side if each.rounds]) for side in sides)
    return a, b


def _matched(pair: WorkloadPair, label: str) -> MatchedWorkload:
    workload = pair.workload
    candidates = {
        key: CandidatePair(key, side_evidence(pair.a, results_a), side_evidence(pair.b, results_b))
        for key, results_a, results_b in pair.candidates()
    }
    winners = (_winner(pair.a), _winner(pair.b))
    return MatchedWorkload(pair, workload.key, label, workload.operation, noise(pair), winners, candidates)


def _winner(sessions: Sequence[SessionResult]) -> str | None:
    choice = sessions[-1].result.choice
    return choice.winner if choice else None
