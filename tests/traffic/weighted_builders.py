"""Results with weights, for tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from result_builders import KEYS, candidate, decode, result, run_file

from autotune_cli.results.schema import BaselineResult, Choice, RunFile, StandsFor, Traffic, WorkloadResult


def traffic(digest: str = "0123456789abcdef", **changes: Any) -> Traffic:
    fields: dict[str, Any] = {
        "digest": digest,
        "files": ("azure.csv (lengths and times)",),
        "requests": 500,
        "prompt_tokens": 512340,
        "output_tokens": 105220,
        "steps": 8412,
        "scheduler": "sglang 0.5.23, chunks of 8192",
    }
    return Traffic(**(fields | changes))


def part(steps: int, layers: int = 32, **changes: Any) -> StandsFor:
    fields: dict[str, Any] = {
        "steps": steps,
        "layers": layers,
        "step_share": 0.25,
        "time_share": 0.5,
        "batch": (5, 8),
        "context": (900, 2100),
    }
    return StandsFor(**(fields | changes))


def weighed(
    batch: int, us: float, speedup: float | None, half: float | None, steps: int | None, layers: int = 1
) -> WorkloadResult:
    """A workload whose winner takes ``us``; ``half``: half the width of the speed-up's interval."""
    ends = None if half is None or speedup is None else (speedup - half, speedup + half)
    held = BaselineResult(
        name="sglang",
        engine="sglang",
        version="0.5.23",
        backend="fa3",
        candidate=KEYS[1],
        missing=None if speedup is not None else "incorrect",
        speedup=speedup,
        speedup_interval=ends,
    )
    choice = Choice(winner=KEYS[0], tie_set=(KEYS[0],), best=KEYS[0], default=KEYS[1], reason="separated")
    fields: dict[str, Any] = {}
    if steps is not None:
        fields = {"weight": float(steps * layers), "stands_for": part(steps, layers)}
    slow = candidate(KEYS[1], us=us * (speedup or 2.0), default=True)
    return result(decode(batch), us=us, candidates=(candidate(us=us), slow), choice=choice, baselines=(held,), **fields)


def served(*results: WorkloadResult, **changes: Any) -> RunFile:
    return run_file(*results, **({"traffic": traffic()} | changes))
