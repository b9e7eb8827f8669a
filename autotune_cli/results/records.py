"""The lines of a journal (see :mod:`autotune_cli.results.journal`), and what they add up to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PositiveFloat, TypeAdapter, ValidationError, model_validator

from autotune_cli.errors import BadFile, NewerSchema
from autotune_cli.reading import Unreadable, reject_constant, short_number
from autotune_cli.results.explain_errors import problems
from autotune_cli.results.files import prepared
from autotune_cli.results.schema import CandidateResult, Conditions, Environment, FileRecord, Settings, WorkloadResult

JOURNAL_VERSION: Final = 1


class JournalHeader(FileRecord):
    """The first line: what is being run."""

    record: Literal["header"] = "header"
    journal_version: Literal[1] = JOURNAL_VERSION
    kind: Literal["run", "cache"]
    name: str
    created: str
    """ISO 8601, UTC."""
    command: tuple[str, ...]
    environment: Environment
    settings: Settings
    workloads: dict[str, dict[str, str]]
    """Identity of each workload by its key, in the order of the plan."""


class BegunLine(FileRecord):
    """A workload is begun by a worker, at a card. What stands before of the workload and is another card's counts no
    more: a race is one card's.
    """

    record: Literal["begun"] = "begun"
    workload: str
    place: str
    """UUID of the GPU, or the machine where its processor computes."""


class VettedLine(FileRecord):
    """A candidate's result of the vetting."""

    record: Literal["vetted"] = "vetted"
    workload: str
    candidate: CandidateResult


class RoundRecord(FileRecord):
    """One round of a race. A dropped round has no times."""

    conditions: Conditions
    times: dict[str, PositiveFloat]
    """Microseconds by candidate key."""
    noise_of: str | None = None
    noise_us: PositiveFloat | None = None
    """Time of the second copy of ``noise_of``."""
    points: dict[str, tuple[PositiveFloat, ...]] = Field(default={})
    """Microseconds at each of the workload's lengths, by candidate key; empty where it has none."""

    @model_validator(mode="after")
    def _consistent(self) -> RoundRecord:
        if self.conditions.dropped and (self.times or self.noise_us is not None):
            raise ValueError(f"round {self.conditions.round} was dropped, yet has times")
        if self.noise_us is not None and self.noise_of is None:
            raise ValueError(f"round {self.conditions.round}: the noise of nothing")
        return self


class RoundLine(FileRecord):
    """A round of a workload's race."""

    record: Literal["round"] = "round"
    workload: str
    round: RoundRecord


class DoneLine(FileRecord):
    """A workload's final result."""

    record: Literal["done"] = "done"
    result: WorkloadResult


Line = JournalHeader | BegunLine | VettedLine | RoundLine | DoneLine
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="record")])


@dataclass
class JournalState:
    """What a journal holds, by workload key.

    A candidate vetted twice, or a workload done twice: the last counts, as it was repeated for a reason. A round that
    is there twice: the first counts, as candidates were dropped from the race because of it. What another card has
    measured than the one at which a workload was begun last doesn't count.
    """

    header: JournalHeader
    vetted: dict[str, dict[str, CandidateResult]] = field(default_factory=dict)
    """By candidate key."""
    rounds: dict[str, dict[int, RoundRecord]] = field(default_factory=dict)
    """By round number, in the order of the file."""
    done: dict[str, WorkloadResult] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    """The card that each workload was begun at last, where the journal says it."""
    notes: list[str] = field(default_factory=list)
    """For the user: a last line that was cut off."""
    end: int = 0
    """Bytes up to the end of the last whole line."""

    def add(self, line: Line) -> None:
        """Count a line.

        Raises:
            ValueError: a second header, or a workload that the header doesn't name.
        """
        if isinstance(line, JournalHeader):
            raise ValueError("a second header")
        key = line.result.key if isinstance(line, DoneLine) else line.workload
        if key not in self.header.workloads:
            raise ValueError(f"the header names no workload {key!r}")
        if isinstance(line, BegunLine):
            if self.begun.get(key, line.place) != line.place:
                self.forget(key)
            self.begun[key] = line.place
        elif isinstance(line, VettedLine):
            self.vetted.setdefault(key, {})[line.candidate.key] = line.candidate
        elif isinstance(line, RoundLine):
            self.rounds.setdefault(key, {}).setdefault(line.round.conditions.round, line.round)
        else:
            self.done[key] = line.result

    def forget(self, key: str) -> None:
        """A workload begins anew."""
        for facts in (self.done, self.vetted, self.rounds):
            facts.pop(key, None)


def read_state(data: bytes, path: Path) -> JournalState:
    """What the bytes of a journal add up to; a last line that is cut off or garbage is noted and left out. So are lines
    that a machine which went down has left in pieces: vettings are not on disk before what is written behind them.

    Raises:
        NewerSchema: written by a newer version.
        BadFile: no header, or garbage before a line that was on disk; the message says in which line.
    """
    first, newline, rest = data.partition(b"\n")
    if not newline:
        raise BadFile(path=path, detail="the journal has no whole header")
    header = read_header(first, path)
    state = JournalState(header, end=len(first) + 1)
    lines = rest.split(b"\n")
    unfinished = lines.pop()  # empty if the last line is whole
    for index, text in enumerate(lines):
        last = index == len(lines) - 1 and not unfinished
        try:
            state.add(_parse(text))
        except ValueError as error:
            if not all(map(_may_be_in_pieces, lines[index + 1 :])):
                raise BadFile(path=path, detail=f"line {index + 2}: {error}") from error
            place = f"line {index + 2}, the last," if last else f"line {index + 2}"
            more = "" if last else ", with the vettings behind it"
            state.notes.append(f"{path}: {place} can't be read and is left out{more}: {error}")
            return state
        state.end += len(text) + 1
    if unfinished:
        state.notes.append(f"{path}: line {len(lines) + 2}, the last, is cut off and is left out")
    return state


def _may_be_in_pieces(text: bytes) -> bool:
    """Was nothing before this line on disk for certain when it was written?"""
    try:
        return isinstance(_parse(text), VettedLine)
    except ValueError:
        return True


def read_header(first: bytes, path: Path) -> JournalHeader:
    """The header in a journal's first line.

    Raises:
        NewerSchema: written by a newer version.
        BadFile: no header.
    """
    try:
        document = _json(first)
        version = document.get("journal_version") if isinstance(document, dict) else None
        if type(version) is int and version > JOURNAL_VERSION:
            raise NewerSchema(path=path, found=version, known=JOURNAL_VERSION)
        line = _validated(document)
    except ValueError as error:
        raise BadFile(path=path, detail=f"line 1: {error}") from error
    if not isinstance(line, JournalHeader):
        raise BadFile(path=path, detail="line 1: not a header")
    return line


def _parse(text: bytes) -> Line:
    return _validated(_json(text))


def _json(text: bytes) -> Any:
    try:
        return prepared(json.loads(text.decode("utf-8"), parse_constant=reject_constant))
    except Unreadable as error:
        raise ValueError(str(error)) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        raise ValueError(short_number(error)) from error


def _validated(document: Any) -> Line:
    try:
        return _LINE.validate_python(document, strict=True)
    except ValidationError as error:
        raise ValueError(problems(error, document)) from None
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
