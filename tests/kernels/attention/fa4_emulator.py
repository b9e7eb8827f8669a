"""FlashAttention-4's call in torch, for machines without a GPU.

Every call is bound against the real signatures first, of the oldest and the newest version of contracts.txt. What is
computed follows only from the arguments: a wrong table, length or window gives a wrong output.
"""

from __future__ import annotations

import itertools
import math
import sys
import types
from typing import Any

import pytest
import torch
from contracts import contract
from torch._guards import active_fake_mode

VERSIONS = ("4.0.0b18", "4.0.0b36")


class Emulator:
    """Stands for ``flash_attn_varlen_func``; keeps the arguments of each call."""

    def __init__(self) -> None:
        self.signatures = [
            contract("flash-attn-4", version).signature("flash_attn.cute.interface", "flash_attn_varlen_func")
            for version in VERSIONS
        ]
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> tuple[torch.Tensor, None]:
        old, new = (signature.bind(**arguments) for signature in self.signatures)
        old.apply_defaults()
        new.apply_defaults()
        self.calls.append(arguments)
        call = old.arguments
        _check(call)
        if active_fake_mode() is not None:
            return torch.empty_like(call["q"]), None
        return _attend(call), None


def _check(call: dict[str, Any]) -> None:
    """What ``_flash_attn_fwd`` asserts (4.0.0b36) of what we pass."""
    q, k, v, table = call["q"], call["k"], call["v"], call["page_table"]
    batch = call["cu_seqlens_q"].shape[0] - 1
    assert q.dtype == k.dtype == v.dtype
    assert call["causal"]
    sink = call["learnable_sink"]
    # 4.0.0b18 takes bfloat16 alone.
    assert sink is None or (sink.shape, sink.dtype) == (q.shape[1:2], torch.bfloat16)
    for name in ("cu_seqlens_q", "cu_seqlens_k", "seqused_k", "page_table"):
        tensor = call[name]
        assert tensor is None or (tensor.dtype == torch.int32 and tensor.stride(-1) == 1)
        assert tensor is None or tensor.device == q.device
    if table is None:
        assert call["seqused_k"] is None
        assert call["cu_seqlens_k"].shape == (batch + 1,)
        return
    assert call["cu_seqlens_k"] is None
    assert call["seqused_k"].shape == (batch,)
    assert table.shape[0] == batch
    assert k.shape == v.shape
    assert k.ndim == 4


def _attend(call: dict[str, Any]) -> torch.Tensor:
    q, table = call["q"], call["page_table"]
    left, right = call["window_size"]
    assert (left is None) == (right is None)
    assert right in (None, 0)
    outs = []
    for request, (start, stop) in enumerate(itertools.pairwise(call["cu_seqlens_q"].tolist())):
        assert stop - start <= call["max_seqlen_q"]
        if table is None:
            first, last = call["cu_seqlens_k"][request : request + 2].tolist()
            k, v = (call[name][first:last] for name in ("k", "v"))
        else:
            length = int(call["seqused_k"][request])
            k, v = (call[name][table[request].long()].flatten(0, 1)[:length] for name in ("k", "v"))
            assert len(k) == length
        assert len(k) <= call["max_seqlen_k"]
        rows = q[start:stop].float()
        group = rows.shape[1] // k.shape[1]
        keys, values = (part.float().repeat_interleave(group, 1).transpose(0, 1) for part in (k, v))
        scores = rows.transpose(0, 1) @ keys.mT * call["softmax_scale"]
        if call["softcap"]:
            scores = call["softcap"] * torch.tanh(scores / call["softcap"])
        own = torch.arange(len(k) - len(rows), len(k))[:, None]
        key = torch.arange(len(k))[None]
        seen = key <= own
        if left is not None:
            seen &= key >= own - left
        scores = scores.masked_fill(~seen, -math.inf)
        if call["learnable_sink"] is not None:
            sink = call["learnable_sink"].float()[:, None, None].expand(-1, len(rows), 1)
            weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        outs.append((weights @ values).transpose(0, 1))
    return torch.cat(outs).to(q.dtype)


def install(patch: pytest.MonkeyPatch) -> Emulator:
    """Put the emulation where the backends import FlashAttention-4 from."""
    emulator = Emulator()
    cute = types.ModuleType("flash_attn.cute")
    cute.flash_attn_varlen_func = emulator  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "flash_attn", types.ModuleType("flash_attn"))
    patch.setitem(sys.modules, "flash_attn.cute", cute)
    return emulator
