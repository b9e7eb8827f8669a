"""A FlashInfer without a GPU, as awkward as its documentation allows it to be."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest
import torch


@dataclass
class FakeFlashInfer:
    """Seen by the backends as the module ``flashinfer``; notes each call's algorithm and arguments."""

    calls: list[dict[str, object]] = field(default_factory=list)

    def _note(self, **arguments: object) -> None:
        self.calls.append({"algorithm": os.environ.get("FLASHINFER_TOPK_ALGO"), **arguments})

    def top_k(self, input, k, sorted=False, deterministic=False, tie_break=0, dsa_graph_safe=False):
        assert input.dtype == torch.float32
        assert input.is_contiguous()
        assert k <= input.shape[1]
        self._note(deterministic=deterministic, tie_break=tie_break, dsa_graph_safe=dsa_graph_safe)
        indices = _choose(input, k, tie_break)
        return input.gather(1, indices), indices

    def top_k_ragged_transform(
        self, input, offsets, lengths, k, deterministic=False, tie_break=0, dsa_graph_safe=False, row_starts=None
    ):
        assert offsets.dtype == lengths.dtype == torch.int32
        self._note(deterministic=deterministic, tie_break=tie_break, dsa_graph_safe=dsa_graph_safe)
        out = torch.full((input.shape[0], k), -1, dtype=torch.int32)
        for row, length in enumerate(lengths.tolist()):
            count = min(k, length)
            picked = _choose(input[row : row + 1, :length], count, tie_break)[0] if length > k else torch.arange(count)
            out[row, :count] = picked.to(torch.int32) + offsets[row]
        return out


def _choose(scores: torch.Tensor, k: int, tie_break: int) -> torch.Tensor:
    """Of equal scores the last, unless told to take the first; in an arbitrary order."""
    if tie_break == 1:
        indices = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    else:
        flipped = scores.flip(1).sort(dim=1, descending=True, stable=True).indices[:, :k]
        indices = scores.shape[1] - 1 - flipped
    shuffle = torch.randperm(k, generator=torch.Generator().manual_seed(k))
    return indices[:, shuffle]


@pytest.fixture
def fake_flashinfer(monkeypatch: pytest.MonkeyPatch) -> FakeFlashInfer:
    fake = FakeFlashInfer()
    module = ModuleType("flashinfer")
    module.top_k = fake.top_k  # type: ignore[attr-defined]
    module.top_k_ragged_transform = fake.top_k_ragged_transform  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    return fake
