"""What benchmarks share that race workloads of their own: one run in one process, of fewer rounds than a user's.

A time is a median over rounds, by the program's own timer, on a cold L2; what left the race early has fewer rounds, or
its rough time from the vetting alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from autotune_cli.commands.kinds import Duration
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.render.watch_lines import Lines
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_one
from autotune_cli.results.schema import MEASURED, CandidateResult, RunFile, WorkloadResult
from autotune_cli.tuning.policy import RacePolicy
from autotune_cli.tuning.request import Request, RunOutcome
from autotune_cli.tuning.run import tune
from autotune_cli.worker.protocol import WorkerSettings


def race(
    name: str,
    workloads: Iterable[AnyWorkload],
    *,
    rounds: int,
    backends: Sequence[str] = (),
    page_sizes: Sequence[int] = (),
    budget: str | None = None,
) -> RunOutcome:
    """Tune the workloads on the first GPU, into ``runs/``, and say on stderr how it goes.

    Args:
        rounds: of a candidate that stays in the race; one round before them knocks out.
        backends, page_sizes: only these; empty: all.
        budget: such as ``90s``.
    """
    request = Request(
        name=name,
        workloads=tuple(workloads),
        worker=WorkerSettings("cuda"),
        policy=replace(RacePolicy().with_rounds(rounds), heats=1),
        root=Path(),
        use_cache=False,
        backends=tuple(backends),
        page_sizes=tuple(page_sizes),
        budget_s=None if budget is None else Duration().value("BUDGET", budget),
        command=tuple(sys.argv),
    )
    return tune(request, Lines(Console(stderr=True)), threading.Event())


def backends(*operations: str) -> tuple[str, ...]:
    """All backends of the operations but torch's, whose cuDNN takes seconds for each new length."""
    names = [backend.name for operation in operations for backend in REGISTRY.of(operation)]
    return tuple(dict.fromkeys(name for name in names if not name.startswith("torch.")))


def newest(name: str, paths: Sequence[str] = ()) -> RunFile:
    """The run of that path or name, by default the newest of ``name``."""
    return read_run(find_one(paths[0] if paths else name, Path()))


def measured(result: WorkloadResult) -> list[CandidateResult]:
    """Its right candidates that have a time, the fastest first."""
    return sorted((one for one in result.candidates if one.status in MEASURED and us(one)), key=us)


def us(candidate: CandidateResult) -> float:
    """A candidate's time in microseconds; 0: it has none."""
    return candidate.median_us or candidate.rough_us or 0.0


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*names: str) -> str:
    """The first two lines of a Markdown table."""
    return f"{row(*names)}\n{row(*('---' for _ in names))}"


def command_line(
    arguments: Sequence[str],
    usage: str | None,
    name: str,
    run: Callable[[str], RunOutcome],
    table: Callable[[RunFile], str],
    budget: str,
) -> int:
    """``run [BUDGET]`` races and prints the table, ``table [RUN]`` prints that of a run. The exit code.

    Args:
        run: takes a budget such as ``90s``; ``budget`` unless the user gives one.
    """
    match list(arguments):
        case ["run", *given] if len(given) < 2:
            outcome = run([*given, budget][0])
            print(outcome.path)
            print(table(outcome.run))
            return 0 if all(result.choice is not None for result in outcome.run.workloads) else 4
        case ["table", *paths] if len(paths) < 2:
            print(table(newest(name, paths)))
            return 0
    print(usage, file=sys.stderr)
    return 2
