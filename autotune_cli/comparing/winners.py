"""The winner of every matched workload: the numbers and the verdict on its change."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.choices import SessionChoice, judge_choice
from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.evidence import RIGHT, SideEvidence
from autotune_cli.comparing.join import SessionResult
from autotune_cli.comparing.matched import CandidatePair, MatchedWorkload
from autotune_cli.comparing.records import ChoiceComparison
from autotune_cli.comparing.statistics import difference, estimate, ratio_of


def compare_winners(
    workloads: Sequence[MatchedWorkload], rule: DecisionRule, scales: tuple[float, float]
) -> list[ChoiceComparison]:
    """One comparison a workload, in the order given.

    Args:
        workloads: as :func:`autotune_cli.comparing.candidates.compare_candidates` left them.
        scales: how far the sessions of A and of B scatter.
    """
    return [_compared(workload, rule, scales) for workload in workloads]


def _compared(workload: MatchedWorkload, rule: DecisionRule, scales: tuple[float, float]) -> ChoiceComparison:
    pair, candidates = workload.pair, workload.candidates
    wanted = frozenset(s.result.choice.winner for s in (*pair.a, *pair.b) if s.result.choice)
    sides = [[session_choice(session, wanted) for session in side] for side in (pair.a, pair.b)]
    decision = judge_choice(sides[0], sides[1], max(rule.threshold, workload.noise), RIGHT)
    before = candidates[decision.a] if decision.a else None
    after = candidates[decision.b] if decision.b else None
    ratio, interval = _ratio(before, after, rule, scales)
    old = before.a if before else None
    new = after.b if after else None
    return ChoiceComparison(
        workload=workload.key,
        workload_label=workload.label,
        operation=workload.operation,
        decision=decision,
        label_a=_label(old),
        label_b=_label(new),
        a_us=old.middle if old else None,
        b_us=new.middle if new else None,
        ratio=ratio,
        interval=interval,
    )


def _ratio(
    before: CandidatePair | None, after: CandidatePair | None, rule: DecisionRule, scales: tuple[float, float]
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


def session_choice(session: SessionResult, wanted: frozenset[str]) -> SessionChoice:
    """The choice of a session, with what it knows of the winners of all sessions."""
    choice = session.result.choice
    candidates = [candidate for candidate in session.result.candidates if candidate.key in wanted]
    return SessionChoice(
        winner=choice.winner if choice else None,
        tie_set=choice.tie_set if choice else (),
        times={c.key: c.us_by_round for c in candidates if c.rounds_us},
        rough={c.key: c.rough_us for c in candidates if c.rough_us and c.status in RIGHT},
        statuses={c.key: c.status for c in candidates},
    )
