"""What a workload of latent attention costs: the least that a kernel must do, and about the memory that all need."""

from __future__ import annotations

from autotune_cli.kernels.base import BYTES, Cost, mean_cost
from autotune_cli.kernels.mla.workload import MlaWorkload

# Page sizes that backends try, each with a copy of the cache: 1, 16, 64, 128.
PAGE_LAYOUTS = 4
_LARGEST_PAGE = 128
# Above this many requests, lengths are taken as their bound: drawing them would take seconds.
_MOST_LENGTHS = 100_000


def cost(workload: MlaWorkload) -> Cost:
    """What no kernel that is right can go without.

    Queries (latent and rotated part) are read once, outputs (latent) written once. A cached token is read once: all
    heads share it, and its latent part is key and value in one. Of a sparse decode those that were selected count, of
    an extend all tokens of a request are visible to its last query. Both products count over the visible pairs only:
    the first over the whole width, the second over the latent part. In the plain form each head has keys and values of
    its own, read once. Page tables, lengths and partial results aren't counted, nor are the projections before and
    after, which the kernel doesn't do. No candidate multiplies in FP8, so an FP8 cache makes no product cheaper.

    Of a workload that is measured at several lengths it is the mean by their weights.
    """
    if workload.points:
        at = [workload.model_copy(update={"context": point.context, "points": ()}) for point in workload.points]
        return mean_cost(workload.points, [cost(each) for each in at])
    g, lengths = workload.latent, workload.lengths
    queries = sum(lengths.qo) * g.num_heads
    pairs = sum((2 * kv - qo + 1) * qo // 2 for qo, kv in zip(lengths.qo, workload.read, strict=True))
    if workload.operation == "attention.mla_prefill":
        size, both = BYTES[g.dtype], g.head_dim + g.v_head_dim
        written = float(queries * g.v_head_dim * size)
        read = float(queries * g.head_dim * size + sum(lengths.kv) * g.num_heads * both * size)
        return Cost(read + written, 2.0 * pairs * g.num_heads * both, written)
    read = float(queries * g.width * BYTES[g.dtype] + sum(workload.read) * g.width * BYTES[g.cache_dtype])
    written = float(queries * g.kv_lora_rank * BYTES[g.dtype])
    return Cost(read + written, 2.0 * pairs * g.num_heads * (g.width + g.kv_lora_rank), written)


def memory_bytes(workload: MlaWorkload, page_layouts: int | None = None) -> int:
    """Bytes on the device, about: inputs, outputs, reference, and the cache once for each page layout.

    Without kernels' workspaces and the L2 flush buffer. A workload over 100,000 requests is bounded from above.
    ``page_layouts`` None: as many as backends try.
    """
    layouts = PAGE_LAYOUTS if page_layouts is None else page_layouts
    g = workload.latent
    if workload.batch > _MOST_LENGTHS:
        qo, kv, longest = workload.batch * workload.new, workload.batch * workload.context, workload.context
    else:
        lengths = workload.lengths
        qo, kv, longest = sum(lengths.qo), sum(lengths.kv), max(lengths.kv)
    queries = qo * g.num_heads
    if workload.operation == "attention.mla_prefill":
        size = BYTES[g.dtype]
        # Queries, output and the output kept for comparison; the reference is in float32. No pages.
        total = queries * (g.head_dim * size + g.v_head_dim * (2 * size + 4) + 4)
        # Keys and values, of a prefix once more where it is attended apart; one request's widened for the reference.
        copies = 1 if workload.new == workload.context else 2
        return total + g.num_heads * (g.head_dim + g.v_head_dim) * (copies * kv * size + 4 * longest)
    # Queries in two parts and joined, output and the output kept for comparison; the reference is in float32.
    total = queries * (2 * g.width * BYTES[g.dtype] + g.kv_lora_rank * (2 * BYTES[g.dtype] + 4) + 4)
    # Each of several lengths has a reference.
    total += len(workload.points) * queries * (g.kv_lora_rank * 4 + 4)
    token = g.width * BYTES[g.cache_dtype]
    total += token * (kv + layouts * (kv + workload.batch * (_LARGEST_PAGE - 1)))
    if workload.operation == "attention.mla_sparse_decode" and workload.index_topk is not None:
        # Tables of what is selected; torch gathers the tokens and holds their scores in float32.
        total += qo * workload.index_topk * (16 + 3 * g.width * 4 + 3 * g.num_heads * 4)
    # One request's tokens, widened for the reference; page tables: one int32 a token at page size 1.
    return total + 4 * g.width * longest + 4 * kv
