"""Cross-attention, new tokens over the keys of an encoder, on a GPU that is made up."""

from __future__ import annotations

from pathlib import Path

import fake_cuda
import pytest
from recording_paths import RIGHT, SMALL, TWO, checks, phases, spec

from autotune_cli.errors import BadField
from autotune_cli.kernels.registry import Backend
from autotune_cli.profiling.errors import NothingToRun


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)
    import fa3_emulator

    monkeypatch.setattr(Backend, "missing", lambda self: None)
    fa3_emulator.install(monkeypatch)


@pytest.mark.parametrize(
    ("backend", "candidate"),
    [
        ("flashinfer", "flashinfer.paged(path=fa2,page_size=1)"),
        ("sgl_kernel.fa3", "sgl_kernel.fa3(page_size=1,num_splits=0,pack_gqa=none)"),
    ],
)
def test_every_phase_is_right_and_no_window_is_part_of_it(tmp_path: Path, backend: str, candidate: str) -> None:
    """More new tokens than keys, too, which no causal call has; of a model with both kinds of layers one is left."""
    path = spec("cross", model=TWO, backend=backend, new=9, context=7)
    assert [layer.workload.key.partition(" eager")[0] for layer in path.layers] == ["attention.cross 3 x 9 on 7"]
    found = phases(path, tmp_path)
    assert {name: (done.error, done.candidates) for name, done in found.items()} == dict.fromkeys(
        ("eager", "capture", "replay"), ("", (candidate,))
    )
    assert {name: checks(done) for name, done in found.items()} == {"eager": RIGHT, "capture": {}, "replay": RIGHT}


def test_what_has_none() -> None:
    windowed = tuple(layer.model_copy(update={"window": 8}) for layer in SMALL.layers)
    with pytest.raises(NothingToRun, match="small: every layer has a window: none stands for cross-attention"):
        spec("cross", model=SMALL.model_copy(update={"layers": windowed}))
    with pytest.raises(BadField, match="fa3 is a path of attention, mode=cross has none"):
        spec("cross", backend="fa3")
    assert spec("cross", context=None).layers[0].workload.sizes["context"] == 1500


def test_forced_paged_asks_for_pages() -> None:
    assert {plan.shape for plan in spec("cross", forced_paged=True).phases} == {"paged"}
