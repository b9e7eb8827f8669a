"""The operation attention.cross: new tokens on the keys of an encoder, which all of them see."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from typing import Any

import fa3_emulator
import pytest
import torch
from attention_cases import FP8_QUERIES, workload
from pydantic import ValidationError

from autotune_cli.kernels.attention.backends import flashinfer_paged
from autotune_cli.kernels.attention.paging import spans
from autotune_cli.kernels.attention.problem import AttentionProblem, cases, make_problem
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.engines import parse_baseline
from autotune_cli.kernels.family import cost
from autotune_cli.kernels.models import build_suite
from autotune_cli.kernels.registry import REGISTRY, Device, Prepared
from autotune_cli.tuning.plan import plan

os.environ.setdefault("FLASHINFER_WORKSPACE_BASE", tempfile.mkdtemp(prefix="flashinfer-"))
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", (9, 0), 132, cuda="13.0")
CPU = Device("cpu", "a processor")


def cross(mode: str = "eager", **geometry: Any) -> AttentionWorkload:
    return workload("attention.cross", mode, **geometry)


def emulate(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    if library == "flashinfer":
        pytest.importorskip("flashinfer", reason="flashinfer is not installed (or can't be imported here)")
        import flashinfer_emulator

        flashinfer_emulator.install(monkeypatch)
        monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._WORKSPACE", 1 << 20)
        monkeypatch.setattr("autotune_cli.kernels.attention.backends._flashinfer._GRID", 1)
    elif library == "sgl_kernel":
        fa3_emulator.install(monkeypatch)


def attended(made: AttentionProblem, *, causal: bool = False) -> torch.Tensor:
    """The textbook formula over each request's pages."""
    out, pages, g = torch.empty_like(made.q), made.paged(16), made.geometry
    requests = zip(spans(made.lengths.qo), made.lengths.kv, pages.tables, strict=True)
    for (start, stop), keys, table in requests:
        k, v = (part[table.long()].flatten(0, 1)[:keys].float() for part in (pages.k, pages.v))
        k, v = (part.repeat_interleave(g.group, dim=1) for part in (k, v))
        scores = torch.einsum("qhd,khd->hqk", made.q[start:stop].float(), k) * g.scale
        if causal:
            own = torch.arange(keys - (stop - start), keys)[:, None].clamp(min=0)
            scores = scores.masked_fill(torch.arange(keys)[None] > own, -math.inf)
        out[start:stop] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).to(out.dtype)
    return out


def test_every_query_sees_all_keys_and_a_causal_mask_is_wrong() -> None:
    made = make_problem(cross(), "edges", "cpu", 3)
    assert any(new > keys for new, keys in zip(*made.lengths, strict=True)), "more queries than keys are among them"
    assert made.check(attended(made)).ok
    assert not made.check(attended(made, causal=True)).ok


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("extra", [{}, FP8_QUERIES, {"softcap": 30.0}], ids=str)
@pytest.mark.parametrize("library", ["flashinfer", "sgl_kernel", "torch"])
def test_every_candidate_is_right(
    library: str, extra: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate(monkeypatch, library)
    device = CPU if library == "torch" else H100
    shape = cross(mode, **extra)
    found = [
        (backend, candidate)
        for backend in REGISTRY.of("attention.cross")
        if backend.name.startswith(library)
        for candidate in backend.candidates(shape, device)
        if backend.why_unsupported(shape, device, candidate) is None
    ]
    assert found
    for case in cases(shape):
        problem = make_problem(shape, case, "cpu", 7)
        for backend, candidate in found:
            ready = backend.prepare(problem, **dict(candidate.knobs))
            assert isinstance(ready, Prepared)
            if ready.plan is not None:
                ready.plan()
            verdict = problem.check(ready.run())
            assert verdict.ok, (candidate.key, case, verdict.message)


def test_a_step_of_an_encoder_and_decoder_has_two_wrappers_with_lengths_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SGLang's: the first over the decoder's keys, causal; the second over the encoder's, not. New tokens are a part of
    the first one's keys, and count once.
    """
    emulate(monkeypatch, "flashinfer")
    planned: list[dict[str, Any]] = []
    monkeypatch.setattr(
        flashinfer_paged.common,
        "plan_paged",
        lambda *args, _real=flashinfer_paged.common.plan_paged, **values: (
            planned.append(_real(*args, **values)) or planned[-1]
        ),
    )
    shapes = (workload("attention.extend"), cross())
    problems = [make_problem(shape, "workload", "cpu", 5) for shape in shapes]
    steps = [REGISTRY.get("flashinfer.paged").prepare(made, path="fa2", page_size=1) for made in problems]
    for number in (1, 0, 1):
        ready = steps[number]
        assert isinstance(ready, Prepared)
        assert problems[number].check(ready.run()).ok
    own, encoder = planned
    assert (own["causal"], encoder["causal"]) == (True, False)
    for arguments, made in zip(planned, problems, strict=True):
        pages = arguments["paged_kv_indptr"].diff().tolist()
        assert pages == list(made.lengths.kv)
    assert own["paged_kv_indptr"].tolist() != encoder["paged_kv_indptr"].tolist()


def test_names_and_cost() -> None:
    shape = cross()
    assert shape.key == "attention.cross 2 x 20 on 90 eager h4/2 d64 bfloat16"
    assert shape.cells == ("2", "≤20 on 90")
    assert shape.sizes == {"batch_size": 2, "context": 90, "new": 20}
    pairs = sum(new * keys for new, keys in zip(*shape.lengths, strict=True))
    assert cost(shape).flops == 4.0 * pairs * 4 * 64
    with pytest.raises(ValidationError, match="cross-attention has no window"):
        cross(window_left=9)


def test_a_suite_has_it_on_request_for_layers_without_a_window() -> None:
    assert not any(each.operation == "attention.cross" for each in build_suite("llama-3.1-8b", "cuda").workloads)
    (found,) = build_suite("gemma-2-9b", "cuda", operations="cross", batches=(4,), contexts=(1500,), new=(7,)).workloads
    assert isinstance(found, AttentionWorkload)
    assert (found.geometry.window_left, found.shape) == (None, "4 x 7 on 1500")


FLASHINFER, FA3 = "flashinfer.paged(path=fa2,page_size=1)", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("sglang", "0.5.23", FA3),
        ("sglang", None, FA3),
        ("sglang --attention-backend fa3", "0.5.16", FA3),
        ("sglang --enable-deterministic-inference", "0.5.23", FA3.replace("splits=0", "splits=1")),
        ("sglang --attention-backend flashinfer", "0.5.10.post1", FLASHINFER),
        ("sglang --attention-backend fa3 --prefill-attention-backend flashinfer", "0.5.23", FLASHINFER),
        # Its plans have pages of one key whatever the server's are; fa3's table of the encoder has no larger ones.
        ("sglang --attention-backend flashinfer --page-size 64", "0.5.23", FLASHINFER),
        ("sglang --page-size 64", "0.5.23", "for pages of 1 only"),
        ("sglang", "0.5.10.post1", "asserts one request"),
        ("sglang --attention-backend triton", "0.5.23", "refuses models with cross-attention"),
        ("sglang --attention-backend triton --enable-deterministic-inference", "0.5.23", "refuses models with cross"),
    ],
)
def test_what_sglang_runs_on_hopper(name: str, version: str | None, wanted: str) -> None:
    asked = dataclasses.replace(parse_baseline(name), version=version)
    (found,) = plan(cross(), H100, [asked]).baselines
    assert found.candidate == wanted or wanted in str(found.missing)
    # A candidate is one that is listed, so that it is raced and can be the default.
    assert found.candidate is None or found.candidate in {
        candidate.key for backend in REGISTRY.of("attention.cross") for candidate in backend.candidates(cross(), H100)
    }
    (captured,) = plan(cross("graph"), H100, [asked]).baselines
    assert captured.candidate is None
    if "triton" not in name:
        assert captured.missing == "SGLang captures no prefill over an encoder's keys"


def test_what_sglang_runs_on_a_cpu() -> None:
    for version, wanted in (("0.5.23", "torch.sdpa(kernel=flash)"), ("0.5.10.post1", None)):
        (found,) = plan(cross(), CPU, [dataclasses.replace(parse_baseline("sglang"), version=version)]).baselines
        assert found.candidate == wanted
    assert "from 0.5.16 on" in str(found.missing)
