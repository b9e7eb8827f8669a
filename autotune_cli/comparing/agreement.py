"""Did the ranks or cards of one deployment choose the same kernels? Result files in, one verdict out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune_cli.comparing.agreement_records import (
    ORDER,
    AgreedWorkload,
    Agreement,
    AgreeVerdict,
    Group,
    OddField,
    Off,
    OffReason,
    Rank,
)
from autotune_cli.comparing.choices import judge_choice
from autotune_cli.comparing.environment import blocking_name, fields_of, file_fields
from autotune_cli.comparing.evidence import RIGHT, noise
from autotune_cli.comparing.join import DeviceKey, SessionResult, WorkloadPair
from autotune_cli.comparing.majority import majority
from autotune_cli.comparing.matched import workload_labels
from autotune_cli.comparing.verdicts import ChoiceVerdict
from autotune_cli.comparing.winners import session_choice
from autotune_cli.fields import Field, Message
from autotune_cli.results.identity import shown_value
from autotune_cli.results.integrity import doubts
from autotune_cli.results.schema import RunFile

NOT_RECORDED = "not recorded"
# Each rank has a card of its own.
_OF_A_RANK = frozenset({"card"})


_Row = list[SessionResult | None]


def agree(
    files: Sequence[tuple[Path, RunFile]], threshold: float = 0.01, allowed: frozenset[str] = frozenset()
) -> Agreement:
    """Hold the choices of all ranks against each other.

    Args:
        files: one a rank, in the order of the ranks; two at least.
        threshold: relative: a winner that gains less is no news. Never below the noise bands that were recorded.
        allowed: see :func:`autotune_cli.comparing.environment.allowed_fields`.
    """
    rows = _rows(files)
    ranks = tuple(_rank(number, path, run) for number, (path, run) in enumerate(files))
    environment = _environment(rows, allowed)
    refusal = _refusal(rows, environment, ranks)
    workloads: list[AgreedWorkload] = []
    if refusal is None:
        labels = workload_labels([_first(row).result.workload for row in rows.values()])
        workloads = [_agreed(key, labels[key], row, threshold) for key, row in rows.items()]
        workloads.sort(key=lambda workload: ORDER.index(workload.verdict))
    return Agreement(ranks, environment, tuple(_notes(files, rows)), refusal, tuple(workloads))


def _first(row: _Row) -> SessionResult:
    return next(session for session in row if session is not None)


def _rank(number: int, path: Path, run: RunFile) -> Rank:
    devices = dict.fromkeys(run.environments[result.environment].device for result in run.workloads)
    cards = dict.fromkeys(result.card for result in run.workloads if result.card is not None)
    count = len({result.key for result in run.workloads})
    return Rank(number, str(path), tuple(devices), tuple(cards), count, run.complete)


def _rows(files: Sequence[tuple[Path, RunFile]]) -> dict[str, _Row]:
    """The result of each rank by workload. Of a file that holds several devices, that which most ranks have."""
    sessions = [[SessionResult(path, run, result) for result in run.workloads] for path, run in files]
    common = Counter[DeviceKey](device for of_rank in sessions for device in {session.device for session in of_rank})
    rows: dict[str, _Row] = {}
    for number, of_rank in enumerate(sessions):
        # The best one last: it stays.
        for session in sorted(of_rank, key=lambda session: (common[session.device], session.result.measured_at)):
            rows.setdefault(session.result.key, [None] * len(files))[number] = session
    return rows


def _agreed(key: str, label: str, row: _Row, threshold: float) -> AgreedWorkload:
    there = {number: session for number, session in enumerate(row) if session is not None}
    winners = {
        number: session.result.choice.winner for number, session in there.items() if session.result.choice is not None
    }
    operation = _first(row).result.workload.operation
    off = [Off(number, OffReason.NOT_THERE) for number, session in enumerate(row) if session is None]
    if not winners:
        verdict = AgreeVerdict.DIFFERS if off else AgreeVerdict.NONE
        return AgreedWorkload(key, label, operation, verdict, (), tuple(off), len(off) * 2 < len(row), None)
    # Backwards, as the last of several that are as frequent is taken.
    usual = majority(list(winners.values())[::-1])
    group = [number for number, winner in winners.items() if winner == usual]
    off += [Off(number, OffReason.NO_CHOICE) for number in there if number not in winners]
    off += [
        found
        for number, winner in winners.items()
        if winner != usual and (found := _held(number, [there[n] for n in group], there[number], threshold)) is not None
    ]
    verdict = AgreeVerdict.DIFFERS if off else AgreeVerdict.TIED if len(group) < len(row) else AgreeVerdict.SAME
    off.sort(key=lambda each: each.rank)
    is_majority = 2 * len(group) > len(row)
    return AgreedWorkload(
        key, label, operation, verdict, _groups(winners, there), tuple(off), is_majority, _common(row)
    )


def _held(number: int, most: Sequence[SessionResult], one: SessionResult, threshold: float) -> Off | None:
    """Is the rank off that chose otherwise? By the rule of ``autotune diff``: most ranks are its A, this one its B."""
    wanted = frozenset(s.result.choice.winner for s in (*most, one) if s.result.choice is not None)
    band = noise(WorkloadPair(tuple(most), (one,)))
    a, b = [session_choice(session, wanted) for session in most], [session_choice(one, wanted)]
    decision = judge_choice(a, b, max(threshold, band), RIGHT)
    if decision.verdict is not ChoiceVerdict.CHANGED:
        return None
    return Off(number, OffReason.OTHER_WINNER, decision.gain, decision.gain_interval)


def _groups(winners: Mapping[int, str], there: Mapping[int, SessionResult]) -> tuple[Group, ...]:
    ranks: dict[str, list[int]] = {}
    for number, winner in winners.items():
        ranks.setdefault(winner, []).append(number)
    found = [
        Group(winner, there[numbers[0]].result.candidate(winner).label or winner, tuple(numbers))
        for winner, numbers in ranks.items()
    ]
    return tuple(sorted(found, key=lambda group: (-len(group.ranks), group.ranks[0])))


def _common(row: _Row) -> str | None:
    choices = [session.result.choice for session in row if session is not None]
    known = [(choice.winner, *choice.tie_set) for choice in choices if choice is not None]
    if len(known) < len(row):
        return None
    shared = [key for key in known[0] if all(key in each for each in known)]
    return (_first(row).result.candidate(shared[0]).label or shared[0]) if shared else None


def _environment(rows: Mapping[str, _Row], allowed: frozenset[str]) -> tuple[OddField, ...]:
    """Fields in which ranks differ in some workload, those that forbid comparing first."""
    files: dict[tuple[int, str], dict[str, str]] = {}
    found: dict[str, dict[int, dict[str, None]]] = {}
    for row in rows.values():
        fields = {
            number: fields_of(session.result, _of_file(session, files))
            for number, session in enumerate(row)
            if session is not None
        }
        names = dict.fromkeys(name for each in fields.values() for name in each if name not in _OF_A_RANK)
        for name in names:
            values = {number: shown_value(name, each.get(name), NOT_RECORDED) for number, each in fields.items()}
            if len(set(values.values())) > 1:
                for number, value in values.items():
                    found.setdefault(name, {}).setdefault(number, {})[value] = None
    odd = [_odd(name, ranks, allowed) for name, ranks in found.items()]
    return tuple(sorted(odd, key=lambda each: not each.blocks))


def _of_file(session: SessionResult, files: dict[tuple[int, str], dict[str, str]]) -> dict[str, str]:
    key = id(session.run), session.result.environment
    if key not in files:
        files[key] = file_fields(session.run, session.result.environment)
    return files[key]


def _odd(name: str, ranks: Mapping[int, Mapping[str, None]], allowed: frozenset[str]) -> OddField:
    by_value: dict[str, list[int]] = {}
    for number, seen in sorted(ranks.items()):
        by_value.setdefault(", ".join(seen), []).append(number)
    listed = sorted(by_value.items(), key=lambda item: (-len(item[1]), item[1]))
    blocking = blocking_name(name)
    values = tuple((value, tuple(numbers)) for value, numbers in listed)
    return OddField(name, values, blocking is not None and blocking not in allowed)


def _refusal(rows: Mapping[str, _Row], environment: Sequence[OddField], ranks: Sequence[Rank]) -> str | None:
    for rank in ranks:
        if not rank.workloads:
            return f"rank {rank.number} ({rank.path}) has no workloads"
    blocked = list(dict.fromkeys(blocking_name(each.field) or each.field for each in environment if each.blocks))
    if blocked:
        what = {"gpu": "the GPU", "l2": "the cache state", "method": "the way of measuring"}
        said = " and ".join(what.get(name, f"the {name}") for name in blocked)
        allowed = Field("allow_different", ",".join(blocked))
        return Message("{said} differs between ranks; {allowed} compares all the same", said=said, allowed=allowed)
    if not any(sum(session is not None for session in row) > 1 for row in rows.values()):
        return "no workload in common"
    return None


def _notes(files: Sequence[tuple[Path, RunFile]], rows: Mapping[str, _Row]) -> list[str]:
    notes = [f"rank {number}: {path} is not complete" for number, (path, run) in enumerate(files) if not run.complete]
    notes += [f"rank {number}: {line}" for number, (_, run) in enumerate(files) for line in doubts(run)]
    copies: dict[tuple[object, ...], list[int]] = {}
    for number in range(len(files)):
        mine = tuple(session.measurement for row in rows.values() if (session := row[number]) is not None)
        if mine:
            copies.setdefault(mine, []).append(number)
    for numbers in copies.values():
        if len(numbers) > 1:
            notes.append(f"ranks {', '.join(map(str, numbers))} hold the same measurement: copies of one file agree")
    return notes
