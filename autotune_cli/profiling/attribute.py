"""From a trace to its phases: kernels belong to the range in which the host launched them.

A kernel runs after its launch, often after the end of the range, so time on the GPU says little. Its correlation id
leads to the launching call, and that lies in the range; a replay's kernels share the id of the graph launch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from autotune_cli.profiling.classify import Classifier
from autotune_cli.profiling.correlate import Correlated, Flags, Ints
from autotune_cli.profiling.phases import Demand, KernelUse, Phase, PlanCost, Recording, make_use
from autotune_cli.profiling.ranges import NOWHERE, PLAN, Phases, Timeline, choose_phases
from autotune_cli.profiling.trace import Trace
from autotune_cli.profiling.unfused import MATMUL, SOFTMAX, role_code, softmax_between_matmuls

# Phases of a trace without ranges.
_EAGER, _REPLAY = 0, 1
_BY_LAUNCH = ("eager", "replay")
_OUTSIDE = "outside the ranges"


def split_into_phases(
    trace: Trace, classify: Classifier, wanted: Sequence[str] = (), sources: Sequence[int] | None = None
) -> Recording:
    """All phases of a trace.

    Args:
        wanted: names of ranges; see ``choose_phases``.
        sources: the GPUs to look at, numbers into ``trace.sources``; None: all.

    Raises:
        BadField: a wanted range that isn't there.
    """
    chosen = range(len(trace.sources.items)) if sources is None else sources
    return _Splitter(trace, classify, choose_phases(trace, wanted), chosen).split()


class _Splitter:
    def __init__(self, trace: Trace, classify: Classifier, phases: Phases, chosen: Sequence[int]) -> None:
        self.trace, self.classify, self.phases, self.chosen = trace, classify, phases, chosen
        self.data = Correlated(trace)
        self.by_launch = phases.rest is None
        self.names = _BY_LAUNCH if self.by_launch else (*phases.names, _OUTSIDE)
        # Where work goes that no range and no launch claims.
        self.rest = _EAGER if self.by_launch else len(phases.names)
        self.notes = list(trace.notes)
        self.plans = [span for span in trace.spans if span.name == PLAN or span.name.endswith(f".{PLAN}")]
        self.evidence = list(dict.fromkeys(evidence for _, evidence in trace.told))
        numbers = {span: self.evidence.index(evidence) for span, evidence in trace.told}
        self.told: Ints = self.data.of_call(self.data.locate(list(numbers), numbers.__getitem__, True), NOWHERE)
        self.by_graph: Flags = self.data.of_call(self.data.is_graph_launch.astype(np.int64), 0) == 1
        self.in_plan: Flags = self.data.locate(self.plans, lambda _: 1, True) == 1

    def split(self) -> Recording:
        call_phase, work_phase = self._assign()
        call_sources = self.data.call_sources(self.chosen)
        found = []
        for number, name in enumerate(self.names):
            for source in self._sources_of_phase(work_phase == number):
                work = (work_phase == number) & (self.data.source == source)
                calls = (call_phase == number) & (call_sources == source)
                demand = self._demand(number)
                # A phase that was asked for is there, empty or not.
                if demand == "strict" or (work & self.data.is_kernel).any() or self._matters(calls):
                    found.append(self._phase(name, demand, source, work, calls))
        return Recording(self.trace.path, tuple(found), tuple(self.trace.devices), tuple(self.notes))

    def _phase(self, name: str, demand: Demand, source: int, work: Flags, calls: Flags) -> Phase:
        data = self.data
        return Phase(
            name=name,
            demand=demand,
            kernels=self._uses(work & data.is_kernel),
            where=self.trace.label(source) if len(self.chosen) > 1 else "",
            captured=int(data.is_captured[calls].sum()),
            graph_launches=int(data.is_graph_launch[calls].sum()),
            empty_graph_launches=int(data.is_empty_graph[calls].sum()),
            lost_launches=int(data.is_lost[calls].sum()),
            waits=int(data.is_wait[calls].sum()),
            copies_to_host=int(data.is_to_host[work].sum()),
            launch_us=float(data.call_us[calls & data.is_launch].sum()),
            plan=self._plan_cost(work, calls),
            from_graphs=self._uses(work & data.is_kernel & self.by_graph),
        )

    def _assign(self) -> tuple[Ints, Ints]:
        """The phase of each call, and of each piece of GPU work."""
        data, number_of = self.data, self.phases.number_of
        if self.by_launch:
            calls = np.where(data.is_graph_launch, _REPLAY, _EAGER).astype(np.int64)
            work = data.of_call(calls, _EAGER)
        else:
            spans = [span for span in self.trace.spans if span.name in number_of]
            calls = data.locate(spans, lambda span: number_of[span.name], self.phases.innermost)
            work = data.of_call(calls, NOWHERE)
            orphans = data.call < 0
            if orphans.any():
                # Without a call the moment on the GPU is all there is.
                timeline = Timeline(spans, lambda span: number_of[span.name], self.phases.innermost)
                work[orphans] = timeline.at(data.start[orphans])
            calls[calls == NOWHERE] = work[work == NOWHERE] = self.rest
        orphaned = int((data.is_kernel & (data.call < 0)).sum())
        if orphaned:
            how = "taken as eager" if self.by_launch else "placed by the time they ran"
            self.notes.append(f"{orphaned} kernels without a recorded launch: {how}")
        return calls, work

    def _demand(self, number: int) -> Demand:
        if not self.by_launch and number == self.rest:
            return self.phases.rest or "lenient"
        return self.phases.demand

    def _matters(self, calls: Flags) -> bool:
        return bool((calls & (self.data.is_graph_launch | self.data.is_captured)).any())

    def _sources_of_phase(self, mine: Flags) -> list[int]:
        """GPUs with kernels in the phase. Each process is there at least once: an empty phase must be seen."""
        if not self.trace.sources.items:
            return [0]
        kernels = mine & (self.data.is_kernel | self.data.is_whole_graph)
        busy = [source for source in self.chosen if (kernels & (self.data.source == source)).any()]
        groups = {self.trace.sources.items[source].group for source in busy}
        for source in self.chosen:
            group = self.trace.sources.items[source].group
            if group not in groups:
                groups.add(group)
                busy.append(source)
        return sorted(busy)

    def _uses(self, rows: Flags) -> tuple[KernelUse, ...]:
        dense = self._softmax_between_matmuls(rows)
        told = rows & (self.told != NOWHERE) & self._undecided(rows)
        uses = [*self._counted(rows & ~dense & ~told), *self._counted(dense, dense=True)]
        for number in np.unique(self.told[told]):
            evidence = self.evidence[number]
            found = self._counted(told & (self.told == number))
            uses += [replace(use, family=evidence.family, reason=evidence.reason) for use in found]
        return tuple(uses)

    def _counted(self, rows: Flags, dense: bool = False) -> Iterator[KernelUse]:
        data = self.data
        numbers, first, groups = np.unique(data.name[rows], return_index=True, return_inverse=True)
        counts = np.bincount(groups, minlength=len(numbers))
        us = np.bincount(groups, weights=data.duration[rows], minlength=len(numbers))
        for group in np.argsort(first):
            name = data.names[numbers[group]]
            yield make_use(name, int(counts[group]), float(us[group]), self.classify, dense)

    def _undecided(self, rows: Flags) -> Flags:
        """Kernels whose names don't tell how they read keys."""
        undecided = np.zeros(max(1, len(self.data.names)), dtype=np.bool_)
        for number in np.unique(self.data.name[rows]):
            undecided[number] = self.classify(self.data.names[number]).family == "undecided"
        return undecided[self.data.name]

    def _softmax_between_matmuls(self, rows: Flags) -> Flags:
        """See :mod:`autotune_cli.profiling.unfused`."""
        data = self.data
        found = np.zeros(len(rows), dtype=np.bool_)
        code = np.zeros(max(1, len(data.names)), dtype=np.int64)
        for number in np.unique(data.name[rows]):
            code[number] = role_code(self.classify(data.names[number]).role)
        if not {MATMUL, SOFTMAX} <= set(code.tolist()):
            return found
        order = np.flatnonzero(rows)
        order = order[np.lexsort((data.start[order], data.stream[order]))]
        found[order[softmax_between_matmuls(code[data.name[order]], data.stream[order])]] = True
        return found

    def _plan_cost(self, work: Flags, calls: Flags) -> PlanCost | None:
        if not self.plans:
            return None
        inside = calls & self.in_plan
        times = self.data.call_start[inside]
        # A plan that called nothing isn't seen: it can't be told which phase's it was.
        spans = [span for span in self.plans if ((times >= span.start) & (times <= span.end)).any()]
        planned_work = work & (self.data.of_call(self.in_plan.astype(np.int64), 0) == 1)
        return PlanCost(
            us=sum(span.end - span.start for span in spans),
            calls=len(spans),
            waits=int(self.data.is_wait[inside].sum()),
            copies_to_host=int(self.data.is_to_host[planned_work].sum()),
        )
