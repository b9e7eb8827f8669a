"""What a result rests on: machine, libraries, settings, the file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autotune_cli.measure.timers import header_words
from autotune_cli.report.model import Fact, FactGroup
from autotune_cli.results.schema import Environment, RunFile, Settings, WorkloadResult


def environment_facts(
    run: RunFile,
    environment: Environment,
    settings: Settings,
    noise: float | None,
    results: Sequence[WorkloadResult],
) -> tuple[FactGroup, ...]:
    """Groups of facts; what is not known is left out."""
    groups = (
        ("Device", _device(environment, results)),
        ("Ceilings, measured", _ceilings(environment)),
        ("Software", _software(environment)),
        ("Environment variables", list(environment.variables.items())),
        ("How it was measured", _method(settings, noise)),
        ("File", _file(run, results)),
    )
    return tuple(
        FactGroup(title, tuple(Fact(name, str(value)) for name, value in facts if value is not None))
        for title, facts in groups
        if any(value is not None for _, value in facts)
    )


def _device(environment: Environment, results: Sequence[WorkloadResult]) -> list[tuple[str, object]]:
    major = environment.capability
    cards = sorted({result.card for result in results if result.card})
    return [
        ("device", environment.device),
        ("compute capability", None if major is None else f"{major[0]}.{major[1]}"),
        ("multiprocessors", environment.multiprocessors or None),
        ("threads", environment.threads or None),
        ("memory", _bytes(environment.memory_bytes)),
        ("L2 cache", _bytes(environment.l2_bytes)),
        ("power limit", None if environment.power_limit_w is None else f"{environment.power_limit_w:.0f} W"),
        ("highest SM clock", _mhz(environment.max_sm_clock_mhz)),
        ("cards" if len(cards) > 1 else "card", ", ".join(cards) or None),
    ]


def _ceilings(environment: Environment) -> list[tuple[str, object]]:
    rates = (
        ("memory", environment.memory_gb_per_s, "GB/s", environment.memory_sm_clock_mhz),
        ("matrix products", environment.matmul_tflop_per_s, "TFLOP/s", environment.matmul_sm_clock_mhz),
        ("FP8 matrix products", environment.fp8_tflop_per_s, "TFLOP/s", environment.fp8_sm_clock_mhz),
    )
    return [
        (name, None if rate is None else f"{rate:,.1f} {unit}" + (f" at an SM clock of {_mhz(clock)}" if clock else ""))
        for name, rate, unit, clock in rates
    ]


def _software(environment: Environment) -> list[tuple[str, object]]:
    return [
        ("driver", environment.driver),
        ("CUDA", environment.cuda),
        ("Python", environment.python),
        *environment.libraries.items(),
    ]


def _method(settings: Settings, noise: float | None) -> list[tuple[str, object]]:
    return [
        ("timer", header_words(settings.timer)),
        ("L2 cache", settings.l2),
        ("rounds", settings.rounds),
        ("calls of a round, at most", settings.iterations),
        ("placements in memory", settings.places),
        ("exhaustive", "yes" if settings.exhaustive else None),
        ("budget", None if settings.budget_s is None else f"{settings.budget_s:g} s"),
        ("limit of a candidate", f"{settings.timeout_s:g} s"),
        ("seed", settings.seed),
        ("noise band", None if noise is None else f"{100 * noise:.2f} %"),
    ]


def _file(run: RunFile, results: Sequence[WorkloadResult]) -> list[tuple[str, object]]:
    times = sorted(result.measured_at for result in results)
    ends = [utc(time) for time in dict.fromkeys((*times[:1], *times[-1:]))]
    return [
        ("name", run.name),
        ("kind", run.kind),
        ("written", utc(run.created)),
        ("measured", " to ".join(ends) or None),
        ("program", run.program),
        ("command", shlex.join(run.command) or None),
        ("complete", "yes" if run.complete else "no: it was interrupted, or its budget was spent"),
        ("wall time", f"{run.wall_s:,.0f} s" if run.wall_s else None),
    ]


def utc(time: str) -> str:
    """``2026-11-27 13:34:21 UTC`` of the file's ISO 8601; what is not of that form stays."""
    for end in ("+00:00", "Z"):
        if time.endswith(end) and time[10:11] == "T":
            return f"{time[:10]} {time[11 : -len(end)]} UTC"
    return time


def _bytes(number: int) -> str | None:
    if not number:
        return None
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 2**20:,.1f} MiB"


def _mhz(clock: float | None) -> str | None:
    return None if clock is None else f"{clock:.0f} MHz"
