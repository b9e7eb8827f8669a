"""Every candidate of every matched workload: its numbers, statuses and verdict; then the workloads' choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_cli.comparing.choices import Picked, judge_choice
from autotune_cli.comparing.evidence import RIGHT, SideEvidence, clock_log_ratio, noise, side_evidence, status_reason
from autotune_cli.comparing.join import Session, WorkloadPair
from autotune_cli.comparing.places import places
from autotune_cli.comparing.records import ChoiceComparison, Comparison
from autotune_cli.comparing.rough import factor_of
from autotune_cli.comparing.statistics import difference, estimate, ratio_of, session_scale
from autotune_cli.comparing.verdicts import Decision, Reason, Rule, Timing, Verdict, decide, few

# Rows that matter most come first.
_ORDER = {
    verdict: rank
    for rank, verdict in enumerate((
        Verdict.SLOWER, Verdict.STATUS, Verdict.FASTER, Verdict.AMBIGUOUS, Verdict.ONLY_B, Verdict.ONLY_A,
        Verdict.ELIMINATED, Verdict.SAME, Verdict.NOT_TIMED,
    ))
}  # fmt: skip


@dataclass
class _Row:
    """A candidate on the way to its verdict."""

    key: str
    a: SideEvidence
    b: SideEvidence
    timing: Timing | None = None


@dataclass
class _Workload:
    """A matched workload with its candidates by key, and what all of them share."""

    pair: WorkloadPair
    key: str
    place: str
    operation: str
    floor: float
    winners: tuple[str | None, str | None]
    """Of the newest session of each side."""
    rows: dict[str, _Row]


def compare_candidates(pairs: Sequence[WorkloadPair], rule: Rule) -> tuple[list[Comparison], list[ChoiceComparison]]:
    """Verdicts of all candidates, the most important first, and of all choices."""
    names = places([pair.workload for pair in pairs])
    workloads = [_workload(pair, names) for pair in pairs]
    rows = [row for workload in workloads for row in workload.rows.values()]
    scale_a = session_scale([(row.a.rounds, row.a.typical) for row in rows if row.a.rounds])
    scale_b = session_scale([(row.b.rounds, row.b.typical) for row in rows if row.b.rounds])
    for workload in workloads:
        pair = workload.pair
        factor = factor_of([session.device[0] for session in (*pair.a, *pair.b)])
        for row in workload.rows.values():
            row.timing = _timing(row, scale_a, scale_b, workload.floor, pair.same_card, factor)
    decided = iter(decide([row.timing for row in rows if row.timing is not None], rule))
    comparisons = [
        _comparison(workload, row, _without_times(row) if row.timing is None else next(decided))
        for workload in workloads
        for row in workload.rows.values()
    ]
    comparisons.sort(key=_importance)
    return comparisons, [_choice(workload, rule, (scale_a, scale_b)) for workload in workloads]


def _workload(pair: WorkloadPair, names: Mapping[str, str]) -> _Workload:
    workload = pair.workload
    key = workload.key
    rows = {
        candidate: _Row(candidate, side_evidence(pair.a, results_a), side_evidence(pair.b, results_b))
        for candidate, results_a, results_b in pair.candidates()
    }
    return _Workload(pair, key, names[key], workload.operation, noise(pair), (_winner(pair.a), _winner(pair.b)), rows)


def _winner(sessions: Sequence[Session]) -> str | None:
    choice = sessions[-1].result.choice
    return choice.winner if choice else None


def _timing(row: _Row, scale_a: float, scale_b: float, floor: float, same_card: bool, factor: float) -> Timing | None:
    """The numbers of a candidate whose times are to be compared; None if presence or status says it all."""
    a, b = row.a, row.b
    if a.status is None or b.status is None or status_reason(a.status, b.status) is not None:
        return None
    return Timing(
        a=estimate(a.rounds, a.typical, scale_a) if a.rounds else None,
        b=estimate(b.rounds, b.typical, scale_b) if b.rounds else None,
        noise=floor,
        same_measurement=bool(a.rounds) and a.measurements == b.measurements,
        few_rounds=few(a.rounds) or few(b.rounds),
        dropped=max(a.dropped, b.dropped),
        same_card=same_card,
        rough=(a.rough, b.rough),
        rough_factor=factor,
        eliminated=a.eliminated is not None or b.eliminated is not None,
        clock_log_ratio=clock_log_ratio(a, b),
    )


def _without_times(row: _Row) -> Decision:
    if row.a.status is None:
        return Decision(Verdict.ONLY_B, (Reason.ABSENT,))
    if row.b.status is None:
        return Decision(Verdict.ONLY_A, (Reason.ABSENT,))
    reason = status_reason(row.a.status, row.b.status)
    assert reason is not None
    return Decision(Verdict.STATUS, (reason,))


def _comparison(workload: _Workload, row: _Row, decision: Decision) -> Comparison:
    shown = row.b.newest or row.a.newest
    assert shown is not None
    return Comparison(
        workload=workload.key,
        place=workload.place,
        operation=workload.operation,
        candidate=row.key,
        label=shown.label or row.key,
        # Two sides may have two defaults: then the candidate is neither's.
        default=all(side.newest.default for side in (row.a, row.b) if side.newest is not None),
        chosen=("A" if workload.winners[0] == row.key else "") + ("B" if workload.winners[1] == row.key else ""),
        decision=decision,
        status_a=row.a.status,
        status_b=row.b.status,
        detail=_detail(row, decision),
        a_us=row.a.middle,
        b_us=row.b.middle,
        rounds=(sum(map(len, row.a.rounds)), sum(map(len, row.b.rounds))),
        sessions=(len(row.a.rounds), len(row.b.rounds)),
        a_rough_us=row.a.rough,
        b_rough_us=row.b.rough,
        a_behind=row.a.behind,
        b_behind=row.b.behind,
    )


def _detail(row: _Row, decision: Decision) -> str | None:
    if decision.verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B):
        shown = row.b.newest or row.a.newest
        return shown.reason if shown else None
    said = [f"{words} in {name}" for name, side in (("A", row.a), ("B", row.b)) if (words := _eliminated(side))]
    return "; ".join(said) or None


def _eliminated(side: SideEvidence) -> str | None:
    """``eliminated on its rough time, 413 us, 1.80x the best,``; out in the heats, by how much there."""
    if side.eliminated is None:
        return None
    if side.behind is None or side.newest is None or not side.newest.rough_us or "heat" in side.eliminated:
        return f"eliminated ({side.eliminated})"
    return f"eliminated on its rough time ({side.newest.rough_us:.4g} us, {side.behind:.2f}x the best)"


def _importance(comparison: Comparison) -> tuple[int, bool, float, str, str]:
    """By verdict; what a side chose before what it didn't; the larger change first."""
    decision = comparison.decision
    worse = 0 if Reason.STATUS_WORSE in decision.reasons else 1
    ratio = decision.ratio or 1.0
    return (
        2 * _ORDER[comparison.verdict] + (worse if comparison.verdict == Verdict.STATUS else 0),
        not (comparison.chosen or comparison.default),
        -max(ratio, 1.0 / ratio),
        comparison.workload,
        comparison.candidate,
    )


def _choice(workload: _Workload, rule: Rule, scales: tuple[float, float]) -> ChoiceComparison:
    pair, rows = workload.pair, workload.rows
    wanted = frozenset(s.result.choice.winner for s in (*pair.a, *pair.b) if s.result.choice)
    sides = [[_picked(session, wanted) for session in side] for side in (pair.a, pair.b)]
    decision = judge_choice(sides[0], sides[1], max(rule.threshold, workload.floor), RIGHT)
    before = rows[decision.a] if decision.a else None
    after = rows[decision.b] if decision.b else None
    ratio, interval = _chosen_ratio(before, after, rule, scales)
    old = before.a if before else None
    new = after.b if after else None
    return ChoiceComparison(
        workload=workload.key,
        place=workload.place,
        operation=workload.operation,
        decision=decision,
        label_a=_label(old),
        label_b=_label(new),
        a_us=old.middle if old else None,
        b_us=new.middle if new else None,
        ratio=ratio,
        interval=interval,
    )


def _chosen_ratio(
    before: _Row | None, after: _Row | None, rule: Rule, scales: tuple[float, float]
) -> tuple[float | None, tuple[float, float] | None]:
    """Time of B's winner in B over that of A's winner in A."""
    if before is None or after is None or not before.a.rounds or not after.b.rounds:
        return None, None
    if before.a.measurements == after.b.measurements:
        return 1.0, (1.0, 1.0)
    # Made already, unless that candidate's status changed.
    old = (before.timing and before.timing.a) or estimate(before.a.rounds, before.a.typical, scales[0])
    new = (after.timing and after.timing.b) or estimate(after.b.rounds, after.b.typical, scales[1])
    found = difference(old, new, rule.coverage)
    return ratio_of(found.value), (ratio_of(found.low), ratio_of(found.high))


def _label(side: SideEvidence | None) -> str | None:
    return None if side is None or side.newest is None else side.newest.label or side.newest.key


def _picked(session: Session, wanted: frozenset[str]) -> Picked:
    """The choice of a session, with what it knows of the winners of all sessions."""
    choice = session.result.choice
    candidates = [candidate for candidate in session.result.candidates if candidate.key in wanted]
    return Picked(
        winner=choice.winner if choice else None,
        tie_set=choice.tie_set if choice else (),
        times={c.key: dict(zip(c.rounds, c.rounds_us, strict=True)) for c in candidates if c.rounds_us},
        rough={c.key: c.rough_us for c in candidates if c.rough_us and c.status in RIGHT},
        statuses={c.key: c.status for c in candidates},
    )
