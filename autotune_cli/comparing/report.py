"""Compare two sides: files in, one :class:`~autotune_cli.comparing.records.Report` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune_cli.comparing.candidates import compare_candidates
from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.environment import (
    Effect,
    EnvironmentDifference,
    blocking_name,
    differences,
    fields_of,
    file_fields,
)
from autotune_cli.comparing.foreign.choices import ForeignChoices
from autotune_cli.comparing.foreign.compare import compare_choices, file_infos
from autotune_cli.comparing.join import Joined, SessionResult, WorkloadPair, join, sessions_of
from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.matched import matched_workloads, session_scales
from autotune_cli.comparing.means import means_of
from autotune_cli.comparing.records import ChoiceComparison, Comparison, FileInfo, Report, ReportKind, Side
from autotune_cli.comparing.weights import weight_notes
from autotune_cli.comparing.winners import compare_winners
from autotune_cli.fields import Field, Message
from autotune_cli.results.integrity import doubts
from autotune_cli.results.schema import RunFile


def compare(
    a: Sequence[LoadedFile],
    b: Sequence[LoadedFile],
    rule: DecisionRule | None = None,
    allowed: frozenset[str] = frozenset(),
) -> Report:
    """The report on B against A. What can't be compared is a report too, with a refusal instead of verdicts.

    Args:
        a: files of one kind, see :func:`autotune_cli.comparing.loading.load_side`; not empty.
        allowed: see :func:`autotune_cli.comparing.environment.allowed_fields`.
    """
    rule = rule or DecisionRule()
    kinds = [isinstance(side[0].content, ForeignChoices) for side in (a, b)]
    if all(kinds):
        return compare_choices(_foreign(a), _foreign(b), rule, allowed)
    if any(kinds):
        which, program = ("A", _foreign(a)[0].program) if kinds[0] else ("B", _foreign(b)[0].program)
        sides = Side(_infos(a), 0), Side(_infos(b), 0)
        refusal = f"{which} is a {program} cache (choices only, of other operations) and the other side is a run"
        return Report(ReportKind.CHOICES, *sides, rule, (), (), refusal, (), (), (), (), (), (0, 0), 0)
    return _compare_runs(_runs(a), _runs(b), rule, allowed)


def _compare_runs(
    a: Sequence[tuple[Path, RunFile]], b: Sequence[tuple[Path, RunFile]], rule: DecisionRule, allowed: frozenset[str]
) -> Report:
    (left, copies_a), (right, copies_b) = sessions_of(a), sessions_of(b)
    joined = join(left, right, "gpu" in allowed, "mode" in allowed)
    memory: dict[tuple[int, str], dict[str, str]] = {}
    environment = differences(
        [([_fields(s, memory) for s in pair.a], [_fields(s, memory) for s in pair.b]) for pair in joined.pairs],
        ([run.name for _, run in a], [run.name for _, run in b]),
        allowed,
    )
    environment = [*_unmatched(joined, left, right), *environment]
    refusal = _refusal(joined, environment, left, right)
    comparisons: list[Comparison] = []
    choices: list[ChoiceComparison] = []
    if refusal is None:
        workloads = matched_workloads(joined.pairs)
        scales = session_scales(workloads)
        comparisons = compare_candidates(workloads, rule, scales)
        choices = compare_winners(workloads, rule, scales)
    notes = _notes(joined, a, b, (copies_a, copies_b))
    most = tuple(max((len(side) for side in sides), default=0) for sides in zip(*_sizes(joined), strict=True))
    return Report(
        kind=_kind(joined),
        a=Side(_file_infos(a), len({s.result.key for s in left})),
        b=Side(_file_infos(b), len({s.result.key for s in right})),
        rule=rule,
        environment=tuple(environment),
        notes=tuple(notes),
        refusal=refusal,
        comparisons=tuple(comparisons),
        choices=tuple(choices),
        means=tuple(means_of(comparisons, choices, rule)),
        only_a=joined.only_a,
        only_b=joined.only_b,
        sessions=(most[0], most[1]) if most else (0, 0),
        comparable=len(joined.pairs),
    )


def _sizes(joined: Joined) -> list[tuple[tuple[SessionResult, ...], tuple[SessionResult, ...]]]:
    return [(pair.a, pair.b) for pair in joined.pairs]


def _kind(joined: Joined) -> ReportKind:
    repeated = {len(pair.a) > 1 and len(pair.b) > 1 for pair in joined.pairs}
    return ReportKind.SINGLE if repeated <= {False} else ReportKind.REPEATED if repeated == {True} else ReportKind.MIXED


def _fields(session: SessionResult, memory: dict[tuple[int, str], dict[str, str]]) -> dict[str, str]:
    """Fields of a session. What is its file's is kept: thousands of workloads are compared field by field."""
    key = (id(session.run), session.result.environment)
    if key not in memory:
        memory[key] = file_fields(session.run, session.result.environment)
    return fields_of(session.result, memory[key])


def _unmatched(joined: Joined, a: Sequence[SessionResult], b: Sequence[SessionResult]) -> list[EnvironmentDifference]:
    """Why workloads that look alike were not matched: another device, another mode."""
    rows = []
    if not joined.pairs and joined.devices_only:
        keys = set(joined.devices_only)
        devices = [tuple(dict.fromkeys(_device(s) for s in side if s.result.key in keys)) for side in (a, b)]
        rows.append(EnvironmentDifference("device", devices[0], devices[1], Effect.BLOCKS, len(keys)))
    if not joined.pairs and joined.modes_only:
        modes = [tuple(sorted({s.result.workload.mode for s in side})) for side in (a, b)]
        rows.append(EnvironmentDifference("mode", modes[0], modes[1], Effect.BLOCKS, len(joined.modes_only)))
    return rows


def _device(session: SessionResult) -> str:
    kind, name, multiprocessors, threads = session.device
    return f"{name}, {threads} threads" if kind == "cpu" else f"{name}, {multiprocessors} multiprocessors"


def _refusal(
    joined: Joined, environment: Sequence[EnvironmentDifference], a: Sequence[SessionResult], b: Sequence[SessionResult]
) -> str | None:
    blocked = list(dict.fromkeys(_name(item.field) for item in environment if item.effect == Effect.BLOCKS))
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
    return notes + weight_notes(joined.pairs)


def _share_measurements(pair: WorkloadPair) -> bool:
    """Are some sessions on both sides, though not all?"""
    # The time of day tells most of them apart without a look at their rounds.
    if {s.result.measured_at for s in pair.a}.isdisjoint([s.result.measured_at for s in pair.b]):
        return False
    a, b = ({s.measurement for s in side} for side in (pair.a, pair.b))
    return not a.isdisjoint(b) and a != b


def _foreign(side: Sequence[LoadedFile]) -> list[ForeignChoices]:
    return [file.content for file in side if isinstance(file.content, ForeignChoices)]


def _runs(side: Sequence[LoadedFile]) -> list[tuple[Path, RunFile]]:
    return [(file.path, file.content) for file in side if isinstance(file.content, RunFile)]


def _file_infos(files: Sequence[tuple[Path, RunFile]]) -> tuple[FileInfo, ...]:
    return tuple(
        FileInfo(str(path), run.name, run.created, run.program, run.noise_floor, run.complete) for path, run in files
    )


def _infos(side: Sequence[LoadedFile]) -> tuple[FileInfo, ...]:
    foreign = _foreign(side)
    return file_infos(foreign) if foreign else _file_infos(_runs(side))
