"""Run as a process: FlashInfer, told by the environment to apply an exported folder, decodes on the CPU.

Triton's interpreter runs the kernel. FlashInfer's wrapper can't be made without a GPU, so its ``run`` is called with an
object that has what ``plan`` would have left.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import flashinfer
import torch
from flashinfer.decode import BatchDecodeWithPagedKVCacheWrapper
from flashinfer.trace_apply import is_enabled, stats


class Planned:
    """What a planned wrapper has."""

    def __init__(self, indptr: torch.Tensor, indices: torch.Tensor) -> None:
        self._paged_kv_indptr_buf, self._paged_kv_indices_buf = indptr, indices
        self._sm_scale = None


def exact(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tables: list[torch.Tensor]) -> tuple[Any, Any]:
    """Attention in float64, and the log-sum-exp to base 2."""
    outs, lses = [], []
    group = q.shape[1] // k.shape[-2]
    for query, table in zip(q.double(), tables, strict=True):
        keys, values = (each.reshape(len(each), *each.shape[-2:])[table].double() for each in (k, v))
        keys, values = (each.repeat_interleave(group, dim=1) for each in (keys, values))
        logits = torch.einsum("hd,thd->ht", query, keys) / q.shape[2] ** 0.5
        lses.append(torch.logsumexp(logits, 1) / torch.log(torch.tensor(2.0, dtype=torch.float64)))
        outs.append(torch.einsum("ht,thd->hd", logits.softmax(1), values))
    return torch.stack(outs), torch.stack(lses)


def main() -> None:
    # torch's CPU build can't be asked; without a GPU nothing is captured.
    torch.cuda.is_current_stream_capturing = lambda: False
    torch.manual_seed(0)
    heads, kv_heads, dim, pages = 4, 2, 64, 700
    k, v = (torch.randn(pages, 1, kv_heads, dim).half() for _ in range(2))
    # A solution that reads beyond a request's keys meets these.
    k[650:], v[650:] = float("nan"), float("nan")
    errors = []
    for lengths, flat, lse in (([1, 64, 200], False, False), ([333], True, False), ([130, 7], True, True)):
        tables = [torch.randperm(650)[:length].int() for length in lengths]
        indices = torch.cat([*tables, torch.full((50,), 650, dtype=torch.int32)])
        indptr = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
        q = torch.randn(len(lengths), heads, dim).half()
        cache = (k[:, 0], v[:, 0]) if flat else (k, v)
        found = BatchDecodeWithPagedKVCacheWrapper.run(Planned(indptr, indices), q, cache, return_lse=lse)
        wanted, wanted_lse = exact(q, k, v, [table.long() for table in tables])
        out = found[0] if lse else found
        errors.append(float((out.double() - wanted).norm() / wanted.norm()))
        if lse:
            errors.append(float((found[1].double() - wanted_lse).abs().max()))
    refused = ""
    try:
        BatchDecodeWithPagedKVCacheWrapper.run(Planned(indptr, indices), q, (k.float(), v.float()))
    except ValueError as error:
        refused = str(error)
    counts = stats()
    document = {"enabled": is_enabled(), "errors": errors, "stats": counts, "refused": refused}
    json.dump(document | {"version": flashinfer.__version__}, sys.stdout)


main()
