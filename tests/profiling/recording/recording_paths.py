"""Small paths, run on a GPU that is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda

from autotune_cli.kernels.models import Model
from autotune_cli.kernels.models.model import LayerKind
from autotune_cli.profiling.path import PathSpec
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording import run
from autotune_cli.profiling.recording.recorded import LiveRun, PhaseRun
from autotune_cli.profiling.request import PathRequest

SMALL = Model(
    name="small",
    source="",
    num_attention_heads=2,
    layers=(LayerKind(count=1, num_qo_heads=2, num_kv_heads=1, head_dim=64),),
)
# Like gemma-2's: windowed and full layers in turn.
TWO = SMALL.model_copy(
    update={"layers": (*SMALL.layers, LayerKind(count=1, num_qo_heads=2, num_kv_heads=2, head_dim=64, window=24))}
)
# What the checks of a phase come to.
RIGHT = {"wrong_output": True}
PADDED = {"padding_changes_rows": True, "wrong_output": True, "bad_padding": True, "plan_waits": True}


def spec(mode: Any = "extend", model: Model = SMALL, **values: Any) -> PathSpec:
    sizes = {"batch": 3, "new": 9, "context": 40} if mode != "decode" else {"batch": 3, "context": 40}
    return plan_path(PathRequest(mode, **(sizes | values)), model, model.geometries())[0]


def ran(path: PathSpec, folder: Path, reports: list[str] | None = None) -> LiveRun:
    told = [] if reports is None else reports
    return run.record_path(path, str(folder), fake_cuda.DEVICE, lambda name, subject: told.append(f"{name} {subject}"))


def phases(path: PathSpec, folder: Path) -> dict[str, PhaseRun]:
    return {done.plan.name: done for done in ran(path, folder).recording.phases}


def checks(done: PhaseRun) -> dict[str, bool]:
    return {check.code: check.ok for check in done.checks}
