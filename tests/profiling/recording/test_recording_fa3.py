"""SGLang's default path on Hopper, FlashAttention-3, on a GPU that is made up and computed by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
from recording_paths import RIGHT, SMALL, TWO, checks, phases, spec

from autotune_cli.kernels.registry import Backend
from autotune_cli.profiling.recording import cache_write
from autotune_cli.profiling.recording.step import NoCandidate, choose
from autotune_cli.profiling.request import CandidateSpec

IN_PIECES = {"padding_changes_rows": True, "wrong_output": True, "bad_padding": True, "plan_waits": True}


@pytest.fixture(autouse=True)
def fa3(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_cuda.install(monkeypatch)
    import fa3_emulator

    monkeypatch.setattr(Backend, "missing", lambda self: None)
    return fa3_emulator.install(monkeypatch)


def served(mode: str = "extend", **values: Any) -> Any:
    return spec(mode, backend="fa3", **values)


@pytest.mark.parametrize(
    ("mode", "candidate"),
    [
        ("decode", "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=true)"),
        ("extend", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
        ("mixed", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
        ("target_verify", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
        ("draft_extend", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
    ],
)
def test_every_phase_runs_sglangs_call_and_is_right(tmp_path: Path, mode: str, candidate: str) -> None:
    found = phases(served(mode), tmp_path)
    pieces = {"breakable": IN_PIECES} if mode in ("extend", "mixed") else {}
    assert {name: done.error for name, done in found.items()} == dict.fromkeys(found, "")
    assert {done.candidates for done in found.values()} == {(candidate,)}
    assert {name: checks(done) for name, done in found.items()} == {
        "eager": RIGHT, "capture": {}, "replay": RIGHT, **pieces,
    }  # fmt: skip


def test_the_scheduler_metadata_is_made_anew_before_each_step(tmp_path: Path, fa3: Any) -> None:
    """Outside of the graph, into the buffer that the captured call reads."""
    phases(served("decode", phases=("capture", "replay")), tmp_path)
    made, calls = (fa3.calls[name] for name in ("get_scheduler_metadata", "flash_attn_with_kvcache"))
    # When prepared, in two warm runs, in the rehearsal, for the capture and for the replay.
    assert len(made) == 6
    assert len({call["scheduler_metadata"].data_ptr() for call in calls}) == 1


def test_a_graph_is_captured_for_the_longest_context(tmp_path: Path, fa3: Any) -> None:
    """The width of the page table bounds the splits that a capture allows for. Eager it is the longest request's."""
    phases(served("decode", model=SMALL.model_copy(update={"max_context": 500})), tmp_path)
    calls = fa3.calls["flash_attn_with_kvcache"]
    assert {call["page_table"].shape[1] for call in calls} == {37, 500}
    assert calls[-1]["page_table"].shape[1] == 500


def test_an_extend_has_no_scheduler_metadata(tmp_path: Path, fa3: Any) -> None:
    phases(served(phases=("eager",)), tmp_path)
    assert "get_scheduler_metadata" not in fa3.calls


def test_layers_with_a_window_are_scheduled_by_the_call(tmp_path: Path) -> None:
    found = phases(served("decode", model=TWO, calls=4), tmp_path)
    for done in found.values():
        assert done.error == ""
        assert done.candidates == (
            "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=true)",
            "sgl_kernel.fa3(page_size=1,num_splits=0,scheduler_metadata=false)",
        )
        assert all(check.ok for check in done.checks), done.checks


def test_sinks_are_part_of_it(tmp_path: Path) -> None:
    layer = SMALL.layers[0].model_copy(update={"sinks": True})
    found = phases(served(model=SMALL.model_copy(update={"layers": (layer,)})), tmp_path)
    assert checks(found["eager"]) == checks(found["replay"]) == RIGHT
    assert checks(found["breakable"]) == IN_PIECES


@pytest.mark.parametrize("mode", ["decode", "extend"])
def test_deterministic_inference_does_not_split(tmp_path: Path, mode: str) -> None:
    found = phases(served(mode, deterministic=True, bitwise=True), tmp_path)
    assert all("num_splits=1" in done.candidates[0] for done in found.values())
    assert checks(found["eager"])["bits_differ"]
    assert checks(found["replay"])["bits_differ"]


@pytest.mark.parametrize("phase", ["eager", "replay", "breakable"])
def test_it_needs_its_keys_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Any) -> None:
    # Of several calls the first one could write for the others.
    assert all(checks(phases(served(phases=(phase,), calls=1), tmp_path)[phase]).values())
    monkeypatch.setattr(cache_write.CacheWrite, "__call__", lambda self: None)
    assert checks(phases(served(phases=(phase,)), tmp_path)[phase])["wrong_output"] is False


def test_what_a_server_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = served("decode").layers[0].workload
    wanted = CandidateSpec(baseline="sglang --attention-backend fa3")
    monkeypatch.setattr(Backend, "missing", lambda self: "sgl_kernel")
    with pytest.raises(NoCandidate, match=r"sglang --attention-backend fa3 on attention.decode .*: unavailable: sgl_k"):
        choose(wanted, workload, fake_cuda.DEVICE)
    with pytest.raises(NoCandidate, match=r"sglang --attention-backend aiter on .*: SGLang's aiter is no candidate"):
        choose(CandidateSpec(baseline="sglang --attention-backend aiter"), workload, fake_cuda.DEVICE)


@pytest.mark.parametrize("prefix", [True, False])
def test_a_breakable_graph_over_flashinfers_ragged_path(tmp_path: Path, prefix: bool) -> None:
    sizes = {} if prefix else {"context": 9}
    found = phases(spec(phases=("eager", "breakable"), prefix=prefix, **sizes), tmp_path)
    assert found["breakable"].candidates == found["eager"].candidates
    assert found["breakable"].candidates[0].startswith("flashinfer.ragged")
    assert checks(found["breakable"]) == IN_PIECES
