"""How long a first run takes, whose modules are yet to be compiled. On a machine with a GPU, nvcc and 16 cores:

    python benchmarks/first_run.py [--model llama-3.1-8b] [--no-alone] [more options of autotune tune]

Nothing of the user's own caches is touched: FlashInfer, Triton and our own kernels get empty folders. Modules that came
compiled with FlashInfer (``flashinfer/data/aot``, flashinfer-jit-cache) are not hidden: use an installation without.

1. each module alone on the machine, one after another, as they were built before (``--no-alone`` leaves it out);
2. ``autotune tune --no-cache`` with nothing compiled: the build phase, from the line that begins it to the last
   module's, and the whole command;
3. the same command again with everything compiled.

The aim: the build phase takes the longest module's time alone and a fifth more. Exit code 1: missed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from autotune_cli.commands.devices import choose_device
from autotune_cli.kernels.models import build_suite, choose_model
from autotune_cli.tuning.building import build
from autotune_cli.tuning.jobs import ListToBuild, Plan
from autotune_cli.tuning.messages import ToBuild
from autotune_cli.tuning.progress import TuneProgress
from autotune_cli.tuning.resources import cores, free_bytes
from autotune_cli.worker.process import Worker
from autotune_cli.worker.protocol import WorkerSettings

AIM = 1.2
FOLDERS = ("FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_DIR", "AUTOTUNE_BUILD_DIR")
BEGUN = re.compile(r"^building (\d+) modules? that")
BUILT = re.compile(r"^  built (.+) in (\d+) s \((\d+) of (\d+)\)")
FAILED = re.compile(r"^building .+: ")


@contextmanager
def empty_folders() -> Iterator[None]:
    before = {name: os.environ[name] for name in FOLDERS if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="first-run-") as folder:
        for name in FOLDERS:
            os.environ[name] = os.path.join(folder, name.lower())
            os.mkdir(os.environ[name])
        try:
            yield
        finally:
            for name in FOLDERS:
                del os.environ[name]
            os.environ.update(before)


def listed(model: str | None, gpu: str | None) -> ToBuild:
    """What the model's suite needs that isn't compiled."""
    suite = build_suite(choose_model(model, None, "cuda", None), "cuda")
    worker = Worker(WorkerSettings("cuda"), gpu)
    try:
        plans = worker.ask(Plan(suite.workloads), 120.0)
        wanted = [(p.workload, tuple(e.candidate for e in p.candidates if e.status is None)) for p in plans]
        begin = time.monotonic()
        worker.ask(ListToBuild(tuple(wanted)), 120.0)
        first = time.monotonic() - begin
        begin = time.monotonic()
        found: ToBuild = worker.ask(ListToBuild(tuple(wanted)), 120.0)
        count = sum(len(candidates) for _, candidates in wanted)
        print(
            f"listing {len(found.modules)} modules of {count} candidates: {first:.2f} s with the import of FlashInfer, "
            f"{time.monotonic() - begin:.3f} s without"
        )
        return found
    finally:
        worker.kill()


def alone(found: ToBuild) -> dict[str, float]:
    """Seconds of each module alone, with as many compilers as it can use."""
    times = {}
    for module in found.modules:
        outcome = build(ToBuild((module,), {}), WorkerSettings("cuda"), TuneProgress(), threading.Event())
        times[module.title] = outcome.seconds[module.name]
        print(
            f"  {times[module.title]:7.1f} s  {module.title}  {outcome.outcomes[module.name].reason or ''}", flush=True
        )
    return times


def tune(options: list[str]) -> tuple[float, float, dict[str, float]]:
    """Wall seconds of the command and of its build phase, and of each module within it."""
    command = [sys.executable, "-m", "autotune_cli", "tune", "--no-cache", *options]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first, last, failed, times = 0.0, 0.0, 0, {}
    for line in process.stderr:
        # As they come, so that a run that is cut off has told how far it was.
        print(f"  {time.monotonic() - begin:6.1f} s  {line.rstrip()}", flush=True)
        if BEGUN.match(line):
            first = time.monotonic()
        elif match := BUILT.match(line):
            last = time.monotonic()
            times[match[1]] = float(match[2])
        elif FAILED.match(line):
            last = time.monotonic()
            failed += 1
    code = process.wait()
    wall = time.monotonic() - begin
    if code:
        sys.exit(f"autotune tune ended with exit code {code}")
    if failed:
        print(f"  ! {failed} of {failed + len(times)} modules could not be built")
    return wall, max(0.0, last - first), times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--no-alone", action="store_true")
    own, options = parser.parse_known_args()
    options += ["--model", own.model] if own.model else []
    kind, gpus = choose_device("cuda", None)
    memory = free_bytes()
    print(
        f"{kind}, {cores()} cores, {'?' if memory is None else f'{memory / 1e9:.0f}'} GB free, {own.model or 'default'}"
    )
    single: dict[str, float] = {}
    if not own.no_alone:
        with empty_folders():
            print("each module alone:")
            single = alone(listed(own.model, gpus[0]))
    with empty_folders():
        wall, phase, times = tune(options)
        again, nothing, _ = tune(options)
    print(f"modules            {len(times):8d}")
    if single:
        print(f"sum, each alone    {sum(single.values()):8.1f} s")
        print(f"longest alone      {max(single.values()):8.1f} s")
    print(f"longest in the run {max(times.values(), default=0.0):8.1f} s")
    print(f"build phase        {phase:8.1f} s")
    print(f"first run, whole   {wall:8.1f} s")
    print(f"second run, whole  {again:8.1f} s  (its build phase: {nothing:.1f} s)")
    if single:
        ratio = phase / max(single.values())
        print(f"build phase over the longest alone: {ratio:.2f}  (aim: at most {AIM:g})")
        sys.exit(ratio > AIM)


if __name__ == "__main__":
    main()
