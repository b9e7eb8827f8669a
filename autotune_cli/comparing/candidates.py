"""Every candidate of every matched workload: its numbers, statuses and verdict; then the workloads' choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.comparing.choices import Picked, judge_choice
from autotune_cli.comparing.evidence import RIGHT, SideEvidence, clock_log_ratio, noise, side_evidence, status_reason
from autotune_cli.comparing.join import Session, WorkloadPair
from autotune_cli.comparing.places import places
from autotune_cli.comparing.records import ChoiceComparison, Comparison
from autotune_cli.comparing.statistics import difference, estimate, ratio_of, session_scale
from autotune_cli.comparing.verdicts import Decision, Reason, Rule, Timing, Verdict, decide, few

# Rows that matter most come first.
_ORDER = (
    Verdict.SLOWER, Verdict.STATUS, Verdict.FASTER, Verdict.AMBIGUOUS, Verdict.ONLY_B, Verdict.ONLY_A, Verdict.SAME,
    Verdict.NOT_TIMED,
)  # fmt: skip


@dataclass
class _Row:
    """A candidate on the way to its verdict."""

    pair: WorkloadPair
    key: str
    a: SideEvidence
    b: SideEvidence
    timing: Timing | None = None


def compare_candidates(pairs: Sequence[WorkloadPair], rule: Rule) -> tuple[list[Comparison], list[ChoiceComparison]]:
    """Verdicts of all candidates, the most important first, and of all choices."""
    names = places([pair.workload for pair in pairs])
    rows = [
        _Row(pair, key, side_evidence(pair.a, results_a), side_evidence(pair.b, results_b))
        for pair in pairs
        for key, results_a, results_b in pair.candidates()
    ]
    scale_a = session_scale([(row.a.rounds, row.a.typical) for row in rows if row.a.rounds])
    scale_b = session_scale([(row.b.rounds, row.b.typical) for row in rows if row.b.rounds])
    floors = {id(pair): noise(pair) for pair in pairs}
    for row in rows:
        row.timing = _timing(row, scale_a, scale_b, floors[id(row.pair)])
    timed = [row for row in rows if row.timing is not None]
    decisions = dict(
        zip((id(row) for row in timed), decide([row.timing for row in timed if row.timing], rule), strict=True)
    )
    comparisons = []
    by_workload: dict[int, dict[str, _Row]] = {}
    for row in rows:
        by_workload.setdefault(id(row.pair), {})[row.key] = row
        decision = decisions.get(id(row)) or _without_times(row)
        comparisons.append(_comparison(row, decision, names[row.pair.workload.key]))
    comparisons.sort(key=_importance)
    choices = [
        _choice(
            pair, by_workload.get(id(pair), {}), names[pair.workload.key], floors[id(pair)], rule, (scale_a, scale_b)
        )
        for pair in pairs
    ]
    return comparisons, choices


def _timing(row: _Row, scale_a: float, scale_b: float, floor: float) -> Timing | None:
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


def _comparison(row: _Row, decision: Decision, place: str) -> Comparison:
    shown = row.b.newest or row.a.newest
    assert shown is not None
    chosen = "".join(
        name
        for name, side in (("A", row.pair.a), ("B", row.pair.b))
        if side[-1].result.choice is not None and side[-1].result.choice.winner == row.key
    )
    return Comparison(
        workload=row.pair.workload.key,
        place=place,
        operation=row.pair.workload.operation,
        candidate=row.key,
        label=shown.label or row.key,
        default=shown.default,
        chosen=chosen,
        decision=decision,
        status_a=row.a.status,
        status_b=row.b.status,
        detail=shown.reason if decision.verdict in (Verdict.STATUS, Verdict.ONLY_A, Verdict.ONLY_B) else None,
        a_us=row.a.middle,
        b_us=row.b.middle,
        rounds=(sum(map(len, row.a.rounds)), sum(map(len, row.b.rounds))),
        sessions=(len(row.a.rounds), len(row.b.rounds)),
    )


def _importance(comparison: Comparison) -> tuple[int, bool, float, str, str]:
    """By verdict; what a side chose before what it didn't; the larger change first."""
    decision = comparison.decision
    worse = 0 if Reason.STATUS_WORSE in decision.reasons else 1
    ratio = decision.ratio or 1.0
    return (
        2 * _ORDER.index(comparison.verdict) + (worse if comparison.verdict == Verdict.STATUS else 0),
        not (comparison.chosen or comparison.default),
        -max(ratio, 1.0 / ratio),
        comparison.workload,
        comparison.candidate,
    )


def _choice(
    pair: WorkloadPair, rows: dict[str, _Row], place: str, floor: float, rule: Rule, scales: tuple[float, float]
) -> ChoiceComparison:
    sides = [[_picked(session) for session in side] for side in (pair.a, pair.b)]
    decision = judge_choice(sides[0], sides[1], max(rule.threshold, floor), RIGHT)
    old = rows[decision.a].a if decision.a else None
    new = rows[decision.b].b if decision.b else None
    ratio, interval = _chosen_ratio(old, new, rule, scales)
    return ChoiceComparison(
        workload=pair.workload.key,
        place=place,
        operation=pair.workload.operation,
        decision=decision,
        label_a=_label(old),
        label_b=_label(new),
        a_us=old.middle if old else None,
        b_us=new.middle if new else None,
        ratio=ratio,
        interval=interval,
    )


def _chosen_ratio(
    old: SideEvidence | None, new: SideEvidence | None, rule: Rule, scales: tuple[float, float]
) -> tuple[float | None, tuple[float, float] | None]:
    """Time of B's winner in B over that of A's winner in A."""
    if old is None or new is None or not old.rounds or not new.rounds:
        return None, None
    if old.measurements == new.measurements:
        return 1.0, (1.0, 1.0)
    before, after = estimate(old.rounds, old.typical, scales[0]), estimate(new.rounds, new.typical, scales[1])
    found = difference(before, after, rule.coverage)
    return ratio_of(found.value), (ratio_of(found.low), ratio_of(found.high))


def _label(side: SideEvidence | None) -> str | None:
    return None if side is None or side.newest is None else side.newest.label or side.newest.key


def _picked(session: Session) -> Picked:
    choice = session.result.choice
    candidates = session.result.candidates
    return Picked(
        winner=choice.winner if choice else None,
        tie_set=choice.tie_set if choice else (),
        times={c.key: dict(zip(c.rounds, c.rounds_us, strict=True)) for c in candidates if c.rounds_us},
        rough={c.key: c.rough_us for c in candidates if c.rough_us and c.status in RIGHT},
        statuses={c.key: c.status for c in candidates},
    )
