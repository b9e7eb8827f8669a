"""What `autotune profile` adds to the decode step that it records.

    python benchmarks/profile_overhead.py            # needs a GPU and FlashInfer

A step plans, writes the new keys, attends ``calls`` times and waits for the GPU. Plain: without ranges and profiler,
the median of many. Recorded: the same step as `profile` runs it, under ranges, once in a session. `profile` has one
session, the first of its process: so each case has a process of its own, and beside it stands what later sessions
take. What else a session takes is in the second table: start, end, writing the trace, and the verdict on it. Wall
times. Aim: in the first session recorded takes no more than 3 times plain, beside the profiler's start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
STEPS = 50
SESSIONS = 8
AIM = 3.0
# What a session does beside the steps.
PARTS = ("start", "end", "write", "judge")


def clocked(work: Callable[[], Any]) -> float:
    """Milliseconds that it takes until the GPU is done."""
    import torch

    torch.cuda.synchronize()
    begin = time.perf_counter_ns()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter_ns() - begin) / 1e6


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


def measured(index: int) -> dict[str, Any]:
    """Plain steps, then sessions. Milliseconds: of each phase plain, and of each session all its parts."""
    from autotune_cli.profiling.recording.run import Recorder, problem_of

    spec = spec_of(index)
    problems = [problem_of(layer, spec.seed) for layer in spec.layers]
    recorder = Recorder(spec, problems, device(), lambda what, subject: None)
    recorder.prepare()
    faults = [done.error for done in recorder.runs.values() if done.error]
    if faults:
        sys.exit(faults[0])
    steps = {
        plan.name: median([clocked(partial(plain, recorder, plan.name)) for _ in range(STEPS)]) for plan in spec.phases
    }
    with tempfile.TemporaryDirectory() as folder:
        sessions = [recorded(recorder, Path(folder) / "trace.json.gz") for _ in range(SESSIONS)]
    return {"plain": steps, "sessions": sessions}


def plain(recorder: Any, phase: str) -> None:
    """A step of a prepared phase, as it would be without us."""
    step = recorder.steps[phase]
    step.plan()
    if phase == "replay":
        recorder.graph.replay()
    else:
        step.run()


def recorded(recorder: Any, trace: Path) -> dict[str, float]:
    """One session as `profile` has it, and the verdict: milliseconds by part and by phase."""
    from autotune_cli.profiling.recording.run import profiler

    session = profiler()
    spent = {"start": clocked(session.start)}
    for plan in recorder.spec.phases:
        recorder.steps[plan.name].forget()
        spent[plan.name] = clocked(partial(recorder.launch, plan))
    spent["end"] = clocked(session.stop)
    spent["write"] = clocked(partial(session.export_chrome_trace, str(trace)))
    done = LiveRun(recorder.device.name, Recorded(str(trace), tuple(recorder.runs.values())))
    begin = time.perf_counter_ns()
    verdict, _ = judge_live_run(done, load_classifier(), "decode")
    spent["judge"] = (time.perf_counter_ns() - begin) / 1e6
    return {**spent, "kB": trace.stat().st_size / 1e3, "exit code": verdict.exit_code}


def main() -> None:
    """Print two Markdown tables; exit code 1 where the aim is missed or a verdict is no pass."""
    if len(sys.argv) == 2:
        print(json.dumps(measured(int(sys.argv[1]))))
        return
    steps: list[str] = []
    rests: list[str] = []
    missed: list[str] = []
    for index, (batch, context, calls) in enumerate(CASES):
        command = [sys.executable, __file__, str(index)]
        found = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
        )
        name, (first, *later) = f"{batch} x {context} | {calls}", found["sessions"]
        for phase, ms in found["plain"].items():
            usual = median([session[phase] for session in later])
            shown = f"{name} | {phase} | {ms:.3f} | {first[phase]:.3f} | {first[phase] / ms:.2f}"
            steps.append(f"| {shown} | {usual:.3f} | {usual / ms:.2f} |")
            missed += [f"{name} {phase}"] if first[phase] > AIM * ms else []
        usual_parts = [median([session[part] for session in later]) for part in PARTS]
        pairs = zip(PARTS, usual_parts, strict=True)
        parts = " | ".join(f"{first[part]:.1f}, {ms:.1f}" for part, ms in pairs)
        rests.append(f"| {name} | {parts} | {first['kB']:.1f} |")
        missed += [f"{name}: a verdict that is no pass"] if any(one["exit code"] for one in found["sessions"]) else []
    print("| decode | calls | phase | plain ms | first session ms | over plain | later sessions ms | over plain |")
    print("|---|--:|---|--:|--:|--:|--:|--:|", *steps, sep="\n")
    print("\nMilliseconds of the first session, and the median of the later ones:\n")
    print(
        "| decode | calls | start | end | write | judge | trace kB |\n|---|--:|--:|--:|--:|--:|--:|", *rests, sep="\n"
    )
    print(f"\naim of {AIM:g} missed: {'; '.join(missed) or 'nowhere'}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
