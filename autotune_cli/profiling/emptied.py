"""A self-check that every recording gets: without its kernels it must be nothing to judge, never a pass."""

from __future__ import annotations

from dataclasses import replace

from autotune_cli.errors import EXIT_NOT_COMPARABLE
from autotune_cli.profiling.findings import Expectation, Finding
from autotune_cli.profiling.phases import Phase, Recording
from autotune_cli.profiling.verdict import judge


def check_emptied(recording: Recording, expectation: Expectation) -> tuple[list[str], list[Finding]]:
    """Takes all kernels and graphs away.

    Returns:
        What was tried, in words, or a problem where the verdict is another one than nothing to judge.
    """
    phases = tuple(Phase(phase.name, phase.demand, where=phase.where) for phase in recording.phases)
    code = judge(replace(recording, phases=phases), expectation).exit_code
    if code == EXIT_NOT_COMPARABLE:
        return ["all kernels taken away: nothing to judge, exit 3"], []
    return [], [Finding("self_check", f"without any kernel the exit code is {code}, not 3")]
