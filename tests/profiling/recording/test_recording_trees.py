"""Trees of drafts, verified on a GPU that is made up: which call SGLang's paths take, by the number of branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
from recording_paths import RIGHT, SMALL, TWO, checks, phases, spec

from autotune_cli.kernels.registry import Backend

GRAPHED = ("eager", "capture", "replay")
MASKED = "flashinfer.paged(path=fa2,page_size=1,tree=true)"
CAUSAL = "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"
CASCADE = "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none,tree=cascade)"
EXPANDED = "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none,tree=expanded)"


@pytest.fixture(autouse=True)
def fa3(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_cuda.install(monkeypatch)
    import fa3_emulator

    monkeypatch.setattr(Backend, "missing", lambda self: None)
    return fa3_emulator.install(monkeypatch)


@pytest.mark.parametrize(
    ("backend", "topk", "candidate"),
    [
        ("flashinfer", None, "flashinfer.paged(path=fa2,page_size=1)"),
        ("flashinfer", 1, MASKED),
        ("flashinfer", 3, MASKED),
        ("fa3", None, CAUSAL),
        ("fa3", 1, CAUSAL),
        ("fa3", 3, CASCADE),
    ],
)
def test_the_path_goes_by_the_branches(tmp_path: Path, backend: str, topk: int | None, candidate: str) -> None:
    found = phases(spec("target_verify", backend=backend, eagle_topk=topk), tmp_path)
    ran = {name: (done.error, *done.candidates) for name, done in found.items()}
    assert ran == dict.fromkeys(GRAPHED, ("", candidate))
    assert {name: checks(done) for name, done in found.items()} == {"eager": RIGHT, "capture": {}, "replay": RIGHT}


@pytest.mark.parametrize(("backend", "each"), [("flashinfer", (MASKED, MASKED)), ("fa3", (CASCADE, EXPANDED))])
def test_over_a_window(tmp_path: Path, backend: str, each: tuple[str, ...]) -> None:
    found = phases(spec("target_verify", TWO, backend=backend, eagle_topk=3), tmp_path)
    assert {(done.error, *done.candidates) for done in found.values()} == {("", *each)}
    assert checks(found["eager"]) == checks(found["replay"]) == RIGHT


@pytest.mark.parametrize("backend", ["flashinfer", "fa3"])
def test_the_drafts_must_be_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr("autotune_cli.profiling.recording.cache_write.CacheWrite.__call__", lambda self: None)
    found = phases(spec("target_verify", backend=backend, eagle_topk=3), tmp_path)
    assert checks(found["eager"]) == checks(found["replay"]) == {"wrong_output": False}


@pytest.mark.parametrize("backend", ["flashinfer", "fa3"])
def test_the_same_bits_with_half_of_the_requests(tmp_path: Path, backend: str) -> None:
    found = phases(spec("target_verify", backend=backend, eagle_topk=3, bitwise=True), tmp_path)
    assert checks(found["eager"]) == checks(found["replay"]) == RIGHT | {"bits_differ": True}


def test_deterministic_fa3_does_not_split(tmp_path: Path) -> None:
    found = phases(spec("target_verify", backend="fa3", eagle_topk=3, deterministic=True), tmp_path)
    assert {done.candidates for done in found.values()} == {(CASCADE.replace("num_splits=0", "num_splits=1"),)}


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"kernels": "fa3"}, "a tree of drafts needs a custom mask, which only fa2 has"),
        ({"backend": "fa3", "model": "sinks"}, "sinks in both calls count twice after the merge"),
    ],
)
def test_what_can_not_be_run_says_why(tmp_path: Path, values: dict[str, Any], error: str) -> None:
    if values.pop("model", None):
        layer = SMALL.layers[0].model_copy(update={"sinks": True})
        values["model"] = SMALL.model_copy(update={"layers": (layer,)})
    found = phases(spec("target_verify", eagle_topk=3, **values), tmp_path)
    assert all(error in done.error for done in found.values())
