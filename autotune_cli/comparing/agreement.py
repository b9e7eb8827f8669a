"""Did the ranks or cards of one deployment choose the same kernels? Result files in, one verdict out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from autotune_cli.comparing.choices import judge_choice
from autotune_cli.comparing.environment import blocking_name, fields_of, file_fields
from autotune_cli.comparing.evidence import RIGHT, noise
from autotune_cli.comparing.join import DeviceKey, SessionResult, WorkloadPair
from autotune_cli.comparing.majority import majority
from autotune_cli.comparing.matched import workload_labels
from autotune_cli.comparing.verdicts import ChoiceVerdict
from autotune_cli.comparing.winners import session_choice
from autotune_cli.errors import EXIT_FAILED, EXIT_NOT_COMPARABLE, EXIT_OK
from autotune_cli.fields import Field, Message
from autotune_cli.results.identity import shown_value
from autotune_cli.results.integrity import doubts
from autotune_cli.results.schema import RunFile

NOT_RECORDED = "not recorded"
# Each rank has a card of its own.
_OF_A_RANK = frozenset({"card"})


class AgreeVerdict(StrEnum):
    """Of one workload; documented in docs/agree.md."""

    SAME = "same"
    TIED = "within the ties"
    """Other winners, and none is clearly better than another."""
    DIFFERS = "differs"
    NONE = "no choice"
    """On no rank was anything right."""


_ORDER = (AgreeVerdict.DIFFERS, AgreeVerdict.TIED, AgreeVerdict.NONE, AgreeVerdict.SAME)


class OffReason(StrEnum):
    """Why a rank is off in a workload; documented in docs/agree.md."""

    OTHER_WINNER = "other_winner"
    """Its winner clearly beats that of most ranks there, or that one can't run there."""
    NO_CHOICE = "no_choice"
    NOT_THERE = "not_there"
    """Its file doesn't have the workload."""


@dataclass(frozen=True)
class Rank:
    """One file."""

    number: int
    path: str
    devices: tuple[str, ...]
    cards: tuple[str, ...]
    """UUIDs of its GPUs, as far as they are recorded."""
    workloads: int
    complete: bool


@dataclass(frozen=True)
class Group:
    """The ranks with one winner."""

    winner: str
    """Key of the candidate."""
    label: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Off:
    """A rank that is off in a workload."""

    rank: int
    reason: OffReason
    gain: float | None = None
    """Time of the winner of most ranks over that of its own, in its own rounds."""
    gain_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class AgreedWorkload:
    """What the ranks chose for one workload."""

    workload: str
    """Key."""
    label: str
    operation: str
    verdict: AgreeVerdict
    groups: tuple[Group, ...]
    """The largest first; of two that are as large that with the lowest rank."""
    off: tuple[Off, ...]
    """Held against the first group."""
    is_majority: bool
    """Is the first group more than half of the ranks? Otherwise nobody knows which of them is off."""
    common: str | None
    """Label of a candidate that is in every rank's tie set: what all of them can run; None: there is none."""


@dataclass(frozen=True)
class OddField:
    """A part of the environment in which ranks differ."""

    field: str
    values: tuple[tuple[str, tuple[int, ...]], ...]
    """Every value with its ranks, that of most ranks first."""
    blocks: bool


@dataclass(frozen=True)
class Agreement:
    """All that is said of the ranks."""

    ranks: tuple[Rank, ...]
    environment: tuple[OddField, ...]
    notes: tuple[str, ...]
    refusal: str | None
    """Why nothing was compared; None if something was."""
    workloads: tuple[AgreedWorkload, ...]
    """Those that differ first."""

    def count(self, verdict: AgreeVerdict) -> int:
        return sum(workload.verdict is verdict for workload in self.workloads)

    @property
    def off(self) -> dict[int, int]:
        """In how many workloads each rank is off, where it is known that it is that one."""
        found = Counter(off.rank for workload in self.workloads if workload.is_majority for off in workload.off)
        return dict(sorted(found.items()))

    @property
    def exit_code(self) -> int:
        if self.refusal is not None:
            return EXIT_NOT_COMPARABLE
        return EXIT_FAILED if self.count(AgreeVerdict.DIFFERS) else EXIT_OK

    @property
    def words(self) -> str:
        """What the exit code means here."""
        if self.refusal is not None:
            return f"not comparable: {self.refusal}"
        total, differing = len(self.workloads), self.count(AgreeVerdict.DIFFERS)
        if not differing:
            tied = self.count(AgreeVerdict.TIED)
            within = f", {tied} of them within the ties" if tied else ""
            return f"{len(self.ranks)} ranks choose alike in {_workloads(total)}{within}"
        said = [f"rank {rank} is off in {count} of {_workloads(total)}" for rank, count in self.off.items()]
        open_ones = sum(w.verdict is AgreeVerdict.DIFFERS and not w.is_majority for w in self.workloads)
        if open_ones:
            said.append(f"no majority in {open_ones} of {_workloads(total)}")
        return "; ".join(said)


def _workloads(count: int) -> str:
    return f"{count} workload{'' if count == 1 else 's'}"


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
        workloads.sort(key=lambda workload: _ORDER.index(workload.verdict))
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
