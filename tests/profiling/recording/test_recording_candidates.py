"""Which candidate a path takes: by its backend and some of its knobs, the rest as SGLang has it."""

from __future__ import annotations

import pytest
from recording_cases import CPU, DECODE, workload

from autotune_cli.kernels.registry import REGISTRY, Candidate, Device, Prepared, register
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.profiling.recording.step import NoCandidate, choose, prepared
from autotune_cli.profiling.request import CandidateSpec

H200 = Device("cuda", "NVIDIA H200", (9, 0), 132)
SELECTION = TopkWorkload(operation="topk.select", rows=2, width=100, k=8, mode="eager")


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        # The default among those that fit, else the first that can run.
        (CandidateSpec("torch.sdpa"), "torch.sdpa(kernel=flash)"),
        (CandidateSpec("torch.sdpa", (("kernel", "math"),)), "torch.sdpa(kernel=math)"),
        (CandidateSpec("torch.eager"), "torch.eager(block=64)"),
        (CandidateSpec("torch.eager", (("block", "256"),)), "torch.eager(block=256)"),
        (CandidateSpec(""), "torch.sdpa(kernel=flash)"),
        (CandidateSpec("", (("block", "256"),)), "torch.eager(block=256)"),
    ],
    ids=str,
)
def test_a_candidate_by_name_and_some_of_its_knobs(wanted: CandidateSpec, key: str) -> None:
    assert choose(wanted, workload(), CPU).key == key


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (CandidateSpec("torch.spda"), r"no backend 'torch.spda' for attention.extend \(known: .*torch.sdpa"),
        (CandidateSpec("torch.topk"), "no backend 'torch.topk' for attention.extend"),
        (
            CandidateSpec("torch.sdpa", (("kernel", "slow"),)),
            r"no candidate torch.sdpa\(kernel=slow\) for attention.extend 5 x",
        ),
        (CandidateSpec("torch.sdpa", (("block", "64"),)), "no candidate"),
        (CandidateSpec("flashinfer.paged"), "flashinfer.paged on attention.extend .*: needs cuda, this is cpu"),
    ],
    ids=str,
)
def test_what_can_not_be_had_says_why(wanted: CandidateSpec, message: str) -> None:
    with pytest.raises(NoCandidate, match=message):
        choose(wanted, workload(), CPU)


def test_sglangs_defaults_are_found_by_the_knobs_that_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_cli.kernels.registry.Backend.missing", lambda self: None)
    page = ("page_size", "1")
    decode = choose(CandidateSpec("flashinfer.decode", (page,)), workload(DECODE, num_qo_heads=8), H200)
    assert decode.key == "flashinfer.decode(path=tensor_cores,page_size=1,split=none,pdl=none)"
    fa3 = choose(CandidateSpec("flashinfer.decode", (page, ("path", "fa3"))), workload(DECODE), H200)
    assert dict(fa3.knobs)["path"] == "fa3"
    pair = CandidateSpec("flashinfer.ragged_paged_merge", (("paged", "fa2"), page))
    assert choose(pair, workload(), H200).key == "flashinfer.ragged_paged_merge(ragged=fa3,paged=fa2,page_size=1)"
    assert (
        choose(CandidateSpec(""), SELECTION.model_copy(update={"k": 2048}), H200).backend == "sgl_kernel.fast_topk_v2"
    )
    with pytest.raises(NoCandidate, match=r"fa3 is for compute capability 9\.0"):
        choose(CandidateSpec("flashinfer.paged", (("path", "fa3"),)), workload(), Device("cuda", "an A100", (8, 0)))


def test_a_backend_may_give_a_function_or_more() -> None:
    def run() -> None:
        return None

    names = {"tests.bare": run, "tests.planned": Prepared(run, run)}
    for name, result in names.items():
        register("topk.select", name=name)(lambda problem, result=result: result)
    try:
        assert prepared(Candidate("tests.bare"), None) == Prepared(run)
        assert prepared(Candidate("tests.planned"), None) == Prepared(run, run)
    finally:
        for name in names:
            REGISTRY._backends.pop(name)
