"""Which ranges of a trace are its phases, and which of them a moment on a thread belongs to."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune_cli.errors import BadField, nearest
from autotune_cli.profiling.phases import Demand
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
    3. Other ranges, the outermost ones, numbers in their names aside: nothing forbidden may have run in them.
    4. Without ranges: what was launched one by one (``eager``), and what a graph launched (``replay``).

    Raises:
        BadField: a wanted range that isn't there.
    """
    present = list(dict.fromkeys(span.name for span in trace.spans))
    if wanted:
        return _wanted(present, wanted)
    own = [name for name in present if name.startswith(PHASE_PREFIX)]
    if own:
        return _named({name: name.removeprefix(PHASE_PREFIX) for name in own}, "strict", True, "ignored")
    found = {name: re.sub(r"\d+", "#", name) for name in present if not _HOUSEKEEPING.match(name)}
    if found and len(set(found.values())) <= _MOST_FOUND:
        return _named(found, "lenient", False, "lenient")
    return Phases((), "lenient", {}, False, None)


def _wanted(present: Sequence[str], wanted: Sequence[str]) -> Phases:
    labels: dict[str, str] = {}
    for name in wanted:
        exact = [known for known in (name, f"{PHASE_PREFIX}{name}") if known in present]
        matching = exact[:1] or [known for known in present if fnmatch.fnmatchcase(known, name)]
        if not matching:
            listed = ", ".join(present[:_LISTED]) + (" ..." if len(present) > _LISTED else "")
            there = f"ranges in this trace: {listed}{nearest(name, present)}" if present else "this trace has no ranges"
            raise BadField(field="range", detail=f"no range {name!r}; {there}")
        labels.update({known: name.removeprefix(PHASE_PREFIX) for known in matching})
    return _named(labels, "strict", True, "ignored")


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
