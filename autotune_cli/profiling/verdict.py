"""The judge: what each phase must and must not have run. Pure functions over phases.

Exit codes (DESIGN): 1 a violation; 3 nothing to judge, which is never a pass; 0 neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from autotune_cli.errors import BadField
from autotune_cli.fields import Field, Message
from autotune_cli.profiling.classify import line_to_paste
from autotune_cli.profiling.families import ATTENTION, BY_NAME, FAMILIES, WORDS, FamilyName
from autotune_cli.profiling.families import PathShape as PathShape
from autotune_cli.profiling.findings import Expectation, Finding, PhaseVerdict, ProfileVerdict, State
from autotune_cli.profiling.kernel_name import short_name
from autotune_cli.profiling.names import demangle
from autotune_cli.profiling.patterns import Patience, TooSlow, quoted
from autotune_cli.profiling.phases import KernelUse, Phase, Recording


def judge(
    recording: Recording, expectation: Expectation, found: Mapping[str, Sequence[Finding]] | None = None
) -> ProfileVerdict:
    """Judges each phase for itself, then what only all of them together can show.

    Args:
        found: problems of phases (by name) that were found by other means than their kernels.
    """
    found = found or {}
    judged = tuple(judge_phase(phase, expectation, found.get(phase.name, ())) for phase in recording.phases)
    return ProfileVerdict(recording, expectation, judged, tuple(_overall(judged, expectation)))


def judge_phase(phase: Phase, expectation: Expectation, found: Sequence[Finding] = ()) -> PhaseVerdict:
    """The judgement of one phase, for itself, with the problems that were found before."""
    if phase.demand == "ignored":
        return PhaseVerdict(phase, "not judged", remark="outside the chosen ranges")
    shape = expectation.of(phase.name)
    problems = [*_violations(phase, expectation), *found]
    attention = phase.launches(*families_of(shape))
    strict = phase.demand == "strict"
    remark = ""
    state: State = "ok"
    if phase.empty_graph_launches:
        problems.append(_empty_graphs(phase))
    # Where any kernel counts: a capture's own fills, which run beside it, are not what it captured.
    shown = attention if shape != "any" else phase.launches() - phase.launches("benign")
    if phase.captured and not shown:
        state = "captured"
        remark = f"{phase.captured} launches captured, not executed: what they run shows in the replay"
        if phase.kernels:
            remark += "; beside them only set-up ran"
    elif attention:
        problems += _shape(phase, shape)
        problems += _missing_names(phase, expectation.expects) if strict else ()
    elif not phase.kernels:
        problems += [Finding("nothing_recorded", "no GPU kernel was recorded")] if strict else []
        state, remark = "not judged", "no kernel"
    else:
        word = "top-k" if shape == "topk" else "attention"
        detail = f"{_count(phase.launches(), 'GPU kernel')} but no {word} kernel among them"
        problems += [Finding("no_attention", detail)] if strict else []
        state, remark = "not judged", f"no {word} kernel"
    kept = tuple(problems)
    if any(problem.is_violation for problem in kept):
        return PhaseVerdict(phase, "failed", kept, remark if state == "captured" else "")
    if kept:
        state = "undecided" if any(problem.is_undecided for problem in kept) else "nothing"
    return PhaseVerdict(phase, state, kept, "" if kept else remark)


def families_of(shape: PathShape) -> tuple[FamilyName, ...]:
    """Families of which a phase must show a kernel, or there is nothing to judge."""
    return {"any": FAMILIES, "topk": ("topk",)}.get(shape, tuple(ATTENTION))


def _violations(phase: Phase, expectation: Expectation) -> Iterable[Finding]:
    """Kernels that must not be there, whatever else is."""
    shape = expectation.of(phase.name)
    for use in phase.kernels:
        if shape in BY_NAME[use.family].forbidden_in:
            yield Finding("forbidden_family", f"{_of(use)}: {_why(use)}", use.name, use.launches)
        elif use.family == "unknown" and shape != "any":
            yield Finding("unknown_kernel", _of(use), use.name, use.launches, line_to_paste(use.name))
        elif use.family == "undecided" and shape not in ("any", "attention"):
            paste = line_to_paste(use.name, open=True)
            yield Finding("undecided_kernel", f"{_of(use)}: {_why(use)}", use.name, use.launches, paste)
        if expectation.libraries and BY_NAME[use.family].of_library and use.library not in expectation.libraries:
            text = f"{_count(use.launches, 'kernel')} of another library than expected: {short_name(use.name)}"
            yield Finding("other_library", f"{text}: {_why(use)}", use.name, use.launches)
        for pattern in expectation.forbids:
            if _fits(pattern, use, "forbid"):
                said, count = "{count} that {forbid} names: {name}", _count(use.launches, "kernel")
                text = Message(said, count=count, forbid=Field("forbid", repr(pattern)), name=short_name(use.name))
                yield Finding("forbidden_name", text, use.name, use.launches)


def _shape(phase: Phase, shape: PathShape) -> Iterable[Finding]:
    """Attention ran; did it run as planned?"""
    if phase.launches("undecided"):
        return
    paged, ragged, merge = (phase.launches(family) for family in ("paged", "ragged", "merge"))
    if shape == "paged" and not paged:
        yield Finding("missing_family", "no paged attention kernel")
    if shape == "cascade" and not (merge and paged >= 2 * merge):
        counts = f"{paged} paged and {merge} merge kernels"
        yield Finding("uneven_pair", f"{counts}: each layer over a tree of drafts takes two paged calls and one merge")
    if shape == "ragged" and not ragged:
        yield Finding("missing_family", "no ragged attention kernel")
    if shape == "pair" or (shape == "ragged or pair" and (paged or merge)):
        if not ragged:
            yield Finding("missing_family", "no ragged attention kernel: this is the forced paged path")
        elif not ragged == paged == merge:
            counts = f"{ragged} ragged, {paged} paged and {merge} merge kernels"
            yield Finding("uneven_pair", f"{counts}: each ragged call over a prefix takes one paged call and one merge")
    elif shape == "ragged or pair" and not ragged:
        yield Finding("missing_family", "no ragged attention kernel")


def _overall(judged: Sequence[PhaseVerdict], expectation: Expectation) -> Iterable[Finding]:
    counted = [verdict for verdict in judged if verdict.phase.demand != "ignored"]
    lenient = [verdict.phase for verdict in counted if verdict.phase.demand == "lenient"]
    for pattern in expectation.expects:
        if any(phase.kernels for phase in lenient) and not any(
            _fits(pattern, use) for phase in lenient for use in phase.kernels
        ):
            yield _missing_name(pattern)
    if any(verdict.state in ("ok", "failed", "nothing", "undecided") for verdict in counted):
        return
    if any(verdict.state == "captured" for verdict in counted):
        yield Finding("captured_only", "launches were captured, but no replay was recorded: nothing ran")
    elif any(verdict.phase.kernels for verdict in counted):
        number = sum(verdict.phase.launches() for verdict in counted)
        yield Finding("no_attention", f"{_count(number, 'GPU kernel')}, but no attention kernel among them")
    else:
        yield Finding("nothing_recorded", "no GPU kernel was recorded")


def _fits(pattern: str, use: KernelUse, field: str = "expect") -> bool:
    """Is the pattern found in the kernel's name?

    Raises:
        BadField: it takes too long.
    """
    name = demangle(use.name)
    try:
        return _patience(pattern).run(lambda: re.search(pattern, name)) is not None
    except (TooSlow, MemoryError):
        detail = f"{quoted(pattern)} takes too long on the kernel name {quoted(name)}"
        raise BadField(field=field, detail=detail) from None


@cache
def _patience(pattern: str) -> Patience:
    """For all searches of a pattern together."""
    return Patience()


def _missing_names(phase: Phase, patterns: Sequence[str]) -> Iterable[Finding]:
    for pattern in patterns:
        if not any(_fits(pattern, use) for use in phase.kernels):
            yield _missing_name(pattern)


def _missing_name(pattern: str) -> Finding:
    return Finding("missing_name", Message("no kernel fits {expect}", expect=Field("expect", repr(pattern))))


def _empty_graphs(phase: Phase) -> Finding:
    return Finding(
        "graph_without_kernels",
        f"{_count(phase.empty_graph_launches, 'graph launch', 'graph launches')} whose kernels were not recorded "
        "(Nsight Systems: record with --cuda-graph-trace=node)",
    )


def _of(use: KernelUse) -> str:
    return f"{_count(use.launches, f'{WORDS[use.family]} kernel')}: {short_name(use.name)}"


def _why(use: KernelUse) -> str:
    return ", ".join(filter(None, (use.library, use.reason)))


def _count(number: int, word: str, words: str = "") -> str:
    return f"{number} {word if number == 1 else words or f'{word}s'}"
