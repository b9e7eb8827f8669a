"""A profile's verdict in words, and the rows of its table. No terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autotune_cli.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_NOT_COMPARABLE, EXIT_OK
from autotune_cli.profiling.families import FAMILIES, WORDS, FamilyName
from autotune_cli.profiling.findings import Finding, PhaseVerdict, ProfileVerdict
from autotune_cli.profiling.kernel_name import short_name
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.phases import Phase
from autotune_cli.profiling.verdict import families_of
from autotune_cli.render.text import microseconds, plural

_SHAPES = {
    "paged": "only paged attention",
    "ragged": "only ragged attention",
    "pair": "ragged + paged + one merge each",
    "ragged or pair": "ragged attention, with a prefix + paged + one merge each",
    "cascade": "paged attention, two calls and one merge each",
    "attention": "attention",
    "topk": "a top-k kernel and no attention",
    "any": "kernels as --expect and --forbid say",
}
_NAMED = 3


class PhaseRow(NamedTuple):
    """One family in one phase."""

    phase: str
    verdict: str
    family: str
    launches: int
    time_us: str
    kernels: str
    state: str


def rows(verdict: ProfileVerdict) -> Iterator[PhaseRow]:
    """The table, families in a fixed order; phase and verdict stand in the first row of a phase only."""
    for judged in verdict.phases:
        phase, state = judged.phase, judged.state
        title: str = phase.title
        word: str = "FAIL" if state == "failed" else state
        families = phase.families()
        if phase.captured:
            captured = "captured, not executed"
            yield PhaseRow(title, word, captured, phase.captured, "-", "", state)
            title = word = ""
        for family in FAMILIES:
            if family in families:
                launches, us = families[family]
                names = kernel_names(phase, family)
                spent = microseconds(us) if us else "-"
                yield PhaseRow(title, word, WORDS[family], launches, spent, names, state)
                title = word = ""
        if not families and not phase.captured:
            yield PhaseRow(title, word, "nothing recorded", 0, "-", "", state)


def kernel_names(phase: Phase, family: FamilyName) -> str:
    """The kernels of a family, shortened; of everyday ones just how many there are."""
    uses = sorted((use for use in phase.kernels if use.family == family), key=lambda use: -use.launches)
    if family == "benign" or not uses:
        return plural(len(uses), "name")
    shown = [short_name(demangle(use.name), 56) for use in uses[:_NAMED]]
    more = f" and {len(uses) - _NAMED} more" if len(uses) > _NAMED else ""
    return ", ".join(dict.fromkeys(shown)) + more


def sentence(verdict: ProfileVerdict) -> str:
    """``FAIL: 3 ragged kernels: ... in replay``: the last line."""
    if verdict.exit_code == EXIT_OK:
        return _passed(verdict)
    fitting = {EXIT_FAILED: "is_violation", EXIT_INCOMPLETE: "is_incomplete"}.get(verdict.exit_code)
    if fitting is None and is_undecided(verdict):
        fitting = "is_undecided"
    found = [(title, problem) for title, problem in problems(verdict) if fitting is None or getattr(problem, fitting)]
    title, first = found[0]
    where = f" in {title}" if title else ""
    # A kernel's name goes last: it is long.
    head, colon, tail = first.text.partition(": ")
    more = f" (and {plural(len(found) - 1, 'more problem')})" if len(found) > 1 else ""
    otherwise = "UNDECIDED" if fitting == "is_undecided" else "NOTHING TO JUDGE"
    word = {EXIT_FAILED: "FAIL", EXIT_INCOMPLETE: "NOT RUN"}.get(verdict.exit_code, otherwise)
    return f"{word}: {head}{where}{colon}{tail}{more}"


def is_undecided(verdict: ProfileVerdict) -> bool:
    """Neither a pass nor a failure: a kernel's name doesn't tell."""
    return verdict.exit_code == EXIT_NOT_COMPARABLE and any(problem.is_undecided for _, problem in problems(verdict))


def advice(verdict: ProfileVerdict) -> tuple[str, list[str]]:
    """What to write into a file for ``--rules``, and lines for it; empty lines: nothing."""
    found = [problem for _, problem in problems(verdict) if problem.paste]
    lines = list(dict.fromkeys(problem.paste for problem in found))
    if any(problem.is_undecided for problem in found):
        how = "a trace with input shapes or Python stacks decides it, a --preset, or a line in a file for --rules"
    else:
        how = "say what these kernels are in a file for --rules"
    return how, lines


def _passed(verdict: ProfileVerdict) -> str:
    ran = [judged.phase for judged in verdict.phases if judged.state == "ok"]
    where = ", ".join(f"{phase.title} ({plural(_counted(verdict, phase), 'kernel')})" for phase in ran)
    captured = [judged.phase for judged in verdict.phases if judged.state == "captured"]
    rest = "".join(f"; {phase.title}: {plural(phase.captured, 'kernel')} captured, not executed" for phase in captured)
    lost = sum(judged.phase.lost_launches for judged in verdict.phases if judged.phase.demand != "ignored")
    rest += f"; {_launches(lost)} without a recorded kernel" if lost else ""
    return f"PASS: {_expected(verdict)} in {where}{rest}"


def problems(verdict: ProfileVerdict) -> list[tuple[str, Finding]]:
    """All problems with their phase's title; an empty title for those of no single phase."""
    own = [(judged.phase.title, problem) for judged in verdict.phases for problem in judged.problems]
    return [*own, *(("", problem) for problem in verdict.problems)]


def remarks(verdict: ProfileVerdict) -> list[str]:
    """What else is to be known: host costs, launches without kernels, notes of the recording."""
    lines = list(verdict.recording.notes)
    for judged in verdict.phases:
        said = [judged.remark, *_host(judged)]
        lines += [f"{judged.phase.title}: {', '.join(filter(None, said))}"] if any(said) else []
        lines += [f"{judged.phase.title}: {'; '.join(judged.phase.facts)}"] if judged.phase.facts else []
    return lines


def _host(judged: PhaseVerdict) -> Iterator[str]:
    phase = judged.phase
    if phase.graph_launches:
        yield f"{phase.graph_launches} x graph launched"
    if phase.launch_us:
        yield f"launch calls {microseconds(phase.launch_us)} us"
    if phase.waits:
        yield plural(phase.waits, "host synchronisation")
    if phase.copies_to_host:
        yield f"{phase.copies_to_host} x device to host"
    if phase.plan is not None and phase.plan.calls:
        plan = phase.plan
        yield (
            f"{plural(plan.calls, 'plan')} {microseconds(plan.us)} us with {plural(plan.waits, 'synchronisation')} "
            f"and {plan.copies_to_host} x device to host"
        )
    if phase.lost_launches:
        lost = "it" if phase.lost_launches == 1 else "them"
        yield f"{_launches(phase.lost_launches)} without a recorded kernel: the recording ended before, or lost {lost}"


def header(verdict: ProfileVerdict) -> str:
    recording = verdict.recording
    devices = f" on {', '.join(dict.fromkeys(recording.devices))}" if recording.devices else ""
    return f"{recording.source}{devices}: expecting {_expected(verdict)}"


def _expected(verdict: ProfileVerdict) -> str:
    """What must be seen; where phases differ, each with those that it holds for."""
    expectation = verdict.expectation
    by_shape: dict[str, list[str]] = {}
    for judged in verdict.phases:
        by_shape.setdefault(expectation.of(judged.phase.name), []).append(judged.phase.name)
    preset = f" of preset {expectation.preset}" if expectation.preset else ""
    if len(by_shape) < 2:
        return f"{_SHAPES[next(iter(by_shape), expectation.shape)]}{preset}"
    parts = (f"{_SHAPES[shape]}{preset} ({', '.join(dict.fromkeys(names))})" for shape, names in by_shape.items())
    return "; ".join(parts)


def _counted(verdict: ProfileVerdict, phase: Phase) -> int:
    return phase.launches(*families_of(verdict.expectation.of(phase.name)))


def _launches(number: int) -> str:
    return f"{number} {'launch' if number == 1 else 'launches'}"
