"""The kernels of latent attention in torch, for machines without a GPU: sgl_kernel's functions, FlashInfer's wrapper.

Every call is bound against the real signature first. What is computed follows only from the arguments: a wrong table,
length, part of the query or scale gives a wrong output.
"""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "attention"))
from contracts import contract
from tables import gathered

VERSIONS = ("0.4.5", "0.4.10")


def latent(
    q: torch.Tensor, qv: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, causal: bool
) -> torch.Tensor:
    """One request: ``q`` [queries, heads, rotated] on ``keys``, and ``qv`` [queries, heads, rank] on ``values``."""
    scores = (q.float() @ keys.float().T + qv.float() @ values.float().T) * scale
    if causal:
        own = torch.arange(len(keys) - len(q), len(keys))[:, None]
        scores = scores.masked_fill((torch.arange(len(keys))[None] > own)[:, None], -math.inf)
    return scores.softmax(-1) @ values.float()


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> Any:
    """One request of [tokens, heads, dim]: output and log-sum-exp [tokens, heads]; no key gives 0 and -inf."""
    scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * scale
    if causal:
        own = torch.arange(len(k) - len(q), len(k))[:, None]
        scores = scores.masked_fill(torch.arange(len(k))[None] > own, -math.inf)
    out = torch.einsum("hqk,khd->qhd", scores.softmax(-1).nan_to_num(), v.float())
    return out, scores.logsumexp(-1).T


def spans(indptr: torch.Tensor) -> list[tuple[int, int]]:
    assert indptr.dtype == torch.int32
    return list(itertools.pairwise(indptr.tolist()))


def tabled(pool: torch.Tensor, table: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    """Tokens of each request from pages [pages, page_size, 1, width]; the table's tail isn't read."""
    assert table.dtype == lengths.dtype == torch.int32
    assert len(table) == len(lengths)
    size, found = pool.shape[1], []
    for row, length in zip(table, lengths.tolist(), strict=True):
        pages = row[: -(-length // size)].long()
        assert (pages > 0).all(), "page 0 is nobody's"
        found.append(gathered(pool, pages)[:length, 0])
    return found


def mark(lengths: torch.Tensor) -> int:
    """A number that tells lengths; above 0."""
    return 1 + zlib.crc32(str(lengths.tolist()).encode()) % 2**30


class Emulator:
    """Stands for the modules; keeps the arguments of each call by function."""

    def __init__(self) -> None:
        self.calls: dict[str, list[dict[str, Any]]] = {}

    def bound(self, module: str, function: str, args: Any, kwargs: Any, versions: tuple[str, ...] = VERSIONS) -> Any:
        arguments: dict[str, Any] = {}
        for version in versions:
            found = contract("sglang-kernel", version).signature(module, function).bind(*args, **kwargs)
            found.apply_defaults()
            arguments = dict(found.arguments)
        self.calls.setdefault(function, []).append(arguments)
        return arguments

    def flash_attn_with_kvcache(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        call = self.bound("sgl_kernel.flash_attn", "flash_attn_with_kvcache", args, kwargs)
        assert call["k_cache"].shape[2] == call["v_cache"].shape[2] == 1
        assert call["k_cache"].dtype == call["v_cache"].dtype == call["q"].dtype == call["qv"].dtype
        assert call["window_size"] == (-1, -1)
        metadata = call["scheduler_metadata"]
        assert metadata is None or metadata.dtype == torch.int32
        # Made for the lengths of this step, not for those of the capture.
        assert metadata is None or set(metadata.tolist()) == {mark(call["cache_seqlens"])}
        keys, values = (
            tabled(call[name], call["page_table"], call["cache_seqlens"]) for name in ("k_cache", "v_cache")
        )
        out: torch.Tensor = call["out"]
        for request, (start, stop) in enumerate(spans(call["cu_seqlens_q"])):
            assert stop - start <= call["max_seqlen_q"]
            rows = slice(start, stop)
            out[rows] = latent(
                call["q"][rows], call["qv"][rows], keys[request], values[request], call["softmax_scale"], call["causal"]
            ).to(out.dtype)
        return out

    def flash_attn_varlen_func(self, *args: Any, **kwargs: Any) -> Any:
        call = self.bound("sgl_kernel.flash_attn", "flash_attn_varlen_func", args, kwargs)
        queries, keys = spans(call["cu_seqlens_q"]), spans(call["cu_seqlens_k"])
        assert call["max_seqlen_q"] == max(stop - start for start, stop in queries)
        assert call["max_seqlen_k"] == max(stop - start for start, stop in keys)
        out = call["out"]
        lse = torch.empty(*out.shape[:2])
        for (start, stop), (first, last) in zip(queries, keys, strict=True):
            found = plain(
                call["q"][start:stop],
                call["k"][first:last],
                call["v"][first:last],
                call["softmax_scale"],
                call["causal"],
            )
            out[start:stop], lse[start:stop] = found[0].to(out.dtype), found[1]
        return (out, lse.T) if call["return_softmax_lse"] else out

    def merge_state_v2(self, *args: Any, **kwargs: Any) -> Any:
        call = self.bound("sgl_kernel.attention", "merge_state_v2", args, kwargs)
        va, sa, vb, sb = (call[name] for name in ("v_a", "s_a", "v_b", "s_b"))
        assert all(s.is_contiguous() and s.shape == va.shape[:2] for s in (sa, sb))
        total = torch.logaddexp(sa, sb)
        merged = sum(v.float() * torch.exp(s - total)[..., None] for v, s in ((va, sa), (vb, sb)))
        return call["v_merged"].copy_(merged), call["s_merged"].copy_(total)

    def get_scheduler_metadata(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        call = self.bound("sgl_kernel.flash_attn", "get_scheduler_metadata", args, kwargs)
        assert (call["num_heads_k"], call["headdim"], call["headdim_v"]) == (1, 64, 512)
        size = 1 + -(-call["batch_size"] // 4) * 4 * 3
        return torch.full((size,), mark(call["cache_seqlens"]), dtype=torch.int32)

    def get_mla_metadata(self, *args: Any, **kwargs: Any) -> Any:
        call = self.bound("sgl_kernel.flash_mla", "get_mla_metadata", args, kwargs)
        assert call["num_heads_k"] == 1
        assert call["topk"] is None
        made = mark(call["cache_seqlens"])
        parts = torch.full((132, 8), made, dtype=torch.int32)
        return parts, torch.arange(made, made + len(call["cache_seqlens"]) + 1, dtype=torch.int32)

    def flash_mla_with_kvcache(self, *args: Any, **kwargs: Any) -> Any:
        call = self.bound("sgl_kernel.flash_mla", "flash_mla_with_kvcache", args, kwargs)
        q, rank = call["q"], call["head_dim_v"]
        assert call["k_cache"].shape[1:3] == (64, 1)
        assert call["k_cache"].is_contiguous()
        # Made for the lengths of this step, not for those of the capture.
        made = mark(call["cache_seqlens"])
        assert (call["tile_scheduler_metadata"] == made).all()
        assert call["num_splits"].tolist() == list(range(made, made + len(q) + 1))
        found = []
        for request, cached in enumerate(tabled(call["k_cache"], call["block_table"], call["cache_seqlens"])):
            parts = q[request, ..., rank:], q[request, ..., :rank], cached[:, rank:], cached[:, :rank]
            found.append(latent(*parts, call["softmax_scale"], call["causal"]))
        return torch.stack(found).to(q.dtype), torch.zeros(len(q), q.shape[2], 1)

    def flash_mla_sparse_fwd(self, *args: Any, **kwargs: Any) -> Any:
        call = self.bound("sgl_kernel.flash_mla", "flash_mla_sparse_fwd", args, kwargs)
        q, pool, rank = call["q"], call["kv"], call["d_v"]
        assert q.shape[1] % 64 == 0
        assert call["indices"].dtype == call["topk_length"].dtype == torch.int32
        assert call["indices"].shape[:2] == (len(q), 1)
        found = []
        for request, count in enumerate(call["topk_length"].tolist()):
            read = call["indices"][request, 0, :count].long()
            assert (read > 0).all(), "page 0 is no request's"
            cached = pool[read, 0]
            rows = q[request][None]
            parts = rows[..., rank:], rows[..., :rank], cached[:, rank:], cached[:, :rank]
            found.append(latent(*parts, call["sm_scale"], False)[0])
        return torch.stack(found).to(q.dtype), torch.zeros(q.shape[:2]), torch.zeros(q.shape[:2])

    def cutlass_mla_get_workspace_size(self, *args: Any, **kwargs: Any) -> int:
        call = self.bound("sgl_kernel.attention", "cutlass_mla_get_workspace_size", args, kwargs, ("0.4.5",))
        # get_workspace_size of CUTLASS's sm100_fmha_mla_tma_warpspecialized.hpp: 512 numbers and a log-sum-exp a head.
        return (4 * 512 + 4) * 128 * call["num_kv_splits"] * call["num_batches"]

    def cutlass_mla_decode(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        call = self.bound("sgl_kernel.attention", "cutlass_mla_decode", args, kwargs, ("0.4.5",))
        pool, q = call["kv_c_and_k_pe_cache"], call["q_nope"]
        assert pool.shape[1:] == (128, 576)
        assert call["workspace"].dtype == torch.uint8
        needed = self.cutlass_mla_get_workspace_size(call["page_table"].shape[1] * 128, len(q))
        assert call["workspace"].numel() >= needed
        out = torch.empty_like(q)
        for request, cached in enumerate(tabled(pool[:, :, None], call["page_table"], call["seq_lens"])):
            rows = slice(request, request + 1)
            parts = call["q_pe"][rows], q[rows], cached[:, 512:], cached[:, :512]
            out[rows] = latent(*parts, call["sm_scale"], False).to(q.dtype)
        return out


def install_sgl_kernel(patch: pytest.MonkeyPatch) -> Emulator:
    """Put the emulation where the backends import sgl_kernel's functions from."""
    emulator = Emulator()
    functions = {
        "sgl_kernel": ("cutlass_mla_decode", "cutlass_mla_get_workspace_size", "merge_state_v2"),
        "sgl_kernel.flash_attn": ("flash_attn_with_kvcache", "flash_attn_varlen_func", "get_scheduler_metadata"),
        "sgl_kernel.flash_mla": ("flash_mla_with_kvcache", "flash_mla_sparse_fwd", "get_mla_metadata"),
    }
    for name, members in functions.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, getattr(emulator, member))
        patch.setitem(sys.modules, name, module)
    return emulator


def flashinfer_wrapper(real: type) -> type:
    """FlashInfer's latent wrapper in torch, bound against ``real``."""

    def bound(function: str, self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        call = inspect.signature(getattr(real, function)).bind(self, *args, **kwargs)
        call.apply_defaults()
        return dict(call.arguments)

    class Latent:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.made = bound("__init__", self, *args, **kwargs)
            self.held = {name: self.made[name] for name in ("qo_indptr", "kv_indptr", "kv_indices", "kv_len_arr")}
            if self.made["use_cuda_graph"]:
                assert all(isinstance(tensor, torch.Tensor) for tensor in self.held.values())
                for tensor in self.held.values():
                    tensor.fill_(-7)

        def plan(self, *args: Any, **kwargs: Any) -> None:
            self.planned = bound("plan", self, *args, **kwargs)
            for name in self.held:
                given = self.planned[name]
                assert given.dtype == torch.int32
                assert name == "kv_indices" or given.device.type == "cpu"
                if self.made["use_cuda_graph"]:
                    self.held[name][: len(given)].copy_(given)
                else:
                    self.held[name] = given

        def run(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            call, p = bound("run", self, *args, **kwargs), self.planned
            assert call["q_nope"].dtype == call["q_pe"].dtype == p["q_data_type"]
            assert call["ckv_cache"].dtype == call["kpe_cache"].dtype == p["kv_data_type"]
            assert p["num_heads"] == call["q_nope"].shape[1]
            fp8 = p["kv_data_type"] == torch.float8_e4m3fn
            assert (call["ckv_scale"], call["kpe_scale"]) == ((1.0, 1.0) if fp8 else (None, None))
            out: torch.Tensor = call["out"]
            pages = spans(self.held["kv_indptr"])
            for request, (start, stop) in enumerate(spans(self.held["qo_indptr"])):
                first, last = pages[request]
                table, tokens = self.held["kv_indices"][first:last].long(), int(self.held["kv_len_arr"][request])
                assert len(table) >= -(-tokens // p["page_size"])
                ckv, kpe = (gathered(call[n], table)[:tokens] for n in ("ckv_cache", "kpe_cache"))
                parts = call["q_pe"][start:stop], call["q_nope"][start:stop], kpe, ckv
                out[start:stop] = latent(*parts, p["sm_scale"], p["causal"]).to(out.dtype)
            return out

    return Latent


def install_flashinfer(patch: pytest.MonkeyPatch) -> None:
    """Put the emulated wrappers where the backends import them from; FlashInfer is installed."""
    import flashinfer.mla
    import flashinfer.prefill
    import flashinfer_emulator

    patch.setattr(flashinfer.prefill, "BatchPrefillWithRaggedKVCacheWrapper", flashinfer_emulator.Ragged)
    patch.setattr(
        flashinfer.mla,
        "BatchMLAPagedAttentionWrapper",
        flashinfer_wrapper(flashinfer.mla.BatchMLAPagedAttentionWrapper),
    )
