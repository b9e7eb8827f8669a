"""Compare FlashInfer's autotuner caches: the choices and the metadata. There are no times in them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_cli.comparing.choices import ChoiceDecision, ChoiceReason, ChoiceVerdict
from autotune_cli.comparing.flashinfer_cache import FlashinferCache, metadata_differences
from autotune_cli.comparing.ground import Effect, GroundDifference
from autotune_cli.comparing.records import ChoiceComparison, FileInfo, Kind, Report, Side
from autotune_cli.comparing.verdicts import Rule

NO_TIMES = "FlashInfer's cache files hold choices and no times: there are no times to compare"


def compare_caches(
    a: Sequence[FlashinferCache], b: Sequence[FlashinferCache], rule: Rule, allowed: frozenset[str]
) -> Report:
    """The report on B's choices against A's. Of several files a side, later ones' choices count."""
    left, right = _merged(a), _merged(b)
    ground = [
        GroundDifference(field, (old,), (new,), _effect(field, allowed), 0)
        for field, old, new in metadata_differences(left, right)
    ]
    ground.sort(key=lambda item: (item.effect != Effect.BLOCKS, item.field != "gpu"))
    common = [key for key in left.choices if key in right.choices]
    refusal = None
    if any(item.effect == Effect.BLOCKS for item in ground):
        refusal = "the GPU differs; --allow-different gpu compares all the same"
    elif not left.choices or not right.choices:
        refusal = f"{'A' if not left.choices else 'B'} holds no choices"
    elif not common:
        refusal = "no choice in common: every operation or shape is in one file only"
    choices = [] if refusal else [_choice(key, left.choices[key], right.choices[key]) for key in common]
    choices.sort(key=lambda choice: choice.decision.verdict != ChoiceVerdict.CHANGED)
    return Report(
        kind=Kind.CHOICES,
        a=Side(_infos(a), len(left.choices)),
        b=Side(_infos(b), len(right.choices)),
        rule=rule,
        ground=tuple(ground),
        notes=(NO_TIMES,),
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
    for cache in caches:
        choices |= cache.choices
        metadata |= cache.metadata
    return FlashinferCache(caches[-1].path, metadata, choices)


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
