"""The FlashAttention-3 functions of sgl_kernel in torch, for machines without a GPU.

Every call is bound against the real signatures first, of both versions in contracts.txt. What is computed follows only
from the arguments: a wrong table, length, window, scale or sink gives a wrong output.
"""

from __future__ import annotations

import itertools
import math
import sys
import types
import zlib
from typing import Any

import pytest
import torch
from contracts import contract

VERSIONS = ("0.4.5", "0.4.10")
MODULE = "sgl_kernel.flash_attn"


class Emulator:
    """Stands for the module; keeps the arguments of each call by function."""

    def __init__(self) -> None:
        self._contracts = [contract("sglang-kernel", version) for version in VERSIONS]
        self.calls: dict[str, list[dict[str, Any]]] = {}

    def flash_attn_with_kvcache(self, **arguments: Any) -> Any:
        call = self._bound("flash_attn_with_kvcache", arguments)
        q, table, lengths = call["q"], call["page_table"], call["cache_seqlens"]
        batch = call["cu_seqlens_q"].shape[0] - 1
        for tensor in (table, lengths, call["cu_seqlens_q"]):
            assert tensor.dtype == torch.int32
            assert tensor.stride(-1) == 1
        assert table.shape[0] == lengths.shape[0] == batch
        assert call["k_cache"].dtype == q.dtype
        assert table.shape[1] > 0
        metadata = call["scheduler_metadata"]
        if metadata is not None:
            assert metadata.dtype == torch.int32
            # Made for this layer and batch: of another one the kernel would take it, and read a wrong schedule.
            shape = (batch, call["max_seqlen_q"], *q.shape[1:], call["k_cache"].shape[1:3])
            layer = (call["softcap"] > 0, call["window_size"], call["causal"], call["num_splits"])
            assert set(metadata.tolist()) == {_mark(*shape, *layer, *lengths.tolist())}
        keys = [
            [call[name][table[request].long()].flatten(0, 1)[: int(length)] for name in ("k_cache", "v_cache")]
            for request, length in enumerate(lengths)
        ]
        return _attend(call, keys)

    def flash_attn_varlen_func(self, **arguments: Any) -> Any:
        call = self._bound("flash_attn_varlen_func", arguments)
        spans = list(itertools.pairwise(call["cu_seqlens_k"].tolist()))
        assert call["max_seqlen_k"] == max(stop - start for start, stop in spans)
        return _attend(call, [[call[name][start:stop] for name in ("k", "v")] for start, stop in spans])

    def merge_state_v2(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-sum-exps [tokens, heads] of base e, contiguous as the kernel takes them."""
        call = self._bound("merge_state_v2", arguments=arguments, module="sgl_kernel.attention")
        sums = torch.stack([call["s_a"], call["s_b"]])
        assert sums.shape[1:] == call["v_a"].shape[:2] == call["v_b"].shape[:2]
        assert call["s_a"].is_contiguous()
        assert call["s_b"].is_contiguous()
        # A part without keys has -inf and weighs 0; its output must be a number.
        shares = sums.softmax(0)[..., None]
        merged = shares[0] * call["v_a"].float() + shares[1] * call["v_b"].float()
        return call["v_merged"].copy_(merged), call["s_merged"].copy_(sums.logsumexp(0))

    def get_scheduler_metadata(self, **arguments: Any) -> torch.Tensor:
        call = self._bound("get_scheduler_metadata", arguments)
        # fa3.md: 1 + batch rounded up to 4, times 2 and one for each mask.
        local = call["window_size"] != (-1, -1)
        vectors = 2 + (not local) + (call["causal"] or local)
        size = 1 + -(-call["batch_size"] // 4) * 4 * vectors
        pages = (call["page_size"], call["num_heads_k"])
        shape = (call["batch_size"], call["max_seqlen_q"], call["num_heads"], call["headdim"], pages)
        layer = (call["has_softcap"], call["window_size"], call["causal"], call["num_splits"])
        return torch.full((size,), _mark(*shape, *layer, *call["cache_seqlens"].tolist()), dtype=torch.int32)

    def _bound(self, function: str, arguments: Any, module: str = MODULE) -> dict[str, Any]:
        bound: dict[str, Any] = {}
        for version in self._contracts:
            given = {} if isinstance(arguments, tuple) else arguments
            found = version.signature(module, function).bind(*(() if given else arguments), **given)
            found.apply_defaults()
            bound = dict(found.arguments)
        self.calls.setdefault(function, []).append(dict(arguments) if isinstance(arguments, dict) else bound)
        return bound


def _mark(*told: Any) -> int:
    """A number that tells what was told; above 0."""
    return (
        1
        + zlib.crc32(repr(tuple(tuple(each) if isinstance(each, torch.Size) else each for each in told)).encode())
        % 2**30
    )


def _attend(call: dict[str, Any], keys: list[list[torch.Tensor]]) -> Any:
    q, (left, right) = call["q"], call["window_size"]
    assert right in (-1, 0)
    out: torch.Tensor = call["out"]
    sums = torch.empty(q.shape[1], q.shape[0])
    for request, (start, stop) in enumerate(itertools.pairwise(call["cu_seqlens_q"].tolist())):
        assert stop - start <= call["max_seqlen_q"]
        k, v = (part.float() for part in keys[request])
        if call["k_descale"] is not None:
            k, v = k * call["k_descale"][request][:, None], v * call["v_descale"][request][:, None]
        rows = q[start:stop].float()
        group = rows.shape[1] // k.shape[1]
        k, v = (part.repeat_interleave(group, 1).transpose(0, 1) for part in (k, v))
        scores = rows.transpose(0, 1) @ k.mT * call["softmax_scale"]
        if call["softcap"]:
            scores = call["softcap"] * torch.tanh(scores / call["softcap"])
        own = torch.arange(k.shape[1] - len(rows), k.shape[1])[:, None]
        key = torch.arange(k.shape[1])[None]
        seen = (key <= own) if left < 0 else (key <= own) & (key >= own - left)
        if not call["causal"]:
            assert left < 0, "a window of a call that is not causal is counted from the end of its keys"
            seen = torch.ones_like(seen)
        scores = scores.masked_fill(~seen, -math.inf)
        sums[:, start:stop] = scores.logsumexp(-1)
        if call["sinks"] is not None:
            assert call["sinks"].dtype == torch.bfloat16
            sink = call["sinks"].float()[:, None, None].expand(-1, len(rows), 1)
            weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        else:
            # The kernel stores zeros for rows without keys.
            weights = scores.softmax(-1).nan_to_num(0.0)
        out[start:stop] = (weights @ v).transpose(0, 1).to(out.dtype)
    return (out, sums) if call["return_softmax_lse"] else out


def install(patch: pytest.MonkeyPatch) -> Emulator:
    """Put the emulation where the backends import FlashAttention-3 from."""
    emulator = Emulator()
    module, merging = types.ModuleType(MODULE), types.ModuleType("sgl_kernel.attention")
    for name in ("flash_attn_with_kvcache", "flash_attn_varlen_func", "get_scheduler_metadata"):
        setattr(module, name, getattr(emulator, name))
    merging.merge_state_v2 = emulator.merge_state_v2  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "sgl_kernel", types.ModuleType("sgl_kernel"))
    patch.setitem(sys.modules, MODULE, module)
    patch.setitem(sys.modules, merging.__name__, merging)
    return emulator
