"""Sessions for the benchmarks of ``autotune diff``: real runs from files, or synthetic ones modelled on one of them.

A synthetic session takes a real run and gives every candidate a session effect (relative, and some absolute time) and
its rounds fresh noise; which candidates have how many rounds stays. That is no proof, only a stand-in for real runs.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.records import Report
from autotune_cli.comparing.report import compare
from autotune_cli.measure.statistics import median, median_interval
from autotune_cli.results.files import read_run
from autotune_cli.results.naming import find_all
from autotune_cli.results.schema import CandidateResult, RunFile
from autotune_cli.tuning.choose import choose

SHORTEST_US = 10.0
TIE_MARGIN = 0.005
Times = Callable[[str, CandidateResult], tuple[float, ...]]


def read_all(paths: list[str]) -> list[RunFile]:
    """The runs of files and folders."""
    # Of a folder all files: the runs of one name are what is compared.
    names = [f"{path}/*.json" if Path(path).is_dir() else path for path in paths]
    return [read_run(file) for file in find_all(names)]


def diff(a: list[RunFile], b: list[RunFile], rule: DecisionRule | None = None) -> Report:
    """The report on in-memory runs."""
    sides = [
        [LoadedFile(Path(f"{name}{index}.json"), run) for index, run in enumerate(side)]
        for name, side in (("a", a), ("b", b))
    ]
    return compare(sides[0], sides[1], rule)


def with_times(run: RunFile, times: Times, when: str | None = None) -> RunFile:
    """The run with other rounds, its choices made anew from them."""
    workloads = []
    for result in run.workloads:
        candidates = tuple(_retimed(c, times(result.key, c)) if c.rounds_us else c for c in result.candidates)
        measured = {c.key: c.us_by_round for c in candidates if c.rounds_us}
        default = result.choice.default if result.choice else None
        margin = max(TIE_MARGIN, result.noise or 0.0)
        over = result.baselines[0].name if result.baselines else "default"
        picked = choose(measured, [c.key for c in candidates], default, margin, default in measured, over)
        update = {"candidates": candidates, "choice": picked or result.choice}
        workloads.append(result.model_copy(update=update | ({"measured_at": when} if when else {})))
    return run.model_copy(update={"workloads": tuple(workloads)})


def injected(run: RunFile, workload: str, candidate: str, factor: float) -> RunFile:
    """The run with one candidate's times multiplied."""

    def times(key: str, result: CandidateResult) -> tuple[float, ...]:
        scale = factor if (key, result.key) == (workload, candidate) else 1.0
        return tuple(us * scale for us in result.rounds_us)

    return with_times(run, times)


def synthetic(
    run: RunFile, number: int, session: float = 0.0045, session_us: float = 0.02, rounds: float = 0.0025
) -> RunFile:
    """A session like ``run``: effects of standard deviation ``session`` (relative) and ``session_us``, and noise."""
    generator = random.Random(number)

    def times(key: str, result: CandidateResult) -> tuple[float, ...]:
        middle = result.median_us or 1.0
        effect = generator.gauss(0.0, math.hypot(session, session_us / middle))
        # CUPTI counts in steps of 32 ns; medians of 25 iterations fall on halves of them at most.
        noisy = (middle * math.exp(effect + generator.gauss(0.0, rounds)) for _ in result.rounds_us)
        return tuple(max(round(us / 0.032), 1) * 0.032 for us in noisy)

    return with_times(run, times, f"2026-11-21T{number // 60 % 24:02d}:{number % 60:02d}:00+00:00")


def runs_from(arguments: list[str]) -> list[RunFile]:
    """``FILE...``, or ``--synthetic N FILE``."""
    if arguments[:1] == ["--synthetic"]:
        base = read_run(find_all(arguments[2:3])[0])
        print(f"{arguments[1]} SYNTHETIC sessions modelled on {arguments[2]}")
        return [synthetic(base, number) for number in range(int(arguments[1]))]
    runs = read_all(arguments)
    if len(runs) < 2:
        sys.exit("usage: FILE_OR_FOLDER... (two runs at least), or --synthetic N FILE")
    print(f"{len(runs)} runs")
    return runs


def _retimed(candidate: CandidateResult, rounds: tuple[float, ...]) -> CandidateResult:
    return candidate.model_copy(
        update={"rounds_us": rounds, "median_us": median(rounds), "interval_us": median_interval(rounds)}
    )
