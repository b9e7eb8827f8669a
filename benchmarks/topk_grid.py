"""Our top-k beside every other that is installed, on grids: the tables of docs/benchmarks-topk.md.

    python benchmarks/topk_grid.py            # the next two; needs a GPU
    python benchmarks/topk_grid.py aim        # topk.select, rows 1 to 1024 x width 4096 to 262144 x k 512 and 2048
    python benchmarks/topk_grid.py sglang     # topk.paged, the grid of SGLang's pull request 33237
    python benchmarks/topk_grid.py jit        # topk.paged and topk.ragged beside SGLang's JIT kernel; needs sglang

Kernel time by CUPTI on normal scores, cold L2, eager. Of each cell all candidates are timed roughly, then the quickest
three of ours and of the others in interleaved rounds; a time is the median of the rounds' medians. Another's counts
where it was right on the cell's scores and on all kinds of scores at 16 x 65536; what was quicker and isn't right is
named beside it. Candidates that promise an order of the output or among equal scores are left out, but for ours, which
always do. The floor is that of ``autotune tune``: bytes over the measured memory bandwidth. Of the grid ``jit``
another's time counts where it was right on the cell's scores; lines below the table say on which kinds it is wrong, as
that depends on the shape.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from autotune_cli.kernels.base import ALL_DISTRIBUTIONS
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.registry import REGISTRY, Candidate, Device
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.measure.floor import floor_us
from autotune_cli.measure.statistics import median
from autotune_cli.measure.timers import Timer
from autotune_cli.results.schema import Environment

OURS = "autotune.topk"
ROUGH_ITERATIONS = 3
FINALISTS = 3
ROUNDS = 4
ITERATIONS = 6
# Promises that the others charge for, with what they are without one.
PROMISES = {"deterministic": False, "tie_break": "none"}
CHECKED = (16, 65536, 2048)


def aim() -> Iterator[TopkWorkload]:
    """What issue 13 asks for."""
    for rows, width, k in itertools.product((1, 8, 16, 64, 256, 1024), (4096, 16384, 65536, 262144), (512, 2048)):
        yield TopkWorkload.select(rows=rows, width=width, k=k)


def sglang() -> Iterator[TopkWorkload]:
    """The grid of https://github.com/sgl-project/sglang/pull/33237."""
    for page, k, width, rows in itertools.product(
        (1, 64), (512, 1024, 2048), (8192, 65536, 131072), (4, 8, 16, 32, 64)
    ):
        yield _paged(rows, width, k, page)


def jit() -> Iterator[TopkWorkload]:
    """Decode steps over pages of 64 keys, which SGLang has for DeepSeek sparse attention, and an extend's rows."""
    shapes = list(itertools.product((512, 2048), (8192, 65536, 262144), (1, 8, 16, 64, 256)))
    for k, width, rows in shapes:
        yield _paged(rows, width, k, 64)
    for k, width, rows in shapes:
        yield TopkWorkload(operation="topk.ragged", rows=rows, width=width, k=k, mode="eager")


def _paged(rows: int, width: int, k: int, page: int) -> TopkWorkload:
    return TopkWorkload(operation="topk.paged", rows=rows, width=width, k=k, mode="eager", page_size=page)


GRIDS = {"aim": aim, "sglang": sglang, "jit": jit}
# Grids on which ours meets a part of the others: how the names of their backends begin.
ONLY = {"jit": "sglang.topk_transform"}


@dataclass
class Bench:
    """A device and its timer, and which candidates were wrong on some kind of scores."""

    device: Device
    environment: Environment
    timer: Timer
    only: str = ""
    """How the names of the others begin."""
    wrong: dict[tuple[str, Candidate], list[str]] = field(default_factory=dict)
    """By operation and candidate."""

    def candidates(self, workload: TopkWorkload) -> list[Candidate]:
        return [
            candidate
            for backend in REGISTRY.of(workload.operation)
            if backend.name == OURS or backend.name.startswith(self.only)
            if backend.missing() is None
            for candidate in backend.candidates(workload, self.device)
            if backend.why_unsupported(workload, self.device, candidate) is None and _promises_nothing(candidate)
        ]

    def build(self, workload: TopkWorkload) -> None:
        """Compile what the workload's candidates run."""
        for candidate in self.candidates(workload):
            build = REGISTRY.get(candidate.backend).build
            if build is not None:
                build(workload, **dict(candidate.knobs))

    def check(self, workload: TopkWorkload) -> None:
        """Note which candidates are wrong on which kinds of scores."""
        for candidate, kinds in self.wrong_on(workload, self.candidates(workload)).items():
            self.wrong.setdefault((workload.operation, candidate), []).extend(kinds)

    def wrong_on(self, workload: TopkWorkload, candidates: Iterable[Candidate]) -> dict[Candidate, list[str]]:
        """On which kinds of scores each candidate is wrong; those that are right on all are left out."""
        from autotune_cli.kernels.topk.problem import make_problem
        from autotune_cli.worker.launching import prepare

        found: dict[Candidate, list[str]] = {}
        chosen = list(candidates)
        for kind in ALL_DISTRIBUTIONS:
            problem = make_problem(workload.model_copy(update={"distributions": (kind,)}), kind, "cuda", 1)
            for candidate in chosen:
                if not problem.check(prepare(candidate, problem, captured=False).run()).ok:
                    found.setdefault(candidate, []).append(kind)
        return found

    def measure(self, workload: TopkWorkload) -> tuple[dict[Candidate, float], set[Candidate]]:
        """Times in microseconds of the quickest, and which candidates were wrong on what was timed."""
        from autotune_cli.kernels.topk.problem import make_problem
        from autotune_cli.worker.launching import Launchable, prepare

        problem = make_problem(workload, "normal", "cuda", 1)
        launches: dict[Candidate, Launchable] = {}
        wrong = set()
        for candidate in self.candidates(workload):
            launch = prepare(candidate, problem, captured=False)
            if not problem.check(launch.run()).ok:
                wrong.add(candidate)
            launches[candidate] = launch
        rough = self._time(launches, ROUGH_ITERATIONS)
        order = sorted(rough, key=lambda candidate: rough[candidate])
        chosen = [each for mine in (True, False) for each in [c for c in order if _is_ours(c) == mine][:FINALISTS]]
        # Others that are right may lie behind quicker ones that aren't.
        right = [each for each in order if not _is_ours(each) and self.is_right(workload, each, wrong)]
        finalists = dict.fromkeys([*chosen, *right[:FINALISTS]])
        rounds = [self._time({each: launches[each] for each in finalists}, ITERATIONS) for _ in range(ROUNDS)]
        return {each: median([one[each] for one in rounds]) for each in finalists}, wrong

    def is_right(self, workload: TopkWorkload, candidate: Candidate, wrong: Iterable[Candidate]) -> bool:
        return candidate not in wrong and (workload.operation, candidate) not in self.wrong

    def _time(self, launches: dict[Candidate, Any], iterations: int) -> dict[Candidate, float]:
        samples = self.timer.measure([launch.run for launch in launches.values()], iterations)
        return {each: median(sample.us) for each, sample in zip(launches, samples, strict=True)}


def _promises_nothing(candidate: Candidate) -> bool:
    if _is_ours(candidate):
        return dict(candidate.knobs).get("tie_break") == "small"
    return all(dict(candidate.knobs).get(name, default) == default for name, default in PROMISES.items())


def _is_ours(candidate: Candidate) -> bool:
    return candidate.backend == OURS


def table(bench: Bench, workloads: Iterable[TopkWorkload]) -> Iterator[str]:
    """Lines of Markdown, a cell of the grid each."""
    yield "| rows x width | k | page | floor us | best other us | by | ours us | by | other / ours | ours / floor |"
    yield "| --- |" + " ---: |" * 4 + " --- | ---: | --- | ---: | ---: |"
    for workload in workloads:
        times, wrong = bench.measure(workload)
        order = sorted(times, key=lambda candidate: times[candidate])
        ours = next((each for each in order if _is_ours(each) and bench.is_right(workload, each, wrong)), None)
        other = next((each for each in order if not _is_ours(each) and bench.is_right(workload, each, wrong)), None)
        floor = floor_us(cost(workload), bench.environment)
        before = order[: order.index(other)] if other is not None else order
        quicker = [f"{each.label} {times[each]:.1f}" for each in before if not _is_ours(each)]
        by = "-" if other is None else other.label
        by += f" (wrong: {', '.join(quicker)})" if quicker else ""
        mine = None if ours is None else times[ours]
        theirs = None if other is None else times[other]
        page = str(workload.page_size) if workload.operation == "topk.paged" else "-"
        cells = [workload.shape, str(workload.k), page, _us(floor), _us(theirs), by, _us(mine)]
        cells += [
            "-" if ours is None else ours.label.removeprefix(f"{OURS} "),
            _ratio(theirs, mine),
            _ratio(mine, floor),
        ]
        yield f"| {' | '.join(cells)} |"


def _us(time_us: float | None) -> str:
    return "-" if time_us is None else f"{time_us:.1f}"


def _ratio(above: float | None, below: float | None) -> str:
    return "-" if not above or not below else f"{above / below:.2f}"


def main(arguments: list[str]) -> int:
    """The command line of the docstring above."""
    names = arguments or [name for name in GRIDS if name not in ONLY]
    if not set(names) <= set(GRIDS):
        print(__doc__, file=sys.stderr)
        return 2
    import torch

    if not torch.cuda.is_available():
        print("no NVIDIA GPU here: nothing is measured", file=sys.stderr)
        return 4
    from autotune_cli.measure.environment import collect, device_of
    from autotune_cli.measure.roofline import measure_ceilings
    from autotune_cli.measure.timers import make_timer

    environment, gpu = collect("cuda")
    assert gpu is not None
    device = device_of(environment)
    ceilings = measure_ceilings(device, "cupti", gpu)
    environment = environment.model_copy(update=ceilings.model_dump())
    timer = make_timer("cupti", "cuda")
    for name in names:
        begin = time.monotonic()
        bench = Bench(device, environment, timer, ONLY.get(name, ""))
        workloads = list(GRIDS[name]())
        # Of each operation the first shape: what is compiled for it serves all.
        firsts = list({workload.operation: workload for workload in workloads}.values())
        if name in ONLY and not any(not _is_ours(each) for first in firsts for each in bench.candidates(first)):
            print(f"{name}: no candidate of {ONLY[name]} here, so there is nothing to compare", file=sys.stderr)
            return 4
        for first in firsts:
            bench.build(first)
            if name not in ONLY:
                bench.check(_checked(first))
        operations = " and ".join(first.operation for first in firsts)
        print(f"\n## {name}: {operations}, {environment.device}, torch {torch.__version__}\n")
        for line in table(bench, workloads):
            print(line, flush=True)
        for line in wrongs(bench, firsts) if name not in ONLY else wrongs_by_shape(bench, workloads):
            print(f"\n{line}", flush=True)
        print(f"\n{time.monotonic() - begin:.0f} s.")
    return 0


def _checked(workload: TopkWorkload) -> TopkWorkload:
    rows, width, k = CHECKED
    return workload.model_copy(update={"rows": rows, "width": width, "k": k})


def wrongs(bench: Bench, workloads: Iterable[TopkWorkload]) -> Iterator[str]:
    """A sentence for each candidate that is wrong on some kind of scores at the shape that is checked."""
    for workload in workloads:
        for (operation, candidate), kinds in bench.wrong.items():
            if operation == workload.operation:
                yield f"Wrong at {_checked(workload).shape}: {candidate.label} on {', '.join(kinds)}."


def wrongs_by_shape(bench: Bench, workloads: Iterable[TopkWorkload]) -> Iterator[str]:
    """A sentence for each shape of k 2048 with the others that are wrong there."""
    for workload in workloads:
        if workload.k != CHECKED[2]:
            continue
        others = [candidate for candidate in bench.candidates(workload) if not _is_ours(candidate)]
        for candidate, kinds in bench.wrong_on(workload, others).items():
            yield f"Wrong at {workload.shape}: {candidate.label} on {', '.join(kinds)}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
