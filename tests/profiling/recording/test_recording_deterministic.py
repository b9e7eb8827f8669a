"""FlashInfer's deterministic inference, on a GPU that is made up: splits are fixed where SGLang fixes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import pytest
from recording_paths import PADDED, RIGHT, TWO, checks, phases, spec

from autotune_cli.kernels.registry import Backend


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)
    monkeypatch.setattr(Backend, "missing", lambda self: None)


@pytest.mark.parametrize("mode", ["extend", "mixed"])
def test_an_extend_splits_by_4096_keys_outside_of_whole_graphs(tmp_path: Path, mode: str) -> None:
    found = phases(spec(mode, deterministic=True), tmp_path)
    usual = "flashinfer.paged(path=fa2,page_size=1)"
    fixed = "flashinfer.paged(path=fa2,page_size=1,split=4096)"
    assert {name: (done.error, *done.candidates) for name, done in found.items()} == {
        "eager": ("", fixed), "capture": ("", usual), "replay": ("", usual), "piecewise": ("", fixed),
    }  # fmt: skip
    assert checks(found["eager"]) == checks(found["replay"]) == RIGHT
    assert checks(found["piecewise"]) == PADDED


@pytest.mark.parametrize("bitwise", [False, True])
def test_a_decode_step_splits_by_2048_keys(tmp_path: Path, bitwise: bool) -> None:
    values: dict[str, Any] = {"bitwise": True} if bitwise else {"model": TWO}
    found = phases(spec("decode", deterministic=True, **values), tmp_path)
    assert list(found) == ["eager"]
    fixed = "flashinfer.decode(path=tensor_cores,page_size=1,split=2048,pdl=none)"
    assert set(found["eager"].candidates) == {fixed}
    assert checks(found["eager"]) == (RIGHT | {"bits_differ": True} if bitwise else RIGHT)
