"""What is said of the ranks of a deployment: records, no rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from autotune_cli.errors import EXIT_FAILED, EXIT_NOT_COMPARABLE, EXIT_OK


class AgreeVerdict(StrEnum):
    """Of one workload; documented in docs/agree.md."""

    SAME = "same"
    TIED = "within the ties"
    """Other winners, and none is clearly better than another."""
    DIFFERS = "differs"
    NONE = "no choice"
    """On no rank was anything right."""


ORDER = (AgreeVerdict.DIFFERS, AgreeVerdict.TIED, AgreeVerdict.NONE, AgreeVerdict.SAME)
"""What differs first."""


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
