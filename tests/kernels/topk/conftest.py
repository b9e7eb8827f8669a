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
        out = select(input, lengths, k, row_starts, tie_break)
        return torch.where(out < 0, out, out + offsets[:, None])

    def top_k_page_table_transform(
        self, input, src_page_table, lengths, k, row_to_batch=None, deterministic=False, tie_break=0,
        dsa_graph_safe=False, row_starts=None, page_table_row_starts=None, *, page_size=1,
    ):  # fmt: skip
        assert src_page_table.dtype == lengths.dtype == torch.int32
        assert page_size == 1 or row_starts is None or page_table_row_starts is not None
        self._note(deterministic=deterministic, tie_break=tie_break, dsa_graph_safe=dsa_graph_safe)
        # Without starts of its own the page table has those of the scores.
        begins = row_starts if page_table_row_starts is None else page_table_row_starts
        batch = torch.arange(len(lengths)) if row_to_batch is None else row_to_batch
        return slots(src_page_table, batch, select(input, lengths, k, row_starts, tie_break), page_size, begins)


def select(input, lengths, k, row_starts=None, tie_break=0):
    """Positions in each row's window, -1 behind them; rows no longer than k in order."""
    out = torch.full((input.shape[0], k), -1, dtype=torch.int32)
    starts = [0] * len(lengths) if row_starts is None else row_starts.tolist()
    for row, (start, length) in enumerate(zip(starts, lengths.tolist(), strict=True)):
        count = min(k, length)
        window = input[row : row + 1, start : start + length]
        out[row, :count] = (_choose(window, count, tie_break)[0] if length > k else torch.arange(count)).to(torch.int32)
    return out


def slots(table, batch, positions, page_size=1, begins=None):
    """Through the page table, one index at a time."""
    out = positions.clone()
    for row, column in (positions >= 0).nonzero().tolist():
        position = int(positions[row, column])
        page = (0 if begins is None else int(begins[row])) + position // page_size
        out[row, column] = table[int(batch[row]), page] * page_size + position % page_size
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
    module.top_k_page_table_transform = fake.top_k_page_table_transform  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    return fake


@pytest.fixture
def fake_sgl_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """sgl_kernel's fused selections as its ``top_k.py`` describes them."""

    def fused(score, lengths, page_table_size_1, cu_seqlens_q, topk, row_starts=None):
        assert topk == 2048
        assert score.dtype == torch.float32
        assert len(cu_seqlens_q) == len(page_table_size_1) + 1
        batch = torch.repeat_interleave(torch.arange(len(page_table_size_1)), cu_seqlens_q.diff().long())
        return slots(page_table_size_1, batch, select(score, lengths, topk, row_starts))

    def ragged(score, lengths, topk_indices_offset, topk, row_starts=None):
        assert topk == 2048
        assert row_starts is not None
        out = select(score, lengths, topk, row_starts)
        return torch.where(out < 0, out, out + topk_indices_offset[:, None])

    module = ModuleType("sgl_kernel")
    module.fast_topk_transform_fused = fused  # type: ignore[attr-defined]
    module.fast_topk_transform_ragged_fused = ragged  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sgl_kernel", module)
