"""Trees of drafts, verified on a real GPU as SGLang does it by the number of branches, in every phase."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from live_sessions import GRAPHED, Session, run, spec_of

from autotune_cli.profiling.recording.cache_write import CacheWrite
from autotune_cli.profiling.request import INJECTED

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

# Looking for the second one imports the first.
HAS_MERGE = all(torch.cuda.is_available() and find_spec(name) for name in ("sgl_kernel", "sgl_kernel.attention"))
FA3_ONLY = pytest.mark.skipif(not HAS_MERGE, reason="sgl_kernel is not installed, or without its merge")
SIZES: dict[str, Any] = {"batch": 3, "new": 8, "context": 400}


def verified(folder: Path, backend: str, topk: int | None, **ask: Any) -> Session:
    return run(spec_of("target_verify", backend=backend, eagle_topk=topk, **(SIZES | ask)), folder)


def attention(session: Session, phase: str) -> dict[str, int]:
    """Launches by family, everyday kernels aside."""
    found = session.judged(phase).phase
    return {family: found.launches(family) for family in session.families(phase) - {"index"}}


@pytest.mark.parametrize("topk", [1, 2, 4])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt-oss-120b"])
def test_flashinfer_under_a_mask(tmp_path: Path, model: str, topk: int) -> None:
    session = verified(tmp_path, "flashinfer", topk, model=model)
    assert (session.code, session.problems) == (0, [])
    assert list(session.states) == list(GRAPHED)
    for phase in GRAPHED:
        assert attention(session, phase) == {"paged": 2}
        assert session.libraries(phase, "paged") == {"flashinfer fa2"}
    assert all("tree=true" in key for done in session.run.recording.phases for key in done.candidates)


def test_flashinfer_under_a_mask_from_an_fp8_cache(tmp_path: Path) -> None:
    session = verified(tmp_path, "flashinfer", 4, kv_dtype="float8_e4m3fn")
    assert (session.code, session.problems) == (0, [])


def test_fa3_of_flashinfer_has_no_mask(tmp_path: Path) -> None:
    session = verified(tmp_path, "flashinfer", 4, kernels="fa3")
    assert (session.code, set(session.problems)) == (4, {("", "phase_failed"), ("", "nothing_recorded")})
    assert "a tree of drafts needs a custom mask, which only fa2 has" in session.text


@FA3_ONLY
@pytest.mark.parametrize(
    ("model", "topk", "launches"),
    [
        ("llama-3.1-8b", None, {"paged": 2}),
        ("llama-3.1-8b", 1, {"paged": 2}),
        ("llama-3.1-8b", 2, {"paged": 4, "merge": 2}),
        ("llama-3.1-8b", 4, {"paged": 4, "merge": 2}),
        # A full layer and one with a window, which takes one call.
        ("gemma-2-9b", 4, {"paged": 3, "merge": 1}),
    ],
)
def test_fa3_in_one_call_or_two(tmp_path: Path, model: str, topk: int | None, launches: dict[str, int]) -> None:
    session = verified(tmp_path, "fa3", topk, model=model)
    assert (session.code, session.problems) == (0, [])
    assert list(session.states) == list(GRAPHED)
    for phase in GRAPHED:
        assert attention(session, phase) == launches
        assert session.libraries(phase, "paged") == {"flash-attention 3"}


@FA3_ONLY
def test_a_tree_of_deterministic_fa3_gives_the_same_bits(tmp_path: Path) -> None:
    session = verified(tmp_path, "fa3", 4, deterministic=True, bitwise=True)
    assert (session.code, session.problems) == (0, [])
    assert not any(session.judged(phase).phase.launches("split_merge") for phase in GRAPHED)


@FA3_ONLY
def test_sinks_under_a_tree_are_not_run_and_say_why(tmp_path: Path) -> None:
    session = verified(tmp_path, "fa3", 4, model="gpt-oss-120b")
    assert session.code == 4
    assert "sinks in both calls count twice after the merge" in session.text


@pytest.mark.parametrize("backend", ["flashinfer", pytest.param("fa3", marks=FA3_ONLY)])
def test_injected_kernels_are_stopped(tmp_path: Path, backend: str) -> None:
    session = verified(tmp_path, backend, 4, injected=INJECTED)
    assert (session.code, session.problems) == (0, [])
    stopped = [f"a {family} kernel run in {phase}: stopped" for family in INJECTED for phase in GRAPHED]
    assert session.tried == [*stopped, "all kernels taken away: nothing to judge, exit 3"]


@pytest.mark.parametrize("backend", ["flashinfer", pytest.param("fa3", marks=FA3_ONLY)])
def test_drafts_that_are_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(CacheWrite, "__call__", lambda self: None)
    session = verified(tmp_path, backend, 4)
    assert session.code == 1
    assert set(session.problems) == {(phase, "wrong_output") for phase in ("eager", "replay")}
