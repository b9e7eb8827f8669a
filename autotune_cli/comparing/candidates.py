"""Every candidate of every matched workload: its numbers, statuses and verdict."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.decisions import Decision, DecisionRule, Reason, Timing, decide, few
from autotune_cli.comparing.evidence import SideEvidence, clock_log_ratio, status_reason
from autotune_cli.comparing.matched import CandidatePair, MatchedWorkload
from autotune_cli.comparing.records import Comparison
from autotune_cli.comparing.rough import factor_of
from autotune_cli.comparing.statistics import estimate
from autotune_cli.comparing.verdicts import ChangeVerdict, Subject

Scales = tuple[float, float]
"""How far the sessions of A and of B scatter, see :func:`autotune_cli.comparing.matched.session_scales`."""


def compare_candidates(workloads: Sequence[MatchedWorkload], rule: DecisionRule, scales: Scales) -> list[Comparison]:
    """Verdicts of all candidates, the most important first. The candidates get their ``timing``."""
    for workload in workloads:
        pair = workload.pair
        factor = factor_of([session.device[0] for session in (*pair.a, *pair.b)])
        for each in workload.candidates.values():
            each.timing = _timing(each, scales, workload.noise, pair.same_card, factor)
    rows = [(workload, each) for workload in workloads for each in workload.candidates.values()]
    decided = iter(decide([each.timing for _, each in rows if each.timing is not None], rule))
    comparisons = [
        _comparison(workload, each, _without_times(each) if each.timing is None else next(decided))
        for workload, each in rows
    ]
    return sorted(comparisons, key=_importance)


def _timing(each: CandidatePair, scales: Scales, noise: float, same_card: bool, factor: float) -> Timing | None:
    """The numbers of a candidate whose times are to be compared; None if presence or status says it all."""
    a, b = each.a, each.b
    if a.status is None or b.status is None or status_reason(a.status, b.status) is not None:
        return None
    return Timing(
        a=estimate(a.rounds, a.typical, scales[0]) if a.rounds else None,
        b=estimate(b.rounds, b.typical, scales[1]) if b.rounds else None,
        noise=noise,
        same_measurement=bool(a.rounds) and a.measurements == b.measurements,
        few_rounds=few(a.rounds) or few(b.rounds),
        dropped=max(a.dropped, b.dropped),
        same_card=same_card,
        rough=(a.rough, b.rough),
        rough_factor=factor,
        eliminated=a.eliminated is not None or b.eliminated is not None,
        clock_log_ratio=clock_log_ratio(a, b),
    )


def _without_times(each: CandidatePair) -> Decision:
    if each.a.status is None:
        return Decision(ChangeVerdict.ONLY_B, (Reason.ABSENT,))
    if each.b.status is None:
        return Decision(ChangeVerdict.ONLY_A, (Reason.ABSENT,))
    reason = status_reason(each.a.status, each.b.status)
    assert reason is not None
    return Decision(ChangeVerdict.STATUS, (reason,))


def _comparison(workload: MatchedWorkload, each: CandidatePair, decision: Decision) -> Comparison:
    a, b = each.a, each.b
    newest = b.newest or a.newest
    assert newest is not None
    return Comparison(
        workload=workload.key,
        workload_label=workload.label,
        operation=workload.operation,
        candidate=each.key,
        label=newest.label or each.key,
        # Two sides may have two defaults: then the candidate is neither's.
        default=all(side.newest.default for side in (a, b) if side.newest is not None),
        chosen=("A" if workload.winners[0] == each.key else "") + ("B" if workload.winners[1] == each.key else ""),
        decision=decision,
        status_a=a.status,
        status_b=b.status,
        detail=_detail(a, b) if decision.verdict.row.subject is Subject.TIMES else newest.reason,
        a_us=a.middle,
        b_us=b.middle,
        rounds=(sum(map(len, a.rounds)), sum(map(len, b.rounds))),
        sessions=(len(a.rounds), len(b.rounds)),
        a_rough_us=a.rough,
        b_rough_us=b.rough,
        a_behind=a.behind,
        b_behind=b.behind,
    )


def _detail(a: SideEvidence, b: SideEvidence) -> str | None:
    said = [f"{words} in {name}" for name, side in (("A", a), ("B", b)) if (words := _eliminated(side))]
    return "; ".join(said) or None


def _eliminated(side: SideEvidence) -> str | None:
    """``eliminated on its rough time (413 us, 1.80x the best)``; out in the heats, by how much there."""
    if side.eliminated is None:
        return None
    if side.behind is None or side.newest is None or not side.newest.rough_us or "heat" in side.eliminated:
        return f"eliminated ({side.eliminated})"
    return f"eliminated on its rough time ({side.newest.rough_us:.4g} us, {side.behind:.2f}x the best)"


def _importance(comparison: Comparison) -> tuple[int, bool, float, str, str]:
    """By verdict; what a side chose before what it didn't; the larger change first."""
    ratio = comparison.decision.ratio or 1.0
    return (
        comparison.decision.rank,
        not (comparison.chosen or comparison.default),
        -max(ratio, 1.0 / ratio),
        comparison.workload,
        comparison.candidate,
    )
