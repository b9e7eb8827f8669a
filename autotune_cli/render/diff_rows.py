"""The rows of a comparison: which there are, in which order, and what stands in their cells. No terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from autotune_cli.comparing.decisions import Reason
from autotune_cli.comparing.records import ChoiceComparison, Comparison, Report
from autotune_cli.comparing.verdicts import ChangeVerdict, ChoiceVerdict, Shown, Subject, Tone
from autotune_cli.render.diff_words import (
    change,
    choice_reasons,
    p_value,
    percent_change,
    plain_word,
    reasons,
    role,
    times,
)
from autotune_cli.render.text import microseconds, plural

# A candidate that is in one side only, or whose status changed, in more workloads than this is one row.
_EACH = 2
# More rows than this of candidates that one side has and that no side chose are one row: what was asked for differs, as
# by --backend, and that says nothing of the single candidate.
_ONLY = 3
# Backends that such a row names.
_BACKENDS = 4


@dataclass(frozen=True)
class DiffRow:
    """One row, for tables and markdown alike."""

    word: str
    tone: Tone
    workload: str
    what: str
    """The candidate, or the old and the new winner."""
    times: str = ""
    change: str = ""
    note: str = ""


def rows_of(report: Report, every: bool = False) -> list[DiffRow]:
    """The rows, the most important first: what got worse, choices, what got better, what is unclear, what is new.

    Args:
        every: also those of which the total says enough, and each candidate on a row of its own.
    """
    if every:
        rows = [(each.decision.rank, _candidate_row([each])) for each in report.comparisons]
    else:
        rows = _with_folded(_grouped([each for each in report.comparisons if _is_shown(each)]))
    choices = [each for each in report.choices if every or each.decision.verdict.row.shown is Shown.ALWAYS]
    # Within a rank the report's order stays.
    rows += [(choice.decision.rank, _choice_row(choice)) for choice in choices]
    return [row for _, row in sorted(rows, key=lambda each: each[0])]


def _is_shown(comparison: Comparison) -> bool:
    """Without ``--all``."""
    chosen = bool(comparison.chosen) or comparison.default
    shown = comparison.verdict.row.shown
    match shown:
        case Shown.ALWAYS:
            return True
        case Shown.IF_CHOSEN:
            return chosen
        case Shown.UNLESS_SMALL:
            found = comparison.decision.reasons
            return chosen or (Reason.BELOW_THRESHOLD not in found and Reason.FEW_ROUNDS not in found)
        case Shown.WITH_ALL:
            return False
        case _:
            assert_never(shown)


def _grouped(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Presence and status of a candidate in many workloads as one row."""
    groups: dict[object, list[Comparison]] = {}
    for index, comparison in enumerate(comparisons):
        key: object = index
        if comparison.verdict.row.subject is not Subject.TIMES:
            key = (comparison.verdict, comparison.candidate, comparison.status_a, comparison.status_b)
        groups.setdefault(key, []).append(comparison)
    found = []
    for group in groups.values():
        found += [group] if len(group) > _EACH else [[comparison] for comparison in group]
    return found


def _with_folded(groups: Sequence[list[Comparison]]) -> list[tuple[int, DiffRow]]:
    """A row each with its rank, and one row for all that are in one side only, if they are many."""
    rows = []
    folded: dict[ChangeVerdict, list[list[Comparison]]] = {
        verdict: [] for verdict in ChangeVerdict if verdict.row.subject is Subject.PRESENCE
    }
    for group in groups:
        first = group[0]
        if first.verdict in folded and not (first.chosen or first.default):
            folded[first.verdict].append(group)
        else:
            rows.append((first.decision.rank, _candidate_row(group)))
    for verdict, found in folded.items():
        if len(found) <= _ONLY:
            rows += [(group[0].decision.rank, _candidate_row(group)) for group in found]
        else:
            rows.append((verdict.row.rank, _folded_row(verdict, [one for group in found for one in group])))
    return rows


def _folded_row(verdict: ChangeVerdict, comparisons: Sequence[Comparison]) -> DiffRow:
    """``only in A  3 workloads  124 candidates of flashinfer.decode, torch.sdpa``."""
    workloads = len({comparison.workload for comparison in comparisons})
    candidates = len({comparison.candidate for comparison in comparisons})
    backends = list(dict.fromkeys(comparison.candidate.partition("(")[0] for comparison in comparisons))
    named = ", ".join(backends[:_BACKENDS])
    if len(backends) > _BACKENDS:
        named += f" and {plural(len(backends) - _BACKENDS, 'more backend')}"
    where = comparisons[0].workload_label if workloads == 1 else f"{workloads} workloads"
    what = f"{plural(candidates, 'candidate')} of {named}"
    return DiffRow(_word(verdict), verdict.row.tone, where, what, note="--all lists them")


def _candidate_row(group: Sequence[Comparison]) -> DiffRow:
    first = group[0]
    workload = first.workload_label if len(group) == 1 else f"{len(group)} workloads"
    return DiffRow(_word(first.verdict), first.verdict.row.tone, workload, first.label + role(first), *_cells(group))


def _cells(group: Sequence[Comparison]) -> tuple[str, str, str]:
    """Times, change and note."""
    first, decision = group[0], group[0].decision
    subject = first.verdict.row.subject
    match subject:
        case Subject.STATUS:
            note = first.detail or ""
            if len(group) > 1 and note:
                note = f"such as {first.workload_label}: {note}"
            return "", f"{plain_word(first.status_a)} -> {plain_word(first.status_b)}", note
        case Subject.PRESENCE:
            return "", plain_word(first.status_a or first.status_b), first.detail or ""
        case Subject.TIMES | Subject.CHOICE:
            return times(first), change(decision.ratio, decision.interval), _times_note(first)
        case _:
            assert_never(subject)


def _times_note(comparison: Comparison) -> str:
    """How certain a change is, or why there is none."""
    decision = comparison.decision
    proven = comparison.verdict.row.tone in (Tone.WORSE, Tone.BETTER)
    note = p_value(decision.p) if decision.p is not None and proven else reasons(decision.reasons)
    # How far off a candidate was that did not come into the race says more.
    if comparison.detail and (decision.ratio is None or Reason.ROUGH in decision.reasons):
        return comparison.detail
    return note


def _choice_row(choice: ChoiceComparison) -> DiffRow:
    decision = choice.decision
    word, row = _word(decision.verdict), decision.verdict.row
    if row.shown is not Shown.ALWAYS:
        return DiffRow(word, row.tone, choice.workload_label, choice.label_b or "none", note=decision.verdict)
    what = f"{choice.label_a or 'none'} -> {choice.label_b or 'none'}"
    notes = choice_reasons(decision.reasons)
    news = row.tone is Tone.NEWS
    if news and decision.gain is not None:
        verb = "gains" if decision.gain >= 1.0 else "costs"
        notes.insert(0, f"{verb} {percent_change(max(decision.gain, 1.0 / decision.gain)).lstrip('+')} in B")
    shown = f"{microseconds(choice.a_us)} -> {microseconds(choice.b_us)} us" if choice.a_us and choice.b_us else ""
    ratio = change(choice.ratio, choice.interval) if news else ""
    return DiffRow(word, row.tone, choice.workload_label, what, shown, ratio, "; ".join(notes))


def _word(verdict: ChangeVerdict | ChoiceVerdict) -> str:
    return verdict.row.word or verdict
