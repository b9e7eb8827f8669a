"""Small valid results for tests, and hypothesis strategies of whole runs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.results.identity import environment_key, identity
from autotune_cli.results.journal import JournalHeader
from autotune_cli.results.schema import (
    CandidateResult,
    CaseEvidence,
    Choice,
    Conditions,
    Environment,
    HostTime,
    Kernel,
    RunFile,
    Settings,
    WorkloadResult,
)

WHEN = "2026-11-21T09:30:12Z"
GEOMETRY = Geometry(num_qo_heads=32, num_kv_heads=8, head_dim=128)
SOURCES = {"flashinfer.decode": "aaaa", "torch.sdpa": "bbbb"}
KEYS = ("flashinfer.decode(path=fa3,page_size=16)", "torch.sdpa")


def environment(device: str = "NVIDIA H200", **changes: Any) -> Environment:
    fields: dict[str, Any] = {
        "device_kind": "cuda",
        "device": device,
        "capability": (9, 0),
        "multiprocessors": 132,
        "driver": "580.1",
        "cuda": "13.0",
        "python": "3.12.3",
        "libraries": {"torch": "2.11.0", "flashinfer": "0.6.18"},
        "variables": {"SGLANG_X": "1"},
        "memory_gb_per_s": 4100.5,
        "power_limit_w": 700.0,
    }
    return Environment(**(fields | changes))


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {"timer": "cupti", "l2": "cold", "rounds": 10, "iterations": 25, "seed": 0}
    return Settings(**(fields | changes))


def decode(batch: int = 64, context: int = 8192) -> AttentionWorkload:
    return AttentionWorkload(
        operation="attention.decode", geometry=GEOMETRY, batch=batch, context=context, mode="graph"
    )


def candidate(key: str = KEYS[0], us: float = 491.25, count: int = 3, **changes: Any) -> CandidateResult:
    fields: dict[str, Any] = {
        "key": key,
        "backend": key.partition("(")[0],
        "knobs": {"path": "fa3", "page_size": 16, "tensor_cores": True, "scale": 1.0, "none": None},
        "label": key,
        "status": "ok",
        "kernels": (Kernel(name="void k<int>", grid=(1, 2, 3), block=(128, 1, 1), us=us),),
        "evidence": (CaseEvidence(case="normal", ok=True, measure="error norm", error=1e-4, limit=1e-2),),
        "rounds": tuple(range(count)),
        "rounds_us": tuple(us + 0.123456789 * i for i in range(count)),
        "median_us": us,
        "interval_us": (us - 0.5, us + 0.5),
        "host": HostTime(plan_us=12.0, launch_us=3.5),
    }
    return CandidateResult(**(fields | changes))


def result(
    workload: AttentionWorkload | TopkWorkload | None = None,
    env: Environment | None = None,
    us: float = 491.25,
    **changes: Any,
) -> WorkloadResult:
    workload, env = workload or decode(), env or environment()
    fields: dict[str, Any] = {
        "workload": workload,
        "key": workload.key,
        "environment": environment_key(env),
        "identity": identity(workload, env, settings(), SOURCES, KEYS),
        "candidates": (candidate(us=us), candidate(KEYS[1], us=us * 2, default=True)),
        "choice": Choice(winner=KEYS[0], tie_set=(KEYS[0],), best=KEYS[0], default=KEYS[1], reason="separated"),
        "conditions": (Conditions(round=0, sm_clock_mhz=1980, throttle=("power",)),),
        "stopped": "separated",
        "measured_at": WHEN,
    }
    return WorkloadResult(**(fields | changes))


def run_file(*results: WorkloadResult, envs: tuple[Environment, ...] = (), **changes: Any) -> RunFile:
    """``envs[0]`` (the default environment if there is none) is that of the run."""
    envs = envs or (environment(),)
    fields: dict[str, Any] = {
        "kind": "run",
        "name": "llama",
        "created": WHEN,
        "program": "kernel-autotune 0.1.0",
        "command": ("autotune", "tune", "--model", "llama"),
        "environments": {environment_key(env): env for env in envs},
        "environment": environment_key(envs[0]),
        "settings": settings(),
        "workloads": results,
    }
    return RunFile(**(fields | changes))


def header(*workloads: AttentionWorkload | TopkWorkload, name: str = "llama") -> JournalHeader:
    env = environment()
    return JournalHeader(
        kind="run",
        name=name,
        created=WHEN,
        command=("autotune", "tune"),
        environment=env,
        settings=settings(),
        workloads={w.key: identity(w, env, settings(), SOURCES, KEYS) for w in workloads or (decode(),)},
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(min_value=1e-6, max_value=1e9)
knob_values = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts, st.none()
)


@st.composite
def candidates(draw: st.DrawFn, key: str) -> CandidateResult:
    rounds_us = draw(st.lists(times, min_size=1, max_size=5))
    return candidate(
        key,
        backend=draw(texts),
        label=draw(texts),
        knobs=draw(st.dictionaries(texts, knob_values, max_size=3)),
        reason=draw(st.none() | texts),
        rounds=tuple(range(len(rounds_us))),
        rounds_us=tuple(rounds_us),
        median_us=rounds_us[0],
        interval_us=(min(rounds_us), max(rounds_us)),
        evidence=tuple(
            CaseEvidence(case=draw(texts), ok=True, measure="m", error=draw(st.none() | st.floats(0, 1)), message=text)
            for text in draw(st.lists(texts, max_size=2))
        ),
    )


@st.composite
def runs(draw: st.DrawFn) -> RunFile:
    env = environment(
        draw(texts),
        variables=draw(st.dictionaries(texts, texts, max_size=3)),
        capability=draw(st.none() | st.just((9, 0))),
    )
    batches = draw(st.lists(st.integers(1, 2**40), unique=True, max_size=3))
    results = [
        result(
            decode(batch),
            env,
            candidates=(draw(candidates(KEYS[0])), draw(candidates(KEYS[1]))),
            identity=draw(st.dictionaries(texts, texts, max_size=3)),
            noise=draw(st.none() | st.floats(0, 1)),
        )
        for batch in batches
    ]
    if draw(st.booleans()):
        topk = TopkWorkload(operation="topk.select", rows=4, width=65536, k=2048, mode="eager")
        results.append(result(topk, env, reused=True))
    return run_file(*results, envs=(env,), name=draw(texts), command=tuple(draw(st.lists(texts, max_size=3))))
