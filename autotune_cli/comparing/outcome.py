"""What a report comes to: an exit code, and why, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from autotune_cli.comparing.choices import ChoiceVerdict
from autotune_cli.comparing.records import Report
from autotune_cli.comparing.verdicts import Reason, Verdict
from autotune_cli.errors import EXIT_FAILED, EXIT_NOT_COMPARABLE, EXIT_OK, BadField, UnknownName
from autotune_cli.fields import Field, Message

FAILURES: Final = ("slower", "choice", "status", "ambiguous")
DEFAULT_FAILURES: Final = "slower,status"


@dataclass(frozen=True)
class Outcome:
    """The exit code and what it means here."""

    exit_code: int
    failed: tuple[str, ...]
    """Names of ``FAILURES`` that were found and count."""
    words: str


def fail_on(text: str) -> frozenset[str]:
    """The names in ``slower,choice`` and the like; empty for ``none``.

    Raises:
        UnknownName: another name.
        BadField: ``none`` beside others.
    """
    names = {part.strip().lower() for part in text.split(",")}
    for name in names:
        if name not in (*FAILURES, "none"):
            raise UnknownName(Message("kind of failure for {fields.fail_on}"), name, (*FAILURES, "none"))
    if "none" in names and len(names) > 1:
        raise BadField(field="fail_on", detail="'none' goes with nothing else")
    return frozenset(names - {"none"})


def outcome(report: Report, failures: Iterable[str]) -> Outcome:
    """Judge a report."""
    if report.refusal is not None:
        return Outcome(EXIT_NOT_COMPARABLE, (), f"not comparable: {report.refusal}")
    found = counts(report)
    failed = tuple(name for name in FAILURES if name in set(failures) and found[name])
    if not failed:
        looked = ", ".join(_WORDS[name] for name in FAILURES if name in set(failures))
        return Outcome(
            EXIT_OK,
            (),
            f"nothing {looked}".replace(", ", " or ") if looked else Message("{none}", none=Field("fail_on", "none")),
        )
    return Outcome(EXIT_FAILED, failed, ", ".join(f"{found[name]} {_WORDS[name]}" for name in failed))


def counts(report: Report) -> dict[str, int]:
    """How many of each of ``FAILURES`` there are. Of statuses only those that got worse."""
    return {
        "slower": report.count(Verdict.SLOWER),
        "choice": sum(choice.decision.verdict == ChoiceVerdict.CHANGED for choice in report.choices),
        "status": sum(Reason.STATUS_WORSE in comparison.decision.reasons for comparison in report.comparisons),
        "ambiguous": report.count(Verdict.AMBIGUOUS),
    }


_WORDS = {
    "slower": "slower",
    "choice": "changed in choice",
    "status": "no longer right or runnable",
    "ambiguous": "ambiguous",
}
