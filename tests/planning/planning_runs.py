"""Results to plan for: recorded ones, and small ones that are made."""

from __future__ import annotations

from functools import cache
from typing import Any

from recorded import recorded

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.planning.device import of_one_device
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import (
    BaselineResult,
    CandidateResult,
    Choice,
    Environment,
    PropertyVerdict,
    RunFile,
    Settings,
    WorkloadResult,
)

H100 = Environment(
    device_kind="cuda",
    device="NVIDIA H100 80GB HBM3",
    capability=(9, 0),
    cuda="13.0",
    python="3.12.3",
    libraries={"torch": "2.11.0", "triton": "3.6.0", "sgl_kernel": "0.4.5"},
)
SETTINGS = Settings(timer="cupti", l2="cold", rounds=9, iterations=25, seed=0)
FA3 = {
    "decode": "sgl_kernel.fa3(page_size={page},num_splits=0,scheduler_metadata=true)",
    "extend": "sgl_kernel.fa3(page_size={page},num_splits=0,pack_gqa=none)",
}
FLASHINFER = {
    "decode": "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)",
    "extend": "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)",
}


@cache
def real(name: str, device: str = "h100") -> RunFile:
    """The results of one device in a recorded file."""
    return of_one_device(read_run(recorded(name)), device)


def workload(operation: str, batch: int = 8, **geometry: Any) -> AttentionWorkload:
    """One of Llama-3.1-8B's layers."""
    layer = Geometry(**({"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128} | geometry))
    shape = {"decode": {"context": 4096}, "extend": {"new": 512, "context": 2048}}[operation]
    mode = "graph" if operation == "decode" else "eager"
    return AttentionWorkload(operation=f"attention.{operation}", geometry=layer, batch=batch, mode=mode, **shape)


def candidate(key: str, us: float, half: float = 0.0, **changes: Any) -> CandidateResult:
    """One that was raced nine rounds; ``half`` of its interval."""
    fields: dict[str, Any] = {
        "key": key,
        "backend": key.partition("(")[0],
        "label": key,
        "status": "ok",
        "rounds": tuple(range(9)),
        "rounds_us": (us,) * 9,
        "median_us": us,
        "interval_us": (us - half, us + half),
        "rough_us": us,
    }
    return CandidateResult(**(fields | changes))


def rough(key: str, us: float) -> CandidateResult:
    """One that dropped out before its first round."""
    return CandidateResult(key=key, backend=key.partition("(")[0], label=key, status="eliminated", rough_us=us)


def wrong(key: str) -> CandidateResult:
    return CandidateResult(
        key=key, backend=key.partition("(")[0], label=key, status="incorrect", reason="misses 3 of 8", rough_us=1.0
    )


def result(of: Any, *candidates: CandidateResult, default: str = "", baseline: str = "sglang") -> WorkloadResult:
    """The first candidate wins; ``default`` is what the baseline runs."""
    winner = min((each for each in candidates if each.median_us), key=lambda each: each.median_us or 0.0).key
    missing = None if default else "not measured"
    return WorkloadResult(
        workload=of,
        key=of.key,
        environment="e",
        identity={},
        candidates=candidates,
        measured_at="2026-11-27T00:00:00Z",
        choice=Choice(winner=winner, tie_set=(winner,), best=winner, default=None, reason="separated"),
        baselines=(
            BaselineResult(
                name=baseline,
                engine="sglang",
                version="0.5.23",
                version_from="newest known",
                candidate=default or None,
                missing=missing,
                source="a test",
            ),
        ),
    )


def requiring(of: WorkloadResult, *kept: str) -> WorkloadResult:
    """The same, tuned with ``--require deterministic``, which these candidates keep and no others."""
    verdicts = {
        each.key: PropertyVerdict(
            name="deterministic",
            ok=each.key in kept,
            compared=7,
            message="" if each.key in kept else "3 of 7 runs differed",
        )
        for each in of.candidates
    }
    candidates = tuple(each.model_copy(update={"properties": (verdicts[each.key],)}) for each in of.candidates)
    winner = min((of.candidate(key) for key in kept), key=lambda each: each.median_us or 0.0).key
    choice = Choice(winner=winner, tie_set=(winner,), best=winner, default=None, reason="separated")
    changed = of.model_copy(update={"candidates": candidates, "required": ("deterministic",), "choice": choice})
    return WorkloadResult.model_validate(changed.model_dump())


def run(*results: WorkloadResult, name: str = "llama-3.1-8b", command: tuple[str, ...] = ()) -> RunFile:
    return RunFile(
        kind="run",
        name=name,
        created="2026-11-27T00:00:00Z",
        program="kernel-autotune",
        settings=SETTINGS,
        command=command or ("autotune", "tune", "--model", name),
        environments={"e": H100},
        environment="e",
        workloads=results,
    )


def fa3(operation: str, page: int) -> str:
    """What SGLang's fa3 runs with pages of that size."""
    return FA3[operation].format(page=page)
