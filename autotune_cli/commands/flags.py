"""The options that set the fields of a request: ``page_size`` is set by ``--page-size``, as Typer names them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autotune_cli.fields import Field, named

if TYPE_CHECKING:
    from autotune_cli.comparing.exit_status import ExitStatus
    from autotune_cli.comparing.records import Report
    from autotune_cli.profiling.findings import Finding, ProfileVerdict


def flag(field: Field) -> str:
    """``--page-size``, with a value ``--page-size 16``, and ``--no-cache`` for a switch that is off."""
    name = field.name.replace("_", "-")
    if field.value is False:
        return f"--no-{name}"
    return f"--{name}" if field.value is None or field.value is True else f"--{name} {field.value}"


def with_flags(text: str) -> str:
    """A text of the engine's whose fields are named by their options."""
    said: str = named(text, flag)
    return said


def status_with_flags(status: ExitStatus) -> ExitStatus:
    return replace(status, words=with_flags(status.words))


def report_with_flags(report: Report) -> Report:
    refusal = None if report.refusal is None else with_flags(report.refusal)
    return replace(report, refusal=refusal, notes=tuple(map(with_flags, report.notes)))


def verdict_with_flags(verdict: ProfileVerdict) -> ProfileVerdict:
    def said(problems: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return tuple(replace(problem, text=with_flags(problem.text)) for problem in problems)

    phases = tuple(replace(phase, problems=said(phase.problems)) for phase in verdict.phases)
    return replace(verdict, phases=phases, problems=said(verdict.problems))
