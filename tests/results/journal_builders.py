"""Journals of runs for tests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from result_builders import KEYS, candidate, decode, header

from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalState, RoundRecord
from autotune_cli.results.schema import Conditions

NOW = datetime(2026, 11, 21, 9, 30, 12)
W = decode().key


def round_record(number: int, us: float = 10.0) -> RoundRecord:
    return RoundRecord(conditions=Conditions(round=number), times={KEYS[0]: us}, noise_of=KEYS[0], noise_us=us)


def killed(root: Path, now: datetime = NOW) -> Path:
    """A journal of a process that is gone, with a vetting and two rounds."""
    with Journal.create(root, header(), now) as journal:
        journal.vetted(W, candidate())
        journal.round(W, round_record(0))
        journal.round(W, round_record(1))
    return journal.path


def contents(state: JournalState) -> tuple[int, list[int], list[str]]:
    return len(state.vetted.get(W, {})), list(state.rounds.get(W, {})), list(state.done)
