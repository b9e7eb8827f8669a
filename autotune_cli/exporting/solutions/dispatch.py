"""A solution of FlashInfer's trace apply: autotune's paged decode kernel, with the sizes that were the fastest for the
batch. Written into an export beside ``kernels.py`` (the kernel) and ``table.json`` (what was measured).

It stands for ``BatchDecodeWithPagedKVCacheWrapper.run`` over pages of one key. Nothing in it waits for the device, and
what it launches depends on the batch size alone, so it may be captured.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch

_FOLDER = Path(__file__).parent
_LOG2E = math.log2(math.e)
# Parts that the merge adds up at once.
_CHUNK = 16


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((_FOLDER / "table.json").read_text(encoding="utf-8"))
    return table


@functools.cache
def _kernels() -> Any:
    """The kernels' module, under a name that no other solution's has."""
    name = f"autotune_solution_{_FOLDER.name}"
    spec = importlib.util.spec_from_file_location(name, _FOLDER / "kernels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def chosen(batch: int) -> dict[str, Any]:
    """Block, warps, stages and splits of the tuned batch size that is nearest, by the ratio."""
    entries: list[dict[str, Any]] = _table()["entries"]
    return min(entries, key=lambda entry: abs(math.log(batch / entry["batch"])))


@functools.cache
def _parts(batch: int, splits: int, device: torch.device) -> torch.Tensor:
    """[batch] int32: every request in so many parts, of which those of a short one may be empty."""
    return torch.full((batch,), splits, dtype=torch.int32, device=device)


def run(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | None = None,
    return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Attention of one query a request.

    Args:
        q: [batch, query heads, head dim], bfloat16 or float16.
        k_cache, v_cache: [pages, 1, KV heads, head dim], or without the 1, in the queries' dtype.
        kv_indptr: [batch + 1] int32. kv_indices: int32, as many as the last of it, or more.
        sm_scale: of the logits; None: the head dim's.
        return_lse: the log-sum-exp to base 2, [batch, query heads] float32, too.

    Raises:
        ValueError: another batch than the kernel computes; nothing takes its place, as FlashInfer takes a solution for
            all that its definition's name fits.
    """
    table = _table()
    batch, heads, dim = q.shape
    if k_cache.dim() == 4 and k_cache.shape[1] != 1:
        raise ValueError(f"autotune's decode was exported for pages of 1, not of {k_cache.shape[1]}")
    if (heads, k_cache.shape[-2], dim) != (table["heads"], table["kv_heads"], table["dim"]):
        raise ValueError(f"autotune's decode was exported for other heads than {tuple(q.shape)}")
    if k_cache.dtype != q.dtype or v_cache.dtype != q.dtype:
        raise ValueError(f"autotune's decode was exported for a cache in the queries' dtype, not {k_cache.dtype}")
    if len(kv_indptr) != batch + 1:
        raise ValueError(f"autotune's decode takes one query a request, not {batch} of {len(kv_indptr) - 1} requests")
    entry = chosen(batch)
    # The log-sum-exp of parts is kept, of a whole request it isn't.
    splits = max(2, entry["splits"]) if return_lse else entry["splits"]
    group = heads // table["kv_heads"]
    rows = table["rows"]
    q = q.contiguous()
    out = torch.empty_like(q)
    shape = (batch, heads, splits)
    part_out = torch.empty(*shape, dim, dtype=torch.float32, device=q.device) if splits > 1 else out
    part_lse = torch.empty(shape, dtype=torch.float32, device=q.device) if splits > 1 else out
    parts = _parts(batch, splits, q.device)
    scale = (1.0 / math.sqrt(dim) if sm_scale is None else float(sm_scale)) * _LOG2E
    kernels = _kernels()
    kernels.paged_decode_kernel[(table["kv_heads"] * -(-group // rows), batch, splits)](
        q, k_cache, v_cache, q, out, part_out, part_lse, kv_indptr, kv_indices, kv_indptr, parts, k_cache.stride(0),
        scale, 1.0, splits, HEADS=heads, GROUP=group, ROWS=rows, DIM=dim, PAGE=1, BLOCK=entry["block"],
        SPLIT=splits > 1, WINDOW=-1, CAP=0.0, SINKS=False, num_warps=entry["warps"], num_stages=entry["stages"],
    )  # fmt: skip
    if splits > 1:
        kernels.decode_split_merge_kernel[(heads, batch)](
            part_out, part_lse, q, out, parts, 1.0, splits, HEADS=heads, DIM=dim, CHUNK=_CHUNK, SINKS=False,
            num_warps=4,
        )  # fmt: skip
    if return_lse:
        return out, torch.logsumexp(part_lse / _LOG2E, dim=-1) * _LOG2E
    return out
