"""An attention layer between two pieces of a piecewise graph, on a GPU that is made up."""

from __future__ import annotations

from typing import Any

import fake_cuda
import pytest
import torch
from recording_cases import bits, problem

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.registry import Candidate
from autotune_cli.profiling.recording.step import Pieces

PAGED = Candidate("flashinfer.paged", (("path", "fa2"), ("page_size", 1)))


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)


def pieces(made: AttentionProblem, mode: Any, padding: int = 5) -> Pieces:
    return Pieces(made, PAGED, made.q.shape[0] + padding, mode, 1)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("mode", ["fake-request", "narrow"])
def test_the_real_rows_come_out_first(mode: str, padding: int) -> None:
    made = problem()
    layer = pieces(made, mode, padding)
    layer.plan()
    output = layer.run()
    assert output is layer.output
    assert output.shape[0] == made.q.shape[0] + padding
    assert made.check(output[: layer.real]).ok
    rest = output[layer.real :]
    # A fake request gives rows of its own; what is narrowed leaves none behind.
    assert bool(rest.isfinite().all())
    assert bool((rest == 0).all()) == (mode == "narrow" or not padding)
    assert (layer.padded is None) == (mode == "narrow")


def test_a_batch_as_large_as_the_pool_finds_room() -> None:
    made = problem()
    layer = pieces(made, "fake-request")
    assert layer.padded is not None
    assert layer.padded.requests == len(made.lengths.qo) + 1


def test_planning_fills_the_buffers_first() -> None:
    """As for each batch of a server: what is in them is another one's."""
    made = problem()
    layer = pieces(made, "fake-request")
    assert layer.padded is not None
    layer.padded._buffers.kv_indices[0:7] = 0
    layer.plan()
    assert made.check(layer.run()[: layer.real]).ok


def test_what_the_pieces_pass_on_is_computed_anew() -> None:
    made = problem()
    layer = pieces(made, "narrow")
    layer.plan()
    layer.run()
    layer.output.fill_(float("nan"))
    layer._static.fill_(float("nan"))
    layer._result.fill_(float("nan"))
    output = layer.run()
    assert made.check(output[: layer.real]).ok
    assert not output[layer.real :].any()


@pytest.mark.parametrize(("mode", "writes"), [("fake-request", True), ("narrow", False)])
def test_padded_tokens_write_into_the_scratch_slot(mode: str, writes: bool) -> None:
    """SGLang 0.5.10 does; narrowed to the real tokens, nothing is written for the others."""
    made = problem()
    scratch = made.paged(1).k[0]
    scratch.fill_(5.0)
    before = bits(scratch)
    layer = pieces(made, mode)
    layer.write.forget()
    assert torch.equal(bits(scratch), before) == (not writes)
    layer.write()
    assert torch.equal(bits(scratch), before)
    assert made.check(layer.run()[: layer.real]).ok
