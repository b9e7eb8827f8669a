"""What is asked of a recording, and what was found: the records of a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autotune_cli.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_NOT_COMPARABLE, EXIT_OK
from autotune_cli.profiling.families import PathShape
from autotune_cli.profiling.phases import Phase, Recording

State = Literal["ok", "failed", "nothing", "undecided", "captured", "not judged"]

# A problem of these codes means that there was nothing to judge; all others are violations.
_NOTHING = frozenset(
    {"nothing_recorded", "no_attention", "graph_without_kernels", "captured_only", "graph_nodes_unavailable"}
)
# A kernel that may be what was expected, and may be what must not be: neither a pass nor a failure.
_UNDECIDED = frozenset({"undecided_kernel"})
# These mean that something could not be run at all.
_INCOMPLETE = frozenset({"phase_failed"})


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is asked of every phase."""

    shape: PathShape
    """Of phases that ``shapes`` doesn't name."""
    expects: tuple[str, ...] = ()
    """Regular expressions: a kernel must have fired."""
    forbids: tuple[str, ...] = ()
    """Regular expressions: no kernel may have fired."""
    shapes: tuple[tuple[str, PathShape], ...] = ()
    """By phase, where phases differ: SGLang runs an extend ragged when eager, and paged in a graph."""
    libraries: tuple[str, ...] = ()
    """Of a preset: attention must be of one of these; empty: of any."""
    preset: str = ""
    """Its name."""

    def of(self, phase: str) -> PathShape:
        """The shape of a phase, by its name."""
        return dict(self.shapes).get(phase, self.shape)


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a phase is not fine."""

    code: str
    """Machine-readable: ``forbidden_family``, ``other_library``, ``unknown_kernel``, ``undecided_kernel``,
    ``missing_family``, ``uneven_pair``, ``forbidden_name``, ``missing_name``, ``planned_not_executed``,
    ``replay_differs``, ``wrong_output``, ``bits_differ``, ``bad_padding``, ``plan_waits``, ``self_check``,
    ``nothing_recorded``, ``no_attention``, ``graph_without_kernels``, ``captured_only``, ``graph_nodes_unavailable``,
    ``phase_failed``."""
    text: str
    kernel: str = ""
    launches: int = 0
    paste: str = ""
    """The line for a rules file, if that would solve it."""

    @property
    def is_violation(self) -> bool:
        return self.code not in _NOTHING | _INCOMPLETE | _UNDECIDED

    @property
    def is_undecided(self) -> bool:
        return self.code in _UNDECIDED

    @property
    def is_incomplete(self) -> bool:
        return self.code in _INCOMPLETE


@dataclass(frozen=True, slots=True)
class PhaseVerdict:
    """The judgement of one phase."""

    phase: Phase
    state: State
    problems: tuple[Finding, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class ProfileVerdict:
    """The judgement of a recording."""

    recording: Recording
    expectation: Expectation
    phases: tuple[PhaseVerdict, ...]
    problems: tuple[Finding, ...] = ()
    """Those of no single phase."""

    @property
    def exit_code(self) -> int:
        problems = [*self.problems, *(problem for phase in self.phases for problem in phase.problems)]
        if any(problem.is_violation for problem in problems):
            return EXIT_FAILED
        if any(problem.is_incomplete for problem in problems):
            return EXIT_INCOMPLETE
        return EXIT_NOT_COMPARABLE if problems else EXIT_OK
