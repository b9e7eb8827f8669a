"""A folder that ``export --to flashinfer`` writes, applied to FlashInfer's wrapper: eager, captured, replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recorded import recorded

from autotune_cli.exporting.target import Material, find_target
from autotune_cli.planning.device import of_one_device
from autotune_cli.planning.plan import Request
from autotune_cli.results.files import read_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def test_flashinfer_decodes_with_our_kernel(tmp_path: Path) -> None:
    run = of_one_device(read_run(recorded("llama-3.1-8b")), "h100")
    few = "decode 1x1024=1,decode 1x8192=1,decode 8x1024=1"
    for name, text in find_target("flashinfer").make(Material(run, Request(weights=few))).files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(text, str)
        path.write_text(text)
    program = Path(__file__).with_name("flashinfer_applied.py")
    done = subprocess.run([sys.executable, program, tmp_path], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    (counts,) = document["stats"].values()
    assert set(counts) == {"hit"}
    for row in document["rows"]:
        assert max(row["eager"], row["captured"], row["replayed"], *row["with lse"]) < 1e-2, row
