"""A first run on a real GPU: FlashInfer's modules are compiled side by side where the worker then finds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import Autotune, Finished

from autotune_cli.results.schema import CandidateResult

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() != (9, 0), reason="XQA: 9.0"),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc"),
    # XQA's two modules, and what the default runs: fa2 prefill takes 20 s on 16 cores.
    pytest.mark.timeout(600),
]

OPTIONS = ("--op", "decode", "--batch", "2", "--context", "256", "--backend", "flashinfer.xqa", "--rounds", "3")


@pytest.fixture(scope="module")
def runs(shared: Callable[[], Autotune]) -> tuple[Finished, Finished, Path]:
    """The same command twice, and the folder in which FlashInfer keeps what it has compiled."""
    program = shared()
    folder = program.root / "flashinfer"
    program = program.with_variables(FLASHINFER_WORKSPACE_BASE=str(folder))
    command = ("tune", "--json", "--device", "cuda", "--model", "llama-3.1-8b", "--no-cache", *OPTIONS)
    return program(*command, code=0), program(*command, code=0), folder


def xqa(finished: Finished) -> list[CandidateResult]:
    (result,) = finished.run.workloads
    return [candidate for candidate in result.candidates if candidate.backend == "flashinfer.xqa"]


def test_what_is_needed_is_built_before_anything_is_vetted(runs: tuple[Finished, Finished, Path]) -> None:
    lines = runs[0].err.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.endswith("modules that candidates need"))
    count = int(lines[begin].split()[1])
    built = [number for number, line in enumerate(lines) if line.startswith("  built ")]
    opened = next(number for number, line in enumerate(lines) if line.startswith("[1/1]"))
    assert len(built) == count >= 2, runs[0].err  # XQA's two page sizes, and what the default needs
    assert begin < built[0] < built[-1] < opened
    assert f"({count} of {count})" in lines[built[-1]]


def test_builders_compile_for_this_gpu_and_the_worker_finds_it(runs: tuple[Finished, Finished, Path]) -> None:
    """They see no GPU; had they taken another target, the worker would have compiled all anew in its own folder."""
    libraries = list(runs[2].rglob("cached_ops/*/*.so"))
    assert len({library.parent.parent for library in libraries}) == 1
    assert len(libraries) >= 2
    measured = [candidate for candidate in xqa(runs[0]) if candidate.rough_us is not None]
    assert len(measured) == 2
    assert all(candidate.build_s is not None and candidate.build_s > 2.0 for candidate in measured)


def test_a_second_run_builds_nothing(runs: tuple[Finished, Finished, Path]) -> None:
    assert "building" not in runs[1].err
    assert all(candidate.build_s is not None and candidate.build_s < 10.0 for candidate in xqa(runs[1]))
