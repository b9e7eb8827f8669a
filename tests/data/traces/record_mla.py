"""Records FlashInfer's MLA over pages: eager, captured and replayed.

    python tests/data/traces/record_mla.py fa2|fa3 TRACE

``BatchMLAPagedAttentionWrapper`` of FlashInfer 0.6.18, DeepSeek's shape on one of 8 GPUs: 16 heads, 512 + 64. Its
module is compiled first, which takes about 20 s.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

HEADS, CKV, KPE = 16, 512, 64
# Keys of each request. One long one among short ones: its keys are split.
LENGTHS = (2000, 77, 300, 1)
CALLS = 2
DTYPE = torch.bfloat16


def build(backend: str) -> None:
    """Compile the module, or find it."""
    from flashinfer.jit.attention import gen_batch_mla_module

    gen_batch_mla_module(backend, DTYPE, DTYPE, DTYPE, torch.int32, CKV, KPE, False).build_and_load()


def prepare(backend: str, graph: bool) -> tuple[Callable[[], None], Callable[[], torch.Tensor]]:
    """``plan`` and ``run`` of a decode step over a cache with page size 1."""
    from flashinfer.mla import BatchMLAPagedAttentionWrapper

    batch, pages = len(LENGTHS), sum(LENGTHS)
    starts = torch.arange(batch + 1, dtype=torch.int32)
    ends = torch.tensor(list(itertools.accumulate(LENGTHS, initial=0)), dtype=torch.int32)
    lengths = torch.tensor(LENGTHS, dtype=torch.int32)
    # Page 0 is no request's.
    indices = (1 + torch.randperm(pages, dtype=torch.int32)).cuda()
    kept: dict[str, Any] = {}
    if graph:
        kept = {
            "qo_indptr": starts.cuda(),
            "kv_indptr": ends.cuda(),
            "kv_indices": indices.clone(),
            "kv_len_arr": lengths.cuda(),
        }
    workspace = torch.zeros(128 << 20, dtype=torch.uint8, device="cuda")
    wrapper = BatchMLAPagedAttentionWrapper(workspace, use_cuda_graph=graph, backend=backend, **kept)
    q_nope, q_pe = (torch.randn(batch, HEADS, dim, dtype=DTYPE, device="cuda") for dim in (CKV, KPE))
    ckv, kpe = (torch.randn(1 + pages, 1, dim, dtype=DTYPE, device="cuda") for dim in (CKV, KPE))
    out = torch.empty_like(q_nope)

    def plan() -> None:
        # By DeepSeek's head dim before absorption: 128 + 64.
        wrapper.plan(starts, ends, indices, lengths, HEADS, CKV, KPE, 1, False, 192**-0.5, DTYPE, DTYPE)

    def run() -> torch.Tensor:
        for _ in range(CALLS):
            wrapper.run(q_nope, q_pe, ckv, kpe, out=out)
        return out

    return plan, run


def main() -> None:
    """Record, and check that the replay gives what the eager calls gave."""
    backend, trace = sys.argv[1:]
    build(backend)
    torch.manual_seed(0)
    eager_plan, eager_run = prepare(backend, False)
    torch.manual_seed(0)
    plan, run = prepare(backend, True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            eager_plan(), eager_run(), plan(), run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=False) as session:
        with record_function("phase.eager"):
            with record_function("plan"):
                eager_plan()
            first = eager_run()
        torch.cuda.synchronize()
        with record_function("phase.capture"):
            with record_function("plan"):
                plan()
            with torch.cuda.graph(graph):
                second = run()
        second.fill_(float("nan"))
        with record_function("phase.replay"):
            graph.replay()
        torch.cuda.synchronize()
    session.export_chrome_trace(trace)
    off = float((first.float() - second.float()).norm() / first.float().norm())
    print(f"MLA {backend}: eager and replay differ by {off:.1e} of their norm")
    sys.exit(0 if off < 1e-2 else 1)


if __name__ == "__main__":
    main()
