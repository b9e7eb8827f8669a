"""Run as a process: FlashInfer's own decode, then with an exported folder applied, eager and captured, on real keys.

Argument: the folder. Prints JSON: relative errors against FlashInfer's own output, what was hit, and times of a
captured step of 32 calls in microseconds a call (events around replays, so for comparison only).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import flashinfer
import torch
from flashinfer.trace_apply import enable_apply, stats

HEADS, KV_HEADS, DIM, CALLS = 32, 8, 128, 32
DEVICE = "cuda"


def lengths_of(batch: int, context: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(context // 2, context + 1, (batch,), generator=generator, dtype=torch.int32)


class Server:
    """A batch size of a server: a wrapper for graphs over pages of one key, and what it reads."""

    def __init__(self, batch: int, context: int, flat: bool) -> None:
        pages = batch * context
        self.batch, self.context = batch, context
        k, v = (torch.randn(pages, 1, KV_HEADS, DIM, dtype=torch.bfloat16, device=DEVICE) for _ in range(2))
        self.cache = (k[:, 0], v[:, 0]) if flat else (k, v)
        self.q = torch.randn(batch, HEADS, DIM, dtype=torch.bfloat16, device=DEVICE)
        self.slots = torch.randperm(pages, device=DEVICE).int().view(batch, context)
        buffers = [torch.zeros(size, dtype=torch.int32, device=DEVICE) for size in (batch + 1, pages, batch)]
        workspace = torch.zeros(256 << 20, dtype=torch.uint8, device=DEVICE)
        self.wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_cuda_graph=True, use_tensor_cores=True, paged_kv_indptr_buffer=buffers[0],
            paged_kv_indices_buffer=buffers[1], paged_kv_last_page_len_buffer=buffers[2],
        )  # fmt: skip

    def plan(self, seed: int) -> None:
        lengths = lengths_of(self.batch, self.context, seed)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0).int()])
        indices = torch.cat([row[:length] for row, length in zip(self.slots, lengths.tolist(), strict=True)])
        last = torch.ones(self.batch, dtype=torch.int32)
        self.wrapper.plan(
            indptr, indices, last, HEADS, KV_HEADS, DIM, 1, q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16
        )

    def run(self, **options: Any) -> Any:
        return self.wrapper.run(self.q, self.cache, **options)

    def captured(self) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                out = self.run()
        return graph, out


def timed(graph: torch.cuda.CUDAGraph) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    graph.replay()
    start.record()
    for _ in range(10):
        graph.replay()
    end.record()
    end.synchronize()
    return float(1e3 * start.elapsed_time(end) / (10 * CALLS))


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def main(folder: str) -> None:
    torch.manual_seed(0)
    rows = []
    servers = [Server(1, 1024, False), Server(1, 8192, True), Server(8, 1024, True), Server(64, 1024, False)]
    wanted = []
    for server in servers:
        outs = []
        for seed in (1, 2):
            server.plan(seed)
            out, lse = server.run(return_lse=True)
            outs.append((out.clone(), lse.clone()))
        graph, _ = server.captured()
        wanted.append((outs, timed(graph)))
        del graph
    os.environ["FLASHINFER_TRACE_APPLY_PATH"] = folder
    wrapped = enable_apply()
    for server, (outs, before) in zip(servers, wanted, strict=True):
        server.plan(1)
        eager = error(server.run(), outs[0][0])
        out, lse = server.run(return_lse=True)
        both = [error(out, outs[0][0]), error(lse, outs[0][1])]
        graph, captured = server.captured()
        graph.replay()
        first = error(captured, outs[0][0])
        # Other lengths, the same graph.
        server.plan(2)
        graph.replay()
        second = error(captured, outs[1][0])
        rows.append({
            "batch": server.batch, "context": server.context, "flat": len(server.cache[0].shape) == 3, "eager": eager,
            "with lse": both, "captured": first, "replayed": second, "own us": before, "applied us": timed(graph),
        })  # fmt: skip
    document = {"version": flashinfer.__version__, "wrapped": wrapped, "stats": stats(), "rows": rows}
    json.dump(document, sys.stdout, indent=1)


main(sys.argv[1])
