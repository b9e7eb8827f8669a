"""Latent attention's paths on this machine's GPU: SGLang's backends, eager, captured and replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from live_sessions import CLASSIFY, device

from autotune_cli.kernels.models import load_model
from autotune_cli.profiling.live_verdict import judge_live_run
from autotune_cli.profiling.planning import plan_path
from autotune_cli.profiling.recording.run import record_path
from autotune_cli.profiling.request import PathRequest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0), reason="needs a Hopper GPU"
    ),
]
SIZES = {"decode": {"batch": 4, "context": 500}, "extend": {"batch": 3, "new": 40, "context": 300}}


@pytest.mark.parametrize("mode", ["decode", "extend"])
@pytest.mark.parametrize(
    ("backend", "library"), [("flashinfer", "flashinfer"), ("fa3", "sgl_kernel"), ("flashmla", "sgl_kernel.flash_mla")]
)
def test_a_servers_absorbed_step_is_paged_in_every_phase(tmp_path: Path, mode: str, backend: str, library: str) -> None:
    pytest.importorskip(library)
    model = load_model("deepseek-v3")
    request = PathRequest(mode, backend=backend, **SIZES[mode])  # type: ignore[arg-type]
    spec, notes = plan_path(request, model, model.geometries(8), model.latent_geometry(8))
    assert notes == []
    verdict, _ = judge_live_run(record_path(spec, str(tmp_path), device(), lambda *_: None), CLASSIFY, spec.title)
    assert {judged.phase.name: judged.state for judged in verdict.phases} == dict.fromkeys(
        ("eager", "capture", "replay"), "ok"
    ), [problem.text for judged in verdict.phases for problem in judged.problems]
    for judged in verdict.phases:
        assert set(judged.phase.families()) - {"benign", "split_merge", "index"} == {"paged"}
