"""Compare FlashInfer's autotuner caches: the choices and the metadata. There are no times in them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.choices import ChoiceDecision, ChoiceReason, ChoiceVerdict
from autotune_cli.comparing.flashinfer_cache import FlashinferCache, field_differences
from autotune_cli.comparing.flashinfer_store import ENTRIES
from autotune_cli.comparing.ground import Effect, GroundDifference
from autotune_cli.comparing.records import ChoiceComparison, FileInfo, Kind, Report, Side
from autotune_cli.comparing.verdicts import Rule
from autotune_cli.fields import Field, Message

NO_TIMES = "FlashInfer's caches hold choices and no times: there are no times to compare"
# More damaged entries than this are counted.
_LISTED = 8


def compare_caches(
    a: Sequence[FlashinferCache], b: Sequence[FlashinferCache], rule: Rule, allowed: frozenset[str]
) -> Report:
    """The report on B's choices against A's. Of several files a side, later ones' choices count."""
    left, right = _merged(a), _merged(b)
    ground = [
        GroundDifference(field, (old,), (new,), _effect(field, allowed), 0)
        for field, old, new in field_differences(left.metadata, right.metadata)
    ]
    common = [key for key in left.choices if key in right.choices]
    ground += _policies(left, right, common)
    ground.sort(key=lambda item: (item.effect != Effect.BLOCKS, item.field != "gpu"))
    refusal: str | None = None
    if any(item.effect == Effect.BLOCKS for item in ground):
        refusal = Message("the GPU differs; {allowed} compares all the same", allowed=Field("allow_different", "gpu"))
    elif not left.choices or not right.choices:
        refusal = f"{'A' if not left.choices else 'B'} holds no choices"
    elif not common:
        refusal = "no choice in common: every operation or shape is on one side only"
    choices = [] if refusal else [_choice(key, left.choices[key], right.choices[key]) for key in common]
    choices.sort(key=lambda choice: choice.decision.verdict != ChoiceVerdict.CHANGED)
    return Report(
        kind=Kind.CHOICES,
        a=Side(_infos(a), len(left.choices)),
        b=Side(_infos(b), len(right.choices)),
        rule=rule,
        ground=tuple(ground),
        notes=(NO_TIMES, *_unread("A", a), *_unread("B", b)),
        refusal=refusal,
        comparisons=(),
        choices=tuple(choices),
        means=(),
        only_a=tuple(key for key in left.choices if key not in right.choices),
        only_b=tuple(key for key in right.choices if key not in left.choices),
        sessions=(0, 0),
        comparable=len(common),
    )


def _merged(caches: Sequence[FlashinferCache]) -> FlashinferCache:
    choices: dict[str, str] = {}
    metadata: dict[str, str] = {}
    policies: dict[str, dict[str, str]] = {}
    for cache in caches:
        choices |= cache.choices
        metadata |= cache.metadata
        policies = {key: fields for key, fields in policies.items() if key not in cache.choices} | cache.policies
    return FlashinferCache(caches[-1].path, metadata, choices, policies)


def _policies(a: FlashinferCache, b: FlashinferCache, keys: Sequence[str]) -> list[GroundDifference]:
    """In what the measuring of choices in both differed, where both sides say how they measured."""
    apart: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        if key in a.policies and key in b.policies:
            for field, old, new in field_differences(a.policies[key], b.policies[key]):
                apart.setdefault(field, []).append((old, new))
    found = []
    for field, pairs in apart.items():
        old_values, new_values = (tuple(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
        found.append(GroundDifference(field, old_values, new_values, Effect.SHOWN, len(pairs)))
    return found


def _unread(side: str, caches: Sequence[FlashinferCache]) -> list[str]:
    notes = []
    for cache in caches:
        if cache.unread:
            more = f" and {len(cache.unread) - _LISTED} more" if len(cache.unread) > _LISTED else ""
            what = "entry is" if len(cache.unread) == 1 else "entries are"
            notes.append(
                f"{side}: {len(cache.unread)} {what} damaged and left out, as FlashInfer does: "
                f"{', '.join(cache.unread[:_LISTED])}{more} in {cache.path / ENTRIES}"
            )
    return notes


def _effect(field: str, allowed: frozenset[str]) -> Effect:
    if field != "gpu":
        return Effect.SHOWN
    return Effect.ALLOWED if "gpu" in allowed else Effect.BLOCKS


def _choice(key: str, old: str, new: str) -> ChoiceComparison:
    same = old == new
    verdict = ChoiceVerdict.UNCHANGED if same else ChoiceVerdict.CHANGED
    reasons = (ChoiceReason.SAME_WINNER,) if same else (ChoiceReason.NO_TIMES,)
    decision = ChoiceDecision(verdict, reasons, old, new)
    operation = key.lstrip("(").split(",", 1)[0].strip("'\" ") or key
    return ChoiceComparison(key, key, operation, decision, old, new, None, None, None, None)


def _infos(caches: Sequence[FlashinferCache]) -> tuple[FileInfo, ...]:
    return tuple(FileInfo(str(cache.path), cache.path.stem, "", "FlashInfer", None, True) for cache in caches)
