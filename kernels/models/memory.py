"""About how much device memory a workload needs, so that a suite that fits none is refused before it starts."""

from __future__ import annotations

from autotune_cli.kernels.workload import BYTES, AttentionWorkload, TopkWorkload

# Page sizes that backends try, each with a copy of the cache: 1, 16, 64, 128, 256.
PAGE_LAYOUTS = 5
_LARGEST_PAGE = 256
# Above this many requests, lengths are taken as their bound: drawing them would take seconds.
_MOST_LENGTHS = 100_000


def memory_bytes(workload: AttentionWorkload | TopkWorkload, page_layouts: int = PAGE_LAYOUTS) -> int:
    """Bytes on the device, about: inputs, outputs, reference, and the KV cache once for each page layout.

    Without kernels' workspaces (FlashInfer: 128 to 512 MB, whatever the workload) and the L2 flush buffer. A
    workload over 100,000 requests is bounded from above.
    """
    if isinstance(workload, TopkWorkload):
        return _topk(workload)
    g = workload.geometry
    if workload.batch > _MOST_LENGTHS:
        qo, kv, longest = workload.batch * workload.new, workload.batch * workload.context, workload.context
    else:
        lengths = workload.lengths
        qo, kv, longest = sum(lengths.qo), sum(lengths.kv), max(lengths.kv)
    query = qo * g.num_qo_heads * g.head_dim
    token = 2 * g.num_kv_heads * g.head_dim * BYTES[g.cache_dtype]
    paged = kv + workload.batch * (_LARGEST_PAGE - 1)
    # Query, output and the output kept for comparison; the reference is in float32.
    total = query * (3 * BYTES[g.dtype] + 4) + qo * g.num_qo_heads * 4
    if g.q_dtype is not None:
        # Rounded queries of a candidate, and of the reference.
        total += 2 * query * BYTES[g.q_dtype]
    total += token * (kv + page_layouts * paged)
    # torch gathers the cache into a dense, padded batch.
    total += token * workload.batch * longest
    # Page tables: one int32 a token at page size 1.
    return total + 4 * kv


def _topk(workload: TopkWorkload) -> int:
    """One distribution of scores is on the device at a time, with a copy for kernels that need one, and the mask."""
    scores = workload.rows * workload.width * (2 * BYTES[workload.dtype] + 1)
    # int32 indices of the candidate; int64 indices and values of torch.topk, also as the reference.
    chosen = workload.rows * workload.k * (4 + 2 * (8 + BYTES[workload.dtype]))
    return scores + chosen
