"""The cells of a run's rows as text: the same words in a terminal's table and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.measure.conditions import clock_mhz
from autotune_cli.render import baselines
from autotune_cli.render.lengths import frozen_word
from autotune_cli.render.text import (
    batch_and_context,
    operation,
    percent,
    speedup,
    time_of,
    winner_share_of_floor,
    with_interval,
)
from autotune_cli.results.schema import CandidateResult, WorkloadResult

WORKLOAD_COLUMNS = (
    "operation", "batch", "context", "mode", "winner", "time us", "baseline us", "speed-up", "floor", "ties",
)  # fmt: skip
WINNER, TIE = "winner", "tie"
CANDIDATE_COLUMNS = ("candidate", "status", "time us", "rounds", "")


@dataclass(frozen=True)
class WorkloadRow:
    """A workload and what it came to."""

    operation: str
    batch: str
    context: str
    mode: str
    winner: str | None
    """None: no candidate was right."""
    winner_is_default: bool
    time: str
    baseline: str
    """Its time, or in a word why there is none."""
    gain: str
    """The winner's speed-up over the baseline."""
    floor: str
    """The winner's share of the roofline's floor."""
    ties: str


def workload_row(result: WorkloadResult, baseline: str | None) -> WorkloadRow:
    """The row of a workload; ``baseline``: name of the one in the table, None: the default."""
    held, choice = result.baseline(baseline), result.choice
    front = (operation(result.workload), *batch_and_context(result.workload), result.workload.mode)
    over = baselines.cell(result, baseline)
    if choice is None:
        return WorkloadRow(*front, None, False, "-", over, "-", "-", "-")
    winner = result.candidate(choice.winner)
    return WorkloadRow(
        *front,
        winner=winner.label,
        winner_is_default=winner.default,
        time=with_interval(winner.median_us, winner.interval_us),
        baseline=over,
        gain=speedup(held.speedup, held.speedup_interval) if held else "-",
        floor=percent(winner_share_of_floor(result)),
        ties=str(len(choice.tie_set)) if len(choice.tie_set) > 1 else "-",
    )


def candidate_cells(candidate: CandidateResult, result: WorkloadResult) -> tuple[str, str, str, str, str]:
    """The cells of ``CANDIDATE_COLUMNS``; the last says what stands out, and why it has its status."""
    marks = [role(result, candidate)]
    clock = clock_mhz(candidate, result.conditions) if marks[0] == WINNER else None
    marks += [f"SM clock {clock:.0f} MHz"] if clock is not None else []
    marks += [held.name for held in result.baselines if held.candidate == candidate.key]
    marks += [f"{frozen_word(result)}: {candidate.frozen}"] if candidate.frozen else []
    marks += [", ".join(verdict.name for verdict in candidate.properties if verdict.ok)]
    # One that was not raced has it as its reason.
    marks += [candidate.broken] if candidate.broken != candidate.reason else []
    marks += [candidate.reason or "", f"get it: {candidate.fix}" if candidate.fix else ""]
    rounds = str(len(candidate.rounds)) if candidate.rounds else ""
    status = candidate.status.replace("_", " ")
    return candidate.label, status, time_of(candidate), rounds, "; ".join(filter(None, marks))


def role(result: WorkloadResult, candidate: CandidateResult) -> str:
    """``winner``, ``tie`` or nothing."""
    if result.choice is None or candidate.key not in result.choice.tie_set:
        return ""
    return WINNER if candidate.key == result.choice.winner else TIE
