"""A FlashInfer without a GPU, as awkward as its documentation allows it to be."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

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
def fake_sglang(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """SGLang's JIT kernels as their Python wrappers describe them; the calls by name."""
    calls: list[str] = []

    def plan_topk_v2(seq_lens, static_threshold=-1):
        calls.append("plan")
        plan = torch.zeros(len(seq_lens) + 1, 2, dtype=torch.int32)
        plan[1:, 1] = seq_lens
        return plan

    def paged(scores, seq_lens, page_tables, out_page_indices, page_size, metadata, out_raw_indices=None):
        calls.append("paged")
        assert scores.dtype == torch.float32
        assert scores.stride(0) % 4 == 0
        assert out_page_indices.dtype == seq_lens.dtype == torch.int32
        assert page_tables is None or len(page_tables) == len(scores)
        # It goes by the plan, so a stale one shows.
        assert metadata.shape == (len(scores) + 1, 2)
        positions = select(scores, metadata[1:, 1], out_page_indices.shape[1])
        batch = torch.arange(len(scores))
        out_page_indices.copy_(positions if page_tables is None else slots(page_tables, batch, positions, page_size))

    def ragged(scores, seq_lens, *, out_offsets, out_indices, row_starts=None):
        calls.append("ragged")
        for row, start in enumerate([] if row_starts is None else row_starts.tolist()):
            scores[row, start - start % 4 : start] = -torch.inf
        out = select(scores, seq_lens, out_indices.shape[1], row_starts)
        out_indices.copy_(torch.where(out < 0, out, out + out_offsets[:, None]))

    def topk(
        input, topk, *, sorted=False, begin=None, end=None, indices_type=torch.int32, sorted_index=False, hint=None,
        output_idx=None, output_idx_offset=None, idx_oob_fill_value=2147483647, value_oob_fill_value=-torch.inf,
        return_value=False, abort_when_nan_found=False,
    ):  # fmt: skip
        calls.append("deep_select")
        assert input.stride(0) * input.element_size() % 128 == 0
        assert indices_type == torch.int32
        lengths = torch.full((len(input),), input.shape[1], dtype=torch.int32) if end is None else end
        out = select(input.float(), lengths, topk)
        if sorted_index:
            out = out.masked_fill(out < 0, 2**31 - 1).sort(dim=1).values
            out = out.masked_fill(out == 2**31 - 1, -1)
        # In rows of a multiple of 32 bytes.
        wide = torch.empty(len(out), -(-topk // 8) * 8, dtype=torch.int32)
        wide[:, :topk] = out.masked_fill(out < 0, idx_oob_fill_value)
        return None, wide[:, :topk]

    def topk_page_transform(
        input, topk, *, page_table, page_size, end=None, sorted_index=False, output_idx=None, idx_oob_fill_value=-1,
        abort_when_nan_found=False,
    ):  # fmt: skip
        assert page_table.shape[1] * page_size >= input.shape[1]
        _, out = deep_select.topk(input, topk, end=end, sorted_index=sorted_index, idx_oob_fill_value=-1)
        return slots(page_table, torch.arange(len(input)), out, page_size)

    def module(name: str, **functions: object) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(functions)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    first, now = "sglang.jit_kernel.dsv4.topk", "sglang.kernels.ops.attention.dsv4.topk"
    module(first, plan_topk_v2=plan_topk_v2, topk_transform_512_v2=paged)
    module(now, plan_topk_v2=plan_topk_v2, topk_transform_paged_v2=paged, topk_transform_ragged_v2=ragged)
    name = "sglang.kernels.ops.attention.deep_select"
    deep_select = module(name, topk=topk, topk_page_transform=topk_page_transform)
    monkeypatch.setitem(sys.modules, "deep_select", deep_select)
    return calls


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """vLLM's operators as it calls them; the calls by name."""
    calls: list[str] = []

    def with_workspace(name: str) -> object:
        def select_rows(logits, lengths, output, workspace, k, max_seq_len):
            calls.append(name)
            assert (workspace.dtype, workspace.numel()) == (torch.uint8, 1 << 20)
            assert max_seq_len == logits.shape[1]
            assert bool((output == -1).all()), "what it doesn't write was -1 before"
            output.copy_(select(logits, lengths, k))

        return select_rows

    def top_k_per_row_decode(logits, next_n, seq_lens, indices, rows, stride0, stride1, k):
        calls.append("top_k_per_row_decode")
        assert next_n == 1
        assert (rows, stride0, stride1) == (len(logits), *logits.stride())
        indices.copy_(select(logits, seq_lens, k))

    operators = SimpleNamespace(
        persistent_topk=with_workspace("persistent_topk"),
        cooperative_topk=with_workspace("cooperative_topk"),
        top_k_per_row_decode=top_k_per_row_decode,
    )
    monkeypatch.setattr(torch.ops, "_C", operators, raising=False)
    package = ModuleType("vllm")
    package._custom_ops = ModuleType("vllm._custom_ops")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm._custom_ops", package._custom_ops)
    return calls


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
