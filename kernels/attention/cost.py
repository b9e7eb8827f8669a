"""What a workload of attention costs: the least that a kernel must do, and about the memory that all of them need."""

from __future__ import annotations

from autotune_cli.kernels.attention.trees import Tree, path_to
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.base import BYTES, Cost, mean_cost

# Page sizes that backends try, each with a copy of the cache: 1, 16, 64, 128, 256.
PAGE_LAYOUTS = 5
_LARGEST_PAGE = 256
# Above this many requests, lengths are taken as their bound: drawing them would take seconds.
_MOST_LENGTHS = 100_000


def cost(workload: AttentionWorkload) -> Cost:
    """What no kernel that is right can go without. Each term is argued, as one that counts too much makes a floor
    that can be beaten.

    Queries are read once and outputs written once, as each is a tensor of its own. Of the keys and values
    those are read, once, that any query of the request sees: a window hides the others, and requests share none. A
    kernel could leave out values whose weights vanish, but it has to read the keys to know them, and in our inputs
    none vanish (the logits spread by about 1.5). Page tables, lengths, log-sum-exps and partial results of split keys
    aren't counted. Both products count, queries by keys and weights by values, over the visible pairs only; softmax
    doesn't. Over an FP8 cache both may be done in FP8: XQA's Hopper kernel rounds queries and weights to e4m3.

    Of a workload that is measured at several lengths it is the mean by their weights, as its time is.
    """
    if not workload.points:
        return _cost(workload, workload.lengths)
    return mean_cost(
        workload.points, [_cost(workload, workload.lengths_at(point.context)) for point in workload.points]
    )


def _cost(workload: AttentionWorkload, lengths: Lengths) -> Cost:
    g = workload.geometry
    kv_tokens, pairs = 0, 0
    for qo, kv in zip(lengths.qo, lengths.kv, strict=True):
        kv_tokens += kv if g.window_left is None else min(kv, g.window_left + qo)
        pairs += _visible_pairs(qo, kv, g.window_left) if workload.causal else qo * kv
    if workload.trees is not None:
        pairs = sum(
            _tree_pairs(tree, kv - qo, g.window_left) for tree, qo, kv in zip(workload.trees, *lengths, strict=True)
        )
    one_side = float(sum(lengths.qo) * g.num_qo_heads * g.head_dim * BYTES[g.dtype])
    keys = float(2 * kv_tokens * g.num_kv_heads * g.head_dim * BYTES[g.cache_dtype])
    flops = 4.0 * pairs * g.num_qo_heads * g.head_dim
    return Cost(2 * one_side + keys, flops, one_side, g.cache_dtype == "float8_e4m3fn")


def _visible_pairs(qo: int, kv: int, window_left: int | None) -> int:
    """(query, key) pairs under a causal mask aligned to the end, within the window."""
    first, last = kv - qo + 1, kv
    if window_left is None or last <= window_left + 1:
        return (first + last) * qo // 2
    full = window_left + 1
    if first >= full:
        return full * qo
    growing = full - first
    return (first + full - 1) * growing // 2 + full * (qo - growing)


def _tree_pairs(tree: Tree, prefix: int, window_left: int | None) -> int:
    """(draft, key) pairs: each draft sees its ancestors, itself and the prefix, all within the window."""
    pairs = 0
    for draft in range(len(tree)):
        depth = len(path_to(tree, draft)) - 1
        if window_left is None:
            pairs += prefix + depth + 1
        else:
            pairs += min(depth, window_left) + 1 + max(0, min(prefix, window_left - depth))
    return pairs


def memory_bytes(workload: AttentionWorkload, page_layouts: int | None = None) -> int:
    """Bytes on the device, about: inputs, outputs, reference, and the KV cache once for each page layout.

    Without kernels' workspaces (FlashInfer: 128 to 512 MB, whatever the workload) and the L2 flush buffer. A
    workload over 100,000 requests is bounded from above. ``page_layouts`` None: as many as backends try.
    """
    layouts = PAGE_LAYOUTS if page_layouts is None else page_layouts
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
    # Each of several lengths has a reference.
    total += len(workload.points) * (query * 4 + qo * g.num_qo_heads * 4)
    if g.q_dtype is not None:
        # Rounded queries of a candidate, and of the reference.
        total += 2 * query * BYTES[g.q_dtype]
    total += token * (kv + layouts * paged)
    # torch gathers the cache into a dense, padded batch.
    total += token * workload.batch * longest
    if workload.operation == "attention.verify":
        # A page table with a row for each draft, and the mask, in bytes.
        total += (4 + 1) * qo * longest
    # Page tables: one int32 a token at page size 1.
    return total + 4 * kv
