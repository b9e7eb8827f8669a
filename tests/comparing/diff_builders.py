"""Small valid runs to compare, and the program run in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.records import Comparison, Report
from autotune_cli.comparing.report import compare
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.measure.statistics import median
from autotune_cli.results.files import dump_run
from autotune_cli.results.identity import environment_key, identity
from autotune_cli.results.schema import (
    CandidateResult,
    Choice,
    Conditions,
    Environment,
    RunFile,
    Settings,
    WorkloadResult,
)

FAST, SLOW = "lib.fast(page=16)", "lib.slow"
GEOMETRY = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)


def env(**changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "device_kind": "cuda",
        "device": "NVIDIA H200",
        "capability": (9, 0),
        "multiprocessors": 132,
        "driver": "580.1",
        "cuda": "13.0",
        "python": "3.12.3",
        "libraries": {"torch": "2.11.0", "flashinfer": "0.6.18"},
    }
    return Environment(**(fields | changes))


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {"timer": "cupti", "l2": "cold", "rounds": 10, "iterations": 25, "seed": 0}
    return Settings(**(fields | changes))


def workload(batch: int = 64, context: int = 8192, mode: str = "graph") -> AttentionWorkload:
    return AttentionWorkload.model_validate(
        {"operation": "attention.decode", "geometry": GEOMETRY, "batch": batch, "context": context, "mode": mode}
    )


def candidate(key: str, rounds_us: Sequence[float] = (), **changes: Any) -> CandidateResult:
    times = tuple(rounds_us)
    fields: dict[str, Any] = {
        "key": key,
        "backend": key.partition("(")[0],
        "label": key,
        "status": "ok" if times else "eliminated",
        "rounds": tuple(range(len(times))),
        "rounds_us": times,
        "median_us": median(times) if times else None,
    }
    return CandidateResult(**(fields | changes))


def failed(key: str, status: str = "incorrect", **changes: Any) -> CandidateResult:
    return candidate(key, status=status, reason="wrong on normal: misses 21 of 2048", **changes)


def noisy(us: float, seed: object, count: int = 10, spread: float = 0.0015) -> tuple[float, ...]:
    generator = random.Random(str(seed))
    return tuple(us * (1.0 + generator.gauss(0.0, spread)) for _ in range(count))


def result(
    candidates: Sequence[CandidateResult],
    batch: int = 64,
    winner: str | None = "first",
    ties: Sequence[str] = (),
    environment: Environment | None = None,
    how: Settings | None = None,
    mode: str = "graph",
    when: str = "2026-11-21T09:30:12Z",
    **changes: Any,
) -> WorkloadResult:
    environment, how, work = environment or env(), how or settings(), workload(batch, mode=mode)
    timed = [c.key for c in candidates if c.rounds_us]
    chosen = (timed[0] if timed else None) if winner == "first" else winner
    fields: dict[str, Any] = {
        "workload": work,
        "card": "GPU-1",
        "key": work.key,
        "environment": environment_key(environment),
        "identity": identity(work, environment, how, {"lib": "aaaa"}, [c.key for c in candidates]),
        "candidates": tuple(candidates),
        "choice": chosen
        and Choice(winner=chosen, tie_set=(chosen, *ties), best=chosen, default=None, reason="separated"),
        "conditions": tuple(Conditions(round=i, sm_clock_mhz=1980.0) for i in range(10)),
        "measured_at": when,
    }
    return WorkloadResult(**(fields | changes))


def run(*results: WorkloadResult, environment: Environment | None = None, **changes: Any) -> RunFile:
    environment = environment or env()
    fields: dict[str, Any] = {
        "kind": "run",
        "name": "llama",
        "created": "2026-11-21T09:30:12Z",
        "program": "kernel-autotune 0.1.0",
        "command": ("autotune", "tune"),
        "environments": {environment_key(environment): environment},
        "environment": environment_key(environment),
        "settings": settings(),
        "noise_floor": 0.002,
        "workloads": results,
    }
    return RunFile(**(fields | changes))


def session(
    seed: int, factors: Mapping[str, float] | None = None, batches: Sequence[int] = (1, 8, 64), **changes: Any
) -> RunFile:
    """A run of a few workloads with a default and a faster candidate, each with noise of its own."""
    factors = factors or {}
    when = f"2026-11-21T{seed // 60 % 24:02d}:{seed % 60:02d}:12Z"
    results = []
    for batch in batches:
        base = 40.0 + batch
        fast = candidate(FAST, noisy(base * factors.get(FAST, 1.0), (seed, batch, FAST)))
        slow = candidate(SLOW, noisy(1.2 * base * factors.get(SLOW, 1.0), (seed, batch, SLOW)), default=True)
        results.append(result((slow, fast), batch, winner=FAST, when=when, environment=changes.get("environment")))
    return run(*results, **changes)


def rank(seed: int, slow_at: Sequence[int] = (), batches: Sequence[int] = (1, 8, 64), **changes: Any) -> RunFile:
    """A rank on which the usually fast candidate takes 2.4 times as long at some batch sizes, so it isn't chosen."""
    more = {"environment": changes.get("environment"), "when": f"2026-11-21T00:00:{seed:02d}Z", "card": f"GPU-{seed}"}
    results = []
    for batch in batches:
        is_slow = batch in slow_at
        fast = candidate(FAST, noisy((40.0 + batch) * (2.4 if is_slow else 1.0), (seed, batch, FAST)))
        slow = candidate(SLOW, noisy(1.2 * (40.0 + batch), (seed, batch, SLOW)), default=True)
        results.append(result((slow, fast), batch, winner=SLOW if is_slow else FAST, **more))
    return run(*results, **changes)


def report(
    a: RunFile | Sequence[RunFile], b: RunFile | Sequence[RunFile], allowed: Sequence[str] = (), **rule: Any
) -> Report:
    sides = [
        [
            LoadedFile(Path(f"{name}{i}.json"), item)
            for i, item in enumerate([side] if isinstance(side, RunFile) else side)
        ]
        for name, side in (("a", a), ("b", b))
    ]
    return compare(sides[0], sides[1], DecisionRule(**rule), frozenset(allowed))


def found(of: Report, key: str, batch: int | None = None) -> Comparison:
    """The comparison of a candidate."""
    rows = [c for c in of.comparisons if c.candidate == key and (batch is None or c.workload == workload(batch).key)]
    assert rows, [c.candidate for c in of.comparisons]
    return rows[0]


def write(path: Path, content: RunFile | object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_run(content) if isinstance(content, RunFile) else json.dumps(content), encoding="utf-8")
    return path


FLASHINFER: dict[str, object] = {
    "_metadata": {"flashinfer_version": "0.6.18", "cuda_version": "13.0", "cudnn_version": "*", "gpu": "NVIDIA H200"},
    "('bf16_gemm', 'CutlassRunner', ((64, 4096), (4096, 4096)), (torch.bfloat16,))": ["CutlassRunner", 3],
    "('trtllm::fused_moe::gemm1', 'MoERunner', ((128, 4096),), ())": ["MoERunner", [64, 128]],
    "_generation": "abc",
}
