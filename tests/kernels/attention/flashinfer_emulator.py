"""FlashInfer's wrappers in torch, for machines without a GPU.

Every call is bound against the real signature first, so a keyword that FlashInfer doesn't know fails here. What is
computed follows only from what the wrappers were given: wrong indptrs, pages or windows give wrong outputs.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flashinfer
import flashinfer.attention
import flashinfer.cascade
import flashinfer.decode
import flashinfer.prefill
import pytest
import torch
from flashinfer.jit.attention.modules import gen_customize_batch_prefill_module
from flashinfer.jit.attention.variants import attention_sink_decl
from tables import gathered

signature = functools.cache(inspect.signature)
State = tuple[torch.Tensor, torch.Tensor]
# FlashInfer's infinity (math.cuh).
HIDDEN = -5e4


def bound(real: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments by name, defaults filled in.

    Raises:
        TypeError: the real function wouldn't take them.
    """
    call = signature(real).bind(*args, **kwargs)
    call.apply_defaults()
    return dict(call.arguments)


def attention(
    q: torch.Tensor,
    requests: Iterator[tuple[torch.Tensor, torch.Tensor]],
    qo_indptr: torch.Tensor,
    planned: dict[str, Any],
    causal: bool,
    *,
    sinks: torch.Tensor | None = None,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
    mask: torch.Tensor | None = None,
) -> State:
    """Each request's ``(k, v)`` [tokens, KV heads, dim]; a request without keys gives 0 and a log-sum-exp of -inf.

    A row whose mask hides every key gives 0 and ``HIDDEN`` plus the logarithm of the keys, which fa2 counts anyway
    (``MaskFillValue``, ``finalize_m`` and ``OutputTransform`` of 0.6.18).

    ``sinks``: float32 [query heads]. ``mask``: flat, a request's queries times its keys after another's.
    """
    bits = 0
    outs, lses = [], []
    cap, window = planned["logits_soft_cap"], planned.get("window_left", -1)
    for (start, stop), (k, v) in zip(itertools.pairwise(qo_indptr.tolist()), requests, strict=True):
        rows = q[start:stop].float()
        group = rows.shape[1] // k.shape[1]
        keys, values = (part.float().repeat_interleave(group, 1).transpose(0, 1) for part in (k, v))
        scores = rows.transpose(0, 1) @ keys.mT * planned["sm_scale"] * k_scale
        scores = cap * torch.tanh(scores / cap) if cap else scores
        own = torch.arange(len(k) - len(rows), len(k))[:, None]
        key = torch.arange(len(k))[None]
        seen = key <= own if causal else torch.ones_like(key <= own)
        if window >= 0:
            seen &= key >= own - window
        if mask is not None:
            assert window < 0
            assert not causal
            seen &= mask[bits : bits + seen.numel()].view(seen.shape) != 0
            bits += seen.numel()
        scores = scores.masked_fill(~seen, -math.inf)
        if sinks is not None:
            assert (sinks.dtype, sinks.shape) == (torch.float32, rows.shape[1:2])
            scores = torch.cat([scores, sinks.view(-1, 1, 1).expand(-1, len(rows), 1)], -1)
            values = torch.cat([values, torch.zeros_like(values[:, :1])], 1)
        weights = scores.softmax(-1).nan_to_num(0.0)
        outs.append((weights @ values).transpose(0, 1) * v_scale)
        lse = scores.logsumexp(-1).T * math.log2(math.e)
        lses.append(lse.masked_fill(lse == -math.inf, HIDDEN + math.log2(len(k))) if len(k) else lse)
    out = torch.cat(outs)
    return out if q.dtype == torch.float8_e4m3fn else out.to(q.dtype), torch.cat(lses)


def pages(
    cache: tuple[torch.Tensor, torch.Tensor],
    indptr: torch.Tensor,
    indices: torch.Tensor,
    last: torch.Tensor,
    page_size: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """``(k, v)`` of each request. The whole of the used pages is garbage-free only up to the last page's length."""
    assert indptr.dtype == indices.dtype == last.dtype == torch.int32
    assert cache[0].shape[1] == page_size
    for request in range(len(last)):
        table = indices[int(indptr[request]) : int(indptr[request + 1])].long()
        # A request without a page has no keys, whatever its last page holds (get_length in page.cuh).
        length = (len(table) - 1) * page_size + int(last[request]) if len(table) else 0
        k, v = (gathered(part, table)[:length] for part in cache)
        assert len(k) == length
        yield k, v


def refuse_late(call: dict[str, Any], planned: dict[str, Any]) -> None:
    """The real wrappers ignore what a call says of the layer unless the plan said the same (0.6.18)."""
    for name, nothing in (("window_left", -1), ("logits_soft_cap", 0.0)):
        if call.get(name) not in (None, nothing, planned.get(name)):
            raise ValueError(f"{name} is given to a call that was planned without it")


class Wrapper:
    """Bookkeeping of the three planned wrappers."""

    real: type
    planner = "plan"
    buffers: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made = bound(self.real, *args, **kwargs)
        assert self.made["kv_layout"] == "NHD"
        if self.made["use_cuda_graph"]:
            assert all(isinstance(self.made[name], torch.Tensor) for name in self.buffers)
        self.planned: dict[str, Any] = {}

    def plan(self, *args: Any, **kwargs: Any) -> None:
        self.planned = bound(getattr(self.real, self.planner), self, *args, **kwargs)
        for name, value in self.planned.items():
            if "indptr" in name or "last_page_len" in name:
                assert value is None or value.device.type == "cpu"

    def scales(self, call: dict[str, Any]) -> dict[str, float]:
        """Of a call that may have FP8 queries: those come with a tensor for each head, others with two numbers."""
        q, args = call["q"], call["args"]
        if q.dtype != torch.float8_e4m3fn:
            assert args == ()
            return {"k_scale": call["k_scale"] or 1.0, "v_scale": call["v_scale"] or 1.0}
        # fa2 has no FP8 queries, fa3's FP8 kernel no softcap; without o_data_type it would want an FP8 output.
        assert self.made["backend"] == "fa3"
        assert not self.planned["logits_soft_cap"]
        assert self.planned["o_data_type"] == call["out"].dtype != q.dtype
        assert (call["k_scale"], call["v_scale"]) == (None, None)
        heads = [self.planned["num_qo_heads"], *(2 * [self.planned["num_kv_heads"]])]
        assert [(scale.dtype, scale.shape) for scale in args] == [(torch.float32, (count,)) for count in heads]
        assert all(len(scale.unique()) == 1 for scale in args)
        return {"k_scale": float(args[0][0] * args[1][0]), "v_scale": float(args[2][0])}

    def finish(self, state: State, call: dict[str, Any]) -> Any:
        call["out"].copy_(state[0])
        if not call["return_lse"]:
            return call["out"]
        call["lse"].copy_(state[1])
        return call["out"], call["lse"]

    def check_types(self, q: torch.Tensor, k: torch.Tensor) -> None:
        assert (q.dtype, k.dtype) == (self.planned["q_data_type"], self.planned["kv_data_type"])


class Decode(Wrapper):
    real = flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper
    planner = "_plan_impl"
    buffers = ("paged_kv_indptr_buffer", "paged_kv_indices_buffer", "paged_kv_last_page_len_buffer")

    def plan(self, *args: Any, **kwargs: Any) -> None:
        super().plan(*args, **kwargs)
        if self.made["use_cuda_graph"]:
            assert len(self.planned["indices"]) <= len(self.made["paged_kv_indices_buffer"])
        if self.planned["fixed_split_size"] is not None:
            assert self.made["use_tensor_cores"]

    def run(self, *args: Any, **kwargs: Any) -> Any:
        call, p = bound(self.real.run, self, *args, **kwargs), self.planned
        refuse_late(call, p)
        self.check_types(call["q"], call["paged_kv_cache"][0])
        each = pages(call["paged_kv_cache"], p["indptr"], p["indices"], p["last_page_len"], p["page_size"])
        rows = torch.arange(len(p["indptr"]))
        return self.finish(attention(call["q"], each, rows, p, causal=False, **self.scales(call)), call)


class Paged(Wrapper):
    real = flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper
    buffers = ("qo_indptr_buf", "paged_kv_indptr_buf", "paged_kv_indices_buf", "paged_kv_last_page_len_buf")

    def plan(self, *args: Any, **kwargs: Any) -> None:
        super().plan(*args, **kwargs)
        assert self.planned["max_sequence_kv"] is None
        if self.made["use_cuda_graph"]:
            assert len(self.planned["paged_kv_indices"]) <= len(self.made["paged_kv_indices_buf"])
        mask, made = self.planned["custom_mask"], self.made
        # Under graphs a mask is used if and only if its buffers are bound.
        bound_buffers = [made[name] is not None for name in ("custom_mask_buf", "mask_indptr_buf")]
        assert bound_buffers == [mask is not None and made["use_cuda_graph"]] * 2
        if mask is not None:
            assert (made["backend"], mask.dtype, mask.dim()) == ("fa2", torch.uint8, 1)
            qo, kv, last = (self.planned[n] for n in ("qo_indptr", "paged_kv_indptr", "paged_kv_last_page_len"))
            counts = qo.diff() * ((kv.diff() - 1) * self.planned["page_size"] + last)
            assert int(counts.min()) >= 0
            assert int(counts.sum()) == len(mask)
            if made["use_cuda_graph"]:
                assert len(made["custom_mask_buf"]) >= int((-(-counts // 8)).sum())
        assert self.planned["max_token_per_sequence"] == int(self.planned["qo_indptr"].diff().max())

    def run(self, *args: Any, **kwargs: Any) -> Any:
        call, p = bound(self.real.run, self, *args, **kwargs), self.planned
        refuse_late(call, p)
        self.check_types(call["q"], call["paged_kv_cache"][0])
        names = ("paged_kv_indptr", "paged_kv_indices", "paged_kv_last_page_len", "page_size")
        each = pages(call["paged_kv_cache"], *(p[name] for name in names))
        if self.made["jit_args"] is not None:
            return self.finish(self.sink(call, each), call)
        given = {"mask": p["custom_mask"], **self.scales(call)}
        return self.finish(attention(call["q"], each, p["qo_indptr"], p, p["causal"], **given), call)

    def sink(self, call: dict[str, Any], each: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> State:
        """The AttentionSink variant: its arguments come positionally; ``k_scale`` and ``sm_scale`` of plan are lost."""
        p, jit, options = self.planned, self.made["jit_args"], self.made["jit_kwargs"]
        assert inspect.signature(gen_customize_batch_prefill_module).bind(self.made["backend"], *jit, **options)
        assert (jit[11], jit[12]) == ("AttentionSink", attention_sink_decl[self.made["backend"]])
        assert (jit[7], jit[9]) == (["sink"], ["sm_scale"])
        assert jit[1:4] == [call["q"].dtype, call["paged_kv_cache"][0].dtype, call["out"].dtype]
        assert jit[5:7] == [call["q"].shape[-1], call["paged_kv_cache"][1].shape[-1]]
        assert options["use_sliding_window"] == (p["window_left"] >= 0)
        assert not p["logits_soft_cap"]
        sinks, sm_scale = call["args"]
        v_scale = call["v_scale"] or 1.0
        p = p | {"sm_scale": sm_scale}
        return attention(call["q"], each, p["qo_indptr"], p, p["causal"], sinks=sinks, v_scale=v_scale)


class Ragged(Wrapper):
    real = flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper
    buffers = ("qo_indptr_buf", "kv_indptr_buf")

    def run(self, *args: Any, **kwargs: Any) -> Any:
        call, p = bound(self.real.run, self, *args, **kwargs), self.planned
        self.check_types(call["q"], call["k"])
        sizes = p["kv_indptr"].diff().tolist()
        each = zip(call["k"].split(sizes), call["v"].split(sizes), strict=True)
        return self.finish(attention(call["q"], each, p["qo_indptr"], p, p["causal"]), call)


class Holistic:
    real = flashinfer.attention.BatchAttention

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        assert bound(self.real, *args, **kwargs)["kv_layout"] == "NHD"

    def plan(self, *args: Any, **kwargs: Any) -> None:
        self.planned = bound(self.real.plan, self, *args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> State:
        call, p = bound(self.real.run, self, *args, **kwargs), self.planned
        assert (call["q"].dtype, call["kv_cache"][0].dtype) == (p["q_data_type"], p["kv_data_type"])
        refuse_late(call, p)
        used = p["kv_indptr"].diff()
        last = p["kv_len_arr"] - (used - 1).clamp(min=0) * p["page_size"]
        each = pages(call["kv_cache"], p["kv_indptr"], p["kv_indices"], last, p["page_size"])
        scales = {"k_scale": call["k_scale"] or 1.0, "v_scale": call["v_scale"] or 1.0}
        out, lse = attention(call["q"], each, p["qo_indptr"], p, p["causal"], **scales)
        return call["out"].copy_(out), call["lse"].copy_(lse)


def xqa(real: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    call = bound(real, *args, **kwargs)
    assert not call["workspace_buffer"].view(torch.uint8)[: 8 << 20].any()
    assert call["max_seq_len"] == int(call["seq_lens"].max())
    page_size = call["kv_cache"][0].shape[1]
    assert page_size in (16, 32, 64, 128)
    each = []
    for table, length in zip(call["block_tables"], call["seq_lens"].tolist(), strict=True):
        each.append(tuple(gathered(part, table.long())[:length] for part in call["kv_cache"]))
    planned = {"sm_scale": call["bmm1_scale"], "logits_soft_cap": None, "window_left": call["window_left"]}
    rows = torch.arange(len(each) + 1)
    out: torch.Tensor = call["out"]
    scaled = {"sinks": call["sinks"], "v_scale": call["bmm2_scale"]}
    return out.copy_(attention(call["query"], iter(each), rows, planned, causal=False, **scaled)[0])


def merge_state(real: Callable[..., Any], *args: Any, **kwargs: Any) -> State:
    """As MergeStateKernel: an empty half weighs 0, and its output must be a number."""
    call = bound(real, *args, **kwargs)
    (va, sa), (vb, sb) = (call["v_a"], call["s_a"]), (call["v_b"], call["s_b"])
    assert va.shape[:2] == sa.shape == sb.shape
    total = torch.logaddexp2(sa, sb)
    parts = [v.float() * torch.exp2(s - total)[..., None] for v, s in ((va, sa), (vb, sb))]
    return (parts[0] + parts[1]).to(va.dtype), total


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the emulated wrappers where the backends import them from."""
    patch.setattr(flashinfer.decode, "BatchDecodeWithPagedKVCacheWrapper", Decode)
    patch.setattr(flashinfer.prefill, "BatchPrefillWithPagedKVCacheWrapper", Paged)
    patch.setattr(flashinfer.prefill, "BatchPrefillWithRaggedKVCacheWrapper", Ragged)
    patch.setattr(flashinfer, "BatchAttention", Holistic)
    for module, function in ((flashinfer.decode, xqa), (flashinfer.cascade, merge_state)):
        name = "xqa_batch_decode_with_kv_cache" if function is xqa else "merge_state"
        patch.setattr(module, name, functools.partial(function, getattr(module, name)))
