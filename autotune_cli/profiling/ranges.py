"""Which ranges of a trace are its phases, and which of them a moment on a thread belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune_cli.errors import BadField, nearest
from autotune_cli.profiling.errors import BadTrace
from autotune_cli.profiling.phases import Demand
from autotune_cli.profiling.steps import server_steps
from autotune_cli.profiling.trace import Span, Trace

# What `autotune profile` calls its ranges.
PHASE_PREFIX = "phase."
PLAN = "plan"

# Ranges of libraries and profilers: they come and go inside a phase.
_HOUSEKEEPING = re.compile(
    r"ProfilerStep#|nccl|c10d::|gloo:|Optimizer\.|## |DataLoader|enumerate\(|Torch-Compiled|TorchDynamo|Compiled"
    r"|PyTorch Profiler|record_param_comms|autograd|cub::|cublas|cudnn|thrust|CCCL|plan$",
    re.IGNORECASE,
)
# With more different names than this, ranges are no phases but a description of the work.
_MOST_FOUND = 12
_LISTED = 12
NOWHERE = -1


@dataclass(frozen=True)
class Phases:
    """How a trace falls into phases."""

    names: tuple[str, ...]
    demand: Demand
    number_of: dict[str, int]
    """Phase of a range's name."""
    innermost: bool
    rest: Demand | None
    """What becomes of work outside the ranges; None: phases are told by the way of launching instead."""


def choose_phases(trace: Trace, wanted: Sequence[str]) -> Phases:
    """The phases of a trace.

    1. ``wanted`` ranges, names or patterns with ``*``: attention must have run in each.
    2. Ranges called ``phase.NAME``, likewise.
    3. Steps of a server, by their mode: what SGLang and vLLM call them.
    4. Other ranges, the outermost ones, numbers in their names aside: nothing forbidden may have run in them.
    5. Without ranges: what was launched one by one (``eager``), and what a graph launched (``replay``).

    Raises:
        BadField: a wanted range that isn't there.
        BadTrace: one that ends before it begins.
    """
    present = list(dict.fromkeys(span.name for span in trace.spans))
    if wanted:
        return _wanted(trace, present, wanted)
    own = [name for name in present if name.startswith(PHASE_PREFIX)]
    if own:
        _refuse(trace, [name for name in sorted(trace.left_out) if name.startswith(PHASE_PREFIX)])
        return _named({name: name.removeprefix(PHASE_PREFIX) for name in own}, "strict", True, "ignored")
    steps = server_steps(present)
    if steps:
        return _named(steps, "lenient", True, "lenient")
    found = {name: re.sub(r"\d+", "#", name) for name in present if not _HOUSEKEEPING.match(name)}
    if found and len(set(found.values())) <= _MOST_FOUND:
        return _named(found, "lenient", False, "lenient")
    return Phases((), "lenient", {}, False, None)


def _wanted(trace: Trace, present: Sequence[str], wanted: Sequence[str]) -> Phases:
    labels: dict[str, str] = {}
    for name in wanted:
        _refuse(trace, _fitting(sorted(trace.left_out), name))
        exact = [known for known in (name, f"{PHASE_PREFIX}{name}") if known in present]
        matching = exact[:1] or _fitting(present, name)
        if not matching:
            listed = ", ".join(present[:_LISTED]) + (" ..." if len(present) > _LISTED else "")
            there = f"ranges in this trace: {listed}{nearest(name, present)}" if present else "this trace has no ranges"
            raise BadField(field="range", detail=f"no range {name!r}; {there}")
        labels.update({known: name.removeprefix(PHASE_PREFIX) for known in matching})
    return _named(labels, "strict", True, "ignored")


def _fitting(names: Sequence[str], wanted: str) -> list[str]:
    """Those of the names that are meant: by a pattern, by a step's mode, or by what stands in SGLang's brackets."""
    bracketed = _pattern(f"*[{wanted.strip('[]')}]*")
    return (
        [name for name in names if _pattern(wanted).fullmatch(name)]
        or [name for name, mode in server_steps(names).items() if mode == wanted]
        or [name for name in names if bracketed.fullmatch(name)]
    )


def _pattern(name: str) -> re.Pattern[str]:
    """``*`` is any text and ``?`` any letter; ``#`` also any number, as in the names that are shown. Brackets are
    themselves: SGLang's names have some."""
    wild = {"*": ".*", "?": ".", "#": r"(?:#|\d+)"}
    return re.compile("".join(wild.get(letter) or re.escape(letter) for letter in name), re.DOTALL)


def _refuse(trace: Trace, left_out: Sequence[str]) -> None:
    """What ran in a range that is asked for, and that the recording has wrong, would not be judged.

    Raises:
        BadTrace: there is such a range.
    """
    for name in left_out:
        detail = f"the range {name[:80]!r} ends before it begins: what ran in it is unknown"
        raise BadTrace(path=trace.path, detail=detail)


def _named(labels: dict[str, str], demand: Demand, innermost: bool, rest: Demand) -> Phases:
    names = tuple(dict.fromkeys(labels.values()))
    return Phases(names, demand, {name: names.index(label) for name, label in labels.items()}, innermost, rest)


class Timeline:
    """Which number holds at a moment, for ranges that may nest and overlap."""

    def __init__(self, spans: Sequence[Span], number: Callable[[Span], int], innermost: bool = True) -> None:
        marks: list[tuple[float, int, int]] = []
        for index, span in enumerate(spans):
            # At one moment ends come before starts.
            marks += [(span.start, 1, index), (span.end, 0, index)]
        marks.sort()
        times: list[float] = []
        numbers: list[int] = []
        open_ones: dict[int, None] = {}
        for time, opens, index in marks:
            if opens:
                open_ones[index] = None
            else:
                open_ones.pop(index, None)
            at = next(reversed(open_ones) if innermost else iter(open_ones), None)
            times.append(time)
            numbers.append(NOWHERE if at is None else number(spans[at]))
        self._times = np.asarray(times)
        self._numbers = np.asarray([NOWHERE, *numbers], dtype=np.int64)

    def at(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The number at each moment; ``NOWHERE`` outside of all ranges."""
        return self._numbers[np.searchsorted(self._times, times, side="right")]
