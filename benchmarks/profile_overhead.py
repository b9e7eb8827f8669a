"""What `autotune profile` adds to the decode step that it records, and which part of the step it adds it to.

    python benchmarks/profile_overhead.py            # needs a GPU and FlashInfer; about two minutes

A step plans, writes the new keys, attends ``calls`` times and waits for the GPU. Plain: without ranges and profiler,
the median of many. Recorded: the same step as `profile` runs it, under ranges, once in a session. `profile` has one
session, the first of its process, and rehearses each step before it counts: so each case has a process of its own, and
beside it stands what later sessions take. Wall times. Aim: in the first session recorded takes no more than 3 times
plain, beside the profiler's start.

A second table takes the shortest case apart: the ranges' own time, the plan, the launches and the wait for the GPU;
plain, under ranges without a profiler, and in the first session of a process without a rehearsal, with it as `profile`
has it, and with one that is recorded too (what a rehearsal could save at most). What else a session takes is in the
third: start (with the rehearsal), end, writing the trace, and the verdict on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from autotune_cli.kernels.models import load_model
from autotune_cli.kernels.registry import Device
from autotune_cli.measure.statistics import median
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording.recorded import LiveRun, Recorded
from autotune_cli.profiling.request import PathRequest, PhaseName

MODEL = "llama-3.1-8b"
PHASES: tuple[PhaseName, ...] = ("eager", "replay")
# Batch, context, attention calls of a step: 32 are the layers of the model.
CASES = [(8, 2048, 2), (8, 2048, 32), (64, 8192, 2), (64, 8192, 32)]
SHORTEST = 0
STEPS = 50
SESSIONS = 8
AIM = 3.0
# What a session does beside the steps.
AROUND = ("start", "end", "write", "judge")
# What a step is made of; ``ranges`` is what the others leave of the whole.
PARTS = ("ranges", "plan", "launch", "wait")
REHEARSED, COLD, RECORDED = "rehearsed", "cold", "recorded too"

Step = dict[str, float]
"""Microseconds by part."""


def spec_of(index: int) -> PathSpec:
    """The path of a case, as `autotune profile --mode decode --phases eager,replay` plans it."""
    batch, context, calls = CASES[index]
    model = load_model(MODEL)
    ask = PathRequest(mode="decode", batch=batch, context=context, calls=calls, phases=PHASES)
    return plan_path(ask, model, model.geometries())[0]


def device() -> Device:
    """This machine's GPU."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return Device("cuda", properties.name, (properties.major, properties.minor), properties.multi_processor_count)


class Clock:
    """Adds up what the parts of a step take, in microseconds."""

    def __init__(self) -> None:
        self.spent: Step = {}

    def around(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter_ns()
            try:
                return work(*args, **kwargs)
            finally:
                self.spent[part] = self.spent.get(part, 0.0) + (time.perf_counter_ns() - begin) / 1e3

        return timed

    def step(self, work: Callable[[], Any]) -> Step:
        """The parts of one step, until the GPU is done."""
        import torch

        torch.cuda.synchronize()
        self.spent = {}
        self.around("whole", work)()
        self.around("wait", torch.cuda.synchronize)()
        whole = self.spent.pop("whole")
        return {**self.spent, "ranges": whole - self.spent["plan"] - self.spent["launch"]}


def milliseconds(work: Callable[[], Any]) -> float:
    """What some work takes until the GPU is done."""
    import torch

    begin = time.perf_counter_ns()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter_ns() - begin) / 1e6


def total(step: Step) -> float:
    """Milliseconds."""
    return sum(step.values()) / 1e3


def middle(steps: Iterable[Step]) -> Step:
    """The median of each part."""
    found = list(steps)
    return {part: median([step[part] for step in found]) for part in PARTS}


@contextmanager
def no_ranges(name: str) -> Iterator[None]:
    """Stands for the ranges of a step."""
    yield


def measured(index: int, way: str) -> dict[str, Any]:
    """Of each phase the parts of a plain step and of one under ranges alone; of each session everything."""
    from autotune_cli.profiling.recording import run

    spec = spec_of(index)
    problems = [run.problem_of(layer, spec.seed) for layer in spec.layers]
    recorder = run.Recorder(spec, problems, device(), lambda what, subject: None)
    recorder.prepare()
    faults = [done.error for done in recorder.runs.values() if done.error]
    if faults:
        sys.exit(faults[0])
    clock = Clock()
    for step in recorder.steps.values():
        vars(step).update(plan=clock.around("plan", step.plan), run=clock.around("launch", step.run))
    graph: Any = recorder.graph
    recorder.graph = SimpleNamespace(replay=clock.around("launch", graph.replay))  # type: ignore[assignment]

    def many() -> dict[str, Step]:
        return {
            plan.name: middle(clock.step(partial(recorder.launch, plan)) for _ in range(STEPS)) for plan in spec.phases
        }

    with patch.object(run, "named", no_ranges):
        found: dict[str, Any] = {"plain": many()}
    # A range's first use is part of what a process pays once.
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json.gz"
        found["sessions"] = [session(recorder, clock, trace, way) for _ in range(SESSIONS if way == REHEARSED else 1)]
    return found | {"ranges": many()}


def session(recorder: Any, clock: Clock, trace: Path, way: str) -> dict[str, Any]:
    """One session as `profile` has it, and the verdict: milliseconds around the steps, and each step by its parts."""
    from autotune_cli.profiling.recording.session import Session

    recording = Session()
    spent: dict[str, Any] = {
        "start": milliseconds(lambda: recording.prepare(recorder.rehearse if way == REHEARSED else None))
    }
    spent["start"] += milliseconds(recording.__enter__)
    if way == RECORDED:
        recorder.rehearse()
    for plan in recorder.spec.phases:
        recorder.steps[plan.name].forget()
        spent[plan.name] = clock.step(partial(recorder.launch, plan))
    spent["end"] = milliseconds(recording.__exit__)
    spent["write"] = milliseconds(lambda: recording.export(str(trace)))
    done = LiveRun(recorder.device.name, Recorded(str(trace), tuple(recorder.runs.values())))
    begin = time.perf_counter_ns()
    verdict, _ = judge_live_run(done, load_classifier(), "decode")
    spent["judge"] = (time.perf_counter_ns() - begin) / 1e6
    return {**spent, "kB": trace.stat().st_size / 1e3, "exit code": verdict.exit_code}


def in_a_process(index: int, way: str) -> dict[str, Any]:
    """:func:`measured`, in a process that has recorded nothing before."""
    command = [sys.executable, __file__, str(index), way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(titles: str, rows: Iterable[str]) -> None:
    print(titles, "|" + "---|" * (titles.count("|") - 1), *rows, sep="\n")


def parts_of(found: dict[str, Any], cold: dict[str, Any], inside: dict[str, Any]) -> Iterable[str]:
    """The shortest case by its parts."""
    first, *later = found["sessions"]
    for phase in PHASES:
        steps = {
            "plain": found["plain"][phase],
            "under ranges, no profiler": found["ranges"][phase],
            "first session, no rehearsal": cold["sessions"][0][phase],
            "first session": first[phase],
            "first session, rehearsed in it": inside["sessions"][0][phase],
            "later sessions": middle(each[phase] for each in later),
        }
        for name, step in steps.items():
            over = total(step) / total(steps["plain"])
            yield row(phase, name, *(f"{step[part]:.0f}" for part in PARTS), f"{total(step) * 1e3:.0f}", f"{over:.2f}")


def main() -> None:
    """Print three Markdown tables; exit code 1 where the aim is missed or a verdict is no pass."""
    if len(sys.argv) == 3:
        print(json.dumps(measured(int(sys.argv[1]), sys.argv[2])))
        return
    steps: list[str] = []
    rests: list[str] = []
    missed: list[str] = []
    every = [in_a_process(index, REHEARSED) for index in range(len(CASES))]
    cold, inside = (in_a_process(SHORTEST, way) for way in (COLD, RECORDED))
    for (batch, context, calls), found in zip(CASES, every, strict=True):
        name, (first, *later) = f"{batch} x {context} | {calls}", found["sessions"]
        for phase in PHASES:
            plain, once = total(found["plain"][phase]), total(first[phase])
            usual = median([total(each[phase]) for each in later])
            cells = (f"{plain:.3f}", f"{once:.3f}", f"{once / plain:.2f}", f"{usual:.3f}", f"{usual / plain:.2f}")
            steps.append(row(name, phase, *cells))
            missed += [f"{name} {phase}"] if once > AIM * plain else []
        usual_parts = [median([each[part] for each in later]) for part in AROUND]
        pairs = zip(AROUND, usual_parts, strict=True)
        rests.append(row(name, *(f"{first[part]:.1f}, {ms:.1f}" for part, ms in pairs), f"{first['kB']:.1f}"))
        missed += [f"{name}: a verdict that is no pass"] if any(one["exit code"] for one in found["sessions"]) else []
    titles = "| decode | calls | phase | plain ms | first session ms | over plain | later sessions ms | over plain |"
    table(titles, steps)
    batch, context, calls = CASES[SHORTEST]
    print(f"\nMicroseconds of the parts of {batch} x {context}, {calls} calls:\n")
    table(
        "| phase | step | ranges | plan | launch | wait | whole | over plain |", parts_of(every[SHORTEST], cold, inside)
    )
    print("\nMilliseconds of the first session, and the median of the later ones:\n")
    table("| decode | calls | start | end | write | judge | trace kB |", rests)
    print(f"\naim of {AIM:g} missed: {'; '.join(missed) or 'nowhere'}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
