"""What a report comes to: an exit code, and why, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from autotune_cli.comparing.records import Report
from autotune_cli.comparing.verdicts import FailOn
from autotune_cli.errors import EXIT_FAILED, EXIT_NOT_COMPARABLE, EXIT_OK, BadField, UnknownName
from autotune_cli.fields import Field, Message

NEVER: Final = "none"


@dataclass(frozen=True)
class ExitStatus:
    """The exit code and what it means here."""

    exit_code: int
    failed: tuple[FailOn, ...]
    """Those that were found and count."""
    words: str


def fail_on(text: str) -> frozenset[FailOn]:
    """The names in ``slower,choice`` and the like; empty for ``none``.

    Raises:
        UnknownName: another name.
        BadField: ``none`` beside others.
    """
    names = {part.strip().lower() for part in text.split(",")}
    known = (*map(str, FailOn), NEVER)
    for name in names:
        if name not in known:
            raise UnknownName(Message("kind of failure for {fields.fail_on}"), name, known)
    if NEVER in names and len(names) > 1:
        raise BadField(field="fail_on", detail="'none' goes with nothing else")
    return frozenset(each for each in FailOn if each in names)


def exit_status(report: Report, failures: Iterable[FailOn]) -> ExitStatus:
    """Judge a report.

    Args:
        failures: see :func:`fail_on`.
    """
    if report.refusal is not None:
        return ExitStatus(EXIT_NOT_COMPARABLE, (), f"not comparable: {report.refusal}")
    found, asked = counts(report), set(failures)
    looked = [each for each in FailOn if each in asked]
    failed = tuple(each for each in looked if found[each])
    if failed:
        return ExitStatus(EXIT_FAILED, failed, ", ".join(f"{found[each]} {each.words}" for each in failed))
    if not looked:
        return ExitStatus(EXIT_OK, (), Message("{never}", never=Field("fail_on", NEVER)))
    return ExitStatus(EXIT_OK, (), f"nothing {' or '.join(each.words for each in looked)}")


def counts(report: Report) -> dict[FailOn, int]:
    """How many changes each kind of failure stands for. Of statuses only those that got worse."""
    found = Counter(each.decision.fails_as for each in report.comparisons)
    found += Counter(each.decision.fails_as for each in report.choices)
    return {each: found[each] for each in FailOn}
