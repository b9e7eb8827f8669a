"""Compare files of other programs: the choices and the metadata. There are no times in them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.choices import ChoiceDecision, ChoiceReason
from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.environment import Effect, EnvironmentDifference
from autotune_cli.comparing.foreign.choices import GPU, ForeignChoices, field_differences
from autotune_cli.comparing.records import ChoiceComparison, FileInfo, Report, ReportKind, Side
from autotune_cli.comparing.verdicts import ChoiceVerdict
from autotune_cli.fields import Field, Message

# More damaged entries than this are counted.
_LISTED = 8


def compare_choices(
    a: Sequence[ForeignChoices], b: Sequence[ForeignChoices], rule: DecisionRule, allowed: frozenset[str]
) -> Report:
    """The report on B's choices against A's. Of several files a side, later ones' choices count."""
    left, right = _merged(a), _merged(b)
    environment = [
        EnvironmentDifference(field, (old,), (new,), _effect(field, allowed), 0)
        for field, old, new in field_differences(left.metadata, right.metadata)
    ]
    common = [key for key in left.choices if key in right.choices]
    environment += _policies(left, right, common)
    environment.sort(key=lambda item: (item.effect != Effect.BLOCKS, item.field != GPU))
    refusal: str | None = None
    if any(item.effect == Effect.BLOCKS for item in environment):
        refusal = Message("the GPU differs; {allowed} compares all the same", allowed=Field("allow_different", "gpu"))
    elif not left.choices or not right.choices:
        refusal = f"{'A' if not left.choices else 'B'} holds no choices"
    elif not common:
        refusal = "no choice in common: every operation or shape is on one side only"
    choices = [] if refusal else [_choice(key, left.choices[key], right.choices[key]) for key in common]
    choices.sort(key=lambda choice: choice.decision.rank)
    return Report(
        kind=ReportKind.CHOICES,
        a=Side(file_infos(a), len(left.choices)),
        b=Side(file_infos(b), len(right.choices)),
        rule=rule,
        environment=tuple(environment),
        notes=(_no_times(a[0].program), *_unread("A", a), *_unread("B", b)),
        refusal=refusal,
        comparisons=(),
        choices=tuple(choices),
        means=(),
        only_a=tuple(key for key in left.choices if key not in right.choices),
        only_b=tuple(key for key in right.choices if key not in left.choices),
        sessions=(0, 0),
        comparable=len(common),
    )


def file_infos(files: Sequence[ForeignChoices]) -> tuple[FileInfo, ...]:
    """What a report says of the files of a side."""
    return tuple(FileInfo(str(file.path), file.path.stem, "", file.program, None, True) for file in files)


def _no_times(program: str) -> str:
    return f"{program}'s caches hold choices and no times: there are no times to compare"


def _merged(files: Sequence[ForeignChoices]) -> ForeignChoices:
    choices: dict[str, str] = {}
    metadata: dict[str, str] = {}
    policies: dict[str, dict[str, str]] = {}
    for file in files:
        choices |= file.choices
        metadata |= file.metadata
        policies = {key: fields for key, fields in policies.items() if key not in file.choices} | file.policies
    return ForeignChoices(files[-1].path, files[-1].program, metadata, choices, policies)


def _policies(a: ForeignChoices, b: ForeignChoices, keys: Sequence[str]) -> list[EnvironmentDifference]:
    """In what the measuring of choices in both differed, where both sides say how they measured."""
    apart: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        if key in a.policies and key in b.policies:
            for field, old, new in field_differences(a.policies[key], b.policies[key]):
                apart.setdefault(field, []).append((old, new))
    found = []
    for field, pairs in apart.items():
        old_values, new_values = (tuple(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
        found.append(EnvironmentDifference(field, old_values, new_values, Effect.SHOWN, len(pairs)))
    return found


def _unread(side: str, files: Sequence[ForeignChoices]) -> list[str]:
    notes = []
    for file in files:
        if file.unread:
            more = f" and {len(file.unread) - _LISTED} more" if len(file.unread) > _LISTED else ""
            what = "entry is" if len(file.unread) == 1 else "entries are"
            notes.append(
                f"{side}: {len(file.unread)} {what} damaged and left out, as {file.program} does: "
                f"{', '.join(file.unread[:_LISTED])}{more} in {file.unread_in or file.path}"
            )
    return notes


def _effect(field: str, allowed: frozenset[str]) -> Effect:
    if field != GPU:
        return Effect.SHOWN
    return Effect.ALLOWED if GPU in allowed else Effect.BLOCKS


def _choice(key: str, old: str, new: str) -> ChoiceComparison:
    same = old == new
    verdict = ChoiceVerdict.UNCHANGED if same else ChoiceVerdict.CHANGED
    reasons = (ChoiceReason.SAME_WINNER,) if same else (ChoiceReason.NO_TIMES,)
    decision = ChoiceDecision(verdict, reasons, old, new)
    operation = key.lstrip("(").split(",", 1)[0].strip("'\" ") or key
    return ChoiceComparison(key, key, operation, decision, old, new, None, None, None, None)
