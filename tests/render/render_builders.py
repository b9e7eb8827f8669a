"""Small results to draw."""

from __future__ import annotations

from typing import Any

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.results.schema import (
    BaselineResult,
    CandidateResult,
    CaseEvidence,
    Choice,
    Environment,
    RunFile,
    Settings,
    WorkloadResult,
)

ENVIRONMENT = Environment(
    device_kind="cuda",
    device="NVIDIA H200",
    driver="580.159",
    python="3.12.3",
    libraries={"torch": "2.11.0", "flashinfer": "0.6.18", "sgl_kernel": "not installed"},
)
CPU = Environment(device_kind="cpu", device="AMD [bold]EPYC", threads=2, python="3.12.3", libraries={"torch": "2.13.0"})
SETTINGS = Settings(timer="cupti", l2="cold", rounds=10, iterations=25, seed=0)
GEOMETRY = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)
# What rich would take for markup, in a name and in a reason.
BRACKETS = "knob [red]x[/red] [/]"


def decode(batch: int = 64, context: int = 8192) -> AttentionWorkload:
    return AttentionWorkload(
        operation="attention.decode", geometry=GEOMETRY, batch=batch, context=context, mode="graph"
    )


def extend() -> AttentionWorkload:
    return AttentionWorkload(
        operation="attention.extend", geometry=GEOMETRY, batch=4, new=512, context=2048, mode="eager", spread="even"
    )


def topk(rows: int = 16) -> TopkWorkload:
    return TopkWorkload(operation="topk.select", rows=rows, width=262144, k=2048, mode="eager")


def candidate(key: str, us: float | None = None, **changes: Any) -> CandidateResult:
    fields: dict[str, Any] = {"key": key, "backend": key, "label": key, "status": "ok"}
    if us is not None:
        fields |= {"rounds": (0, 1), "rounds_us": (us, us), "median_us": us, "interval_us": (us - 0.5, us + 0.5)}
        fields |= {"rough_us": us}
    return CandidateResult(**(fields | changes))


def failed(key: str, status: str, reason: str = "no reason", **changes: Any) -> CandidateResult:
    return candidate(key, status=status, reason=reason, **changes)


def wrong(key: str, case: str = "normal", us: float = 5.0, **changes: Any) -> CandidateResult:
    evidence = (CaseEvidence(case=case, ok=False, measure="wrong indices", error=21.0, limit=0.0),)
    return failed(key, "incorrect", f"wrong on {case}: misses 21", rough_us=us, evidence=evidence, **changes)


def held(candidate: CandidateResult, name: str = "sglang", **changes: Any) -> BaselineResult:
    """The baseline that the candidate stands for."""
    right = candidate.status in ("ok", "eliminated")
    fields: dict[str, Any] = {
        "name": name,
        "engine": name.split()[0],
        "version": "0.5.23",
        "backend": "fa3",
        "candidate": candidate.key,
        "missing": None if right else f"{candidate.status}: {candidate.reason}",
        "speedup": 1.278 if right else None,
        "speedup_interval": (1.275, 1.281) if right else None,
    }
    return BaselineResult(**(fields | changes))


def result(
    workload: Any = None, *candidates: CandidateResult, winner: str | None = "fast", **changes: Any
) -> WorkloadResult:
    chosen = workload or decode()
    entries = candidates or (candidate("fast", 134.0), candidate("slow", 171.3, default=True))
    default = next((entry for entry in entries if entry.default), None)
    choice = None
    if winner is not None:
        choice = Choice(
            winner=winner,
            tie_set=(winner,),
            best=winner,
            default=None if default is None else default.key,
            over=None if default is None else "sglang",
            speedup=None if default is None else 1.278,
            speedup_interval=None if default is None else (1.275, 1.281),
            reason="separated",
        )
    fields: dict[str, Any] = {
        "workload": chosen,
        "key": chosen.key,
        "environment": "e",
        "identity": {},
        "candidates": entries,
        "choice": choice,
        "baselines": () if default is None else (held(default),),
        "floor_us": 81.7,
        "measured_at": "2026-11-21T09:30:12Z",
    }
    return WorkloadResult(**(fields | changes))


def run_file(*results: WorkloadResult, environment: Environment = ENVIRONMENT, **changes: Any) -> RunFile:
    fields: dict[str, Any] = {
        "kind": "run",
        "name": "llama",
        "created": "2026-11-21T09:30:12Z",
        "program": "kernel-autotune 0.1.0",
        "command": ("autotune", "tune"),
        "environments": {"e": environment},
        "environment": "e",
        "settings": SETTINGS,
        "noise_floor": 0.002,
        "workloads": results,
    }
    return RunFile(**(fields | changes))
