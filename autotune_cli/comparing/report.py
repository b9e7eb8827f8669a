"""Compare two sides: files in, one :class:`~autotune_cli.comparing.records.Report` out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from autotune_cli.comparing.candidates import compare_candidates
from autotune_cli.comparing.flashinfer_cache import FlashinferCache
from autotune_cli.comparing.foreign import compare_caches
from autotune_cli.comparing.ground import Effect, GroundDifference, blocking_name, differences, fields_of, file_fields
from autotune_cli.comparing.join import Joined, Session, WorkloadPair, join, sessions_of
from autotune_cli.comparing.loading import Source
from autotune_cli.comparing.means import LogRatio, log_mean
from autotune_cli.comparing.records import ChoiceComparison, Comparison, FileInfo, Kind, Mean, Report, Side
from autotune_cli.comparing.statistics import ratio_of
from autotune_cli.comparing.verdicts import Rule
from autotune_cli.fields import Field, Message
from autotune_cli.results.integrity import doubts
from autotune_cli.results.schema import RunFile


def compare(
    a: Sequence[Source], b: Sequence[Source], rule: Rule | None = None, allowed: frozenset[str] = frozenset()
) -> Report:
    """The report on B against A. What can't be compared is a report too, with a refusal instead of verdicts.

    Args:
        a: files of one kind, see :func:`autotune_cli.comparing.loading.load_side`; not empty.
        allowed: see :func:`autotune_cli.comparing.ground.allowed_fields`.
    """
    rule = rule or Rule()
    kinds = [isinstance(side[0].content, FlashinferCache) for side in (a, b)]
    if all(kinds):
        return compare_caches(_caches(a), _caches(b), rule, allowed)
    if any(kinds):
        which = "A" if kinds[0] else "B"
        sides = Side(_infos(a), 0), Side(_infos(b), 0)
        refusal = f"{which} is a FlashInfer cache (choices only, of other operations) and the other side is a run"
        return Report(Kind.CHOICES, *sides, rule, (), (), refusal, (), (), (), (), (), (0, 0), 0)
    return _compare_runs(_runs(a), _runs(b), rule, allowed)


def _compare_runs(
    a: Sequence[tuple[Path, RunFile]], b: Sequence[tuple[Path, RunFile]], rule: Rule, allowed: frozenset[str]
) -> Report:
    (left, copies_a), (right, copies_b) = sessions_of(a), sessions_of(b)
    joined = join(left, right, "gpu" in allowed, "mode" in allowed)
    memory: dict[tuple[int, str], dict[str, str]] = {}
    ground = differences(
        [([_fields(s, memory) for s in pair.a], [_fields(s, memory) for s in pair.b]) for pair in joined.pairs],
        ([run.name for _, run in a], [run.name for _, run in b]),
        allowed,
    )
    ground = [*_unmatched_ground(joined, left, right), *ground]
    refusal = _refusal(joined, ground, left, right)
    comparisons: list[Comparison] = []
    choices: list[ChoiceComparison] = []
    if refusal is None:
        comparisons, choices = compare_candidates(joined.pairs, rule)
    notes = _notes(joined, a, b, (copies_a, copies_b))
    most = tuple(max((len(side) for side in sides), default=0) for sides in zip(*_sizes(joined), strict=True))
    return Report(
        kind=_kind(joined),
        a=Side(_file_infos(a), len({s.result.key for s in left})),
        b=Side(_file_infos(b), len({s.result.key for s in right})),
        rule=rule,
        ground=tuple(ground),
        notes=tuple(notes),
        refusal=refusal,
        comparisons=tuple(comparisons),
        choices=tuple(choices),
        means=tuple(_means(comparisons, choices, rule)),
        only_a=joined.only_a,
        only_b=joined.only_b,
        sessions=(most[0], most[1]) if most else (0, 0),
        comparable=len(joined.pairs),
    )


def _sizes(joined: Joined) -> list[tuple[tuple[Session, ...], tuple[Session, ...]]]:
    return [(pair.a, pair.b) for pair in joined.pairs]


def _kind(joined: Joined) -> Kind:
    repeated = {len(pair.a) > 1 and len(pair.b) > 1 for pair in joined.pairs}
    return Kind.SINGLE if repeated <= {False} else Kind.REPEATED if repeated == {True} else Kind.MIXED


def _fields(session: Session, memory: dict[tuple[int, str], dict[str, str]]) -> dict[str, str]:
    """Fields of a session. What is its file's is kept: thousands of workloads are compared field by field."""
    key = (id(session.run), session.result.environment)
    if key not in memory:
        memory[key] = file_fields(session.run, session.result.environment)
    return fields_of(session.result, memory[key])


def _unmatched_ground(joined: Joined, a: Sequence[Session], b: Sequence[Session]) -> list[GroundDifference]:
    """Why workloads that look alike were not matched: another device, another mode."""
    rows = []
    if not joined.pairs and joined.devices_only:
        keys = set(joined.devices_only)
        devices = [tuple(dict.fromkeys(_device(s) for s in side if s.result.key in keys)) for side in (a, b)]
        rows.append(GroundDifference("device", devices[0], devices[1], Effect.BLOCKS, len(keys)))
    if not joined.pairs and joined.modes_only:
        modes = [tuple(sorted({s.result.workload.mode for s in side})) for side in (a, b)]
        rows.append(GroundDifference("mode", modes[0], modes[1], Effect.BLOCKS, len(joined.modes_only)))
    return rows


def _device(session: Session) -> str:
    kind, name, multiprocessors, threads = session.device
    return f"{name}, {threads} threads" if kind == "cpu" else f"{name}, {multiprocessors} multiprocessors"


def _refusal(
    joined: Joined, ground: Sequence[GroundDifference], a: Sequence[Session], b: Sequence[Session]
) -> str | None:
    blocked = list(dict.fromkeys(_name(item.field) for item in ground if item.effect == Effect.BLOCKS))
    if blocked:
        names = ",".join(blocked)
        what = {"gpu": "the GPU", "l2": "the cache state", "method": "the way of measuring"}
        said = " and ".join(what.get(name, f"the {name}") for name in blocked)
        differ = "differs" if len(blocked) == 1 else "differ"
        allowed = Field("allow_different", names)
        return Message("{said} {differ}; {allowed} compares all the same", said=said, differ=differ, allowed=allowed)
    if joined.pairs:
        return None
    for name, side in (("A", a), ("B", b)):
        if not side:
            return f"{name} has no workloads"
    example = f"A has {joined.only_a[0]!r}, B has {joined.only_b[0]!r}" if joined.only_a and joined.only_b else ""
    return f"no workload in common ({example})"


def _name(field: str) -> str:
    return blocking_name(field) or field


def _notes(
    joined: Joined, a: Sequence[tuple[Path, RunFile]], b: Sequence[tuple[Path, RunFile]], copies: tuple[int, int]
) -> list[str]:
    notes = []
    for side, files, left_out in (("A", a, copies[0]), ("B", b, copies[1])):
        notes += [f"{side}: {path} is not complete" for path, run in files if not run.complete]
        notes += [f"{side}: {path}: {line}" for path, run in files for line in doubts(run)]
        if left_out:
            notes.append(f"{side}: {left_out} results are copies of others (the same measurement) and count once")
    if joined.pairs and joined.devices_only:
        notes.append(f"{len(joined.devices_only)} workloads are there for different devices only and are left out")
    if joined.pairs and joined.modes_only and len(joined.only_a) + len(joined.only_b) > 0:
        left = [key for key in joined.modes_only if key in set(joined.only_a)]
        if left:
            text = "{count} workloads are there in different modes only; {allowed} matches them"
            notes.append(Message(text, count=len(left), allowed=Field("allow_different", "mode")))
    others = sum(not pair.same_card for pair in joined.pairs)
    if others:
        notes.append(
            f"{others} workloads: not measured on the same card, or not known to be; a few per cent may be the cards'"
        )
    shared = sum(_share_measurements(pair) for pair in joined.pairs)
    if shared:
        notes.append(f"{shared} workloads share measurements between A and B, which hides differences")
    return notes


def _share_measurements(pair: WorkloadPair) -> bool:
    """Are some sessions on both sides, though not all?"""
    # The time of day tells most of them apart without a look at their rounds.
    if {s.result.measured_at for s in pair.a}.isdisjoint([s.result.measured_at for s in pair.b]):
        return False
    a, b = ({s.measurement for s in side} for side in (pair.a, pair.b))
    return not a.isdisjoint(b) and a != b


def _means(comparisons: Sequence[Comparison], choices: Sequence[ChoiceComparison], rule: Rule) -> list[Mean]:
    rows: dict[str, list[tuple[str, LogRatio]]] = {"candidates": [], "chosen": []}
    for comparison in comparisons:
        decision = comparison.decision
        if decision.ratio is not None and decision.interval is not None:
            ratio = _log(comparison.workload, decision.ratio, decision.interval)
            rows["candidates"].append((comparison.operation, ratio))
    for choice in choices:
        if choice.ratio is not None and choice.interval is not None:
            rows["chosen"].append((choice.operation, _log(choice.workload, choice.ratio, choice.interval)))
    means = []
    for of, found in rows.items():
        operations = list(dict.fromkeys(operation for operation, _ in found))
        for operation in [*([None] if operations else []), *(operations if len(operations) > 1 else [])]:
            ratios = [ratio for name, ratio in found if operation in (None, name)]
            mean = log_mean(ratios, rule.coverage)
            if mean is not None:
                value, low, high = (ratio_of(number) for number in mean)
                workloads = len({ratio.workload for ratio in ratios})
                means.append(Mean(of, operation, value, low, high, workloads, len(ratios)))
    return means


def _log(workload: str, ratio: float, interval: tuple[float, float]) -> LogRatio:
    return LogRatio(workload, math.log(ratio), 0.5 * math.log(interval[1] / interval[0]))


def _caches(side: Sequence[Source]) -> list[FlashinferCache]:
    return [source.content for source in side if isinstance(source.content, FlashinferCache)]


def _runs(side: Sequence[Source]) -> list[tuple[Path, RunFile]]:
    return [(source.path, source.content) for source in side if isinstance(source.content, RunFile)]


def _file_infos(files: Sequence[tuple[Path, RunFile]]) -> tuple[FileInfo, ...]:
    return tuple(
        FileInfo(str(path), run.name, run.created, run.program, run.noise_floor, run.complete) for path, run in files
    )


def _infos(side: Sequence[Source]) -> tuple[FileInfo, ...]:
    caches = _caches(side)
    if caches:
        return tuple(FileInfo(str(cache.path), cache.path.stem, "", "FlashInfer", None, True) for cache in caches)
    return _file_infos(_runs(side))
