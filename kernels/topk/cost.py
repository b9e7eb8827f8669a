"""What a top-k costs: the least that a kernel must do, and about the memory that all of them need."""

from __future__ import annotations

from autotune_cli.kernels.base import BYTES, Cost
from autotune_cli.kernels.topk.workload import PAGED, TopkWorkload


def cost(workload: TopkWorkload) -> Cost:
    """What no kernel that is right can go without.

    Every valid score of a row with more than k of them is read, as any unread one might be the largest. A row
    with at most k has only one answer, whatever its scores. All k indices (int32) of a row are written, -1 too. Of
    page tables one entry (int32) is read for each page that must hold a selected key: the fewest are full.
    """
    if workload.index_heads is not None and workload.index_dim is not None:
        return _of_indexer(workload, workload.index_heads, workload.index_dim)
    read = sum(length for length in workload.lengths if length > workload.k) * BYTES[workload.dtype]
    written = float(workload.rows * workload.k * 4)
    if workload.operation == "topk.paged":
        read += sum(-(-min(length, workload.k) // workload.page_size) for length in workload.lengths) * 4
    return Cost(read + written, 0.0, written)


def _of_indexer(workload: TopkWorkload, heads: int, dim: int) -> Cost:
    """Keys with a float32 scale each, as their scores decide; of a row with at most k of them none: all are selected.
    Queries and weights of the other rows, a page table's entry for each page. Scores need be written nowhere.
    """
    scored = [length for length in workload.lengths if length > workload.k]
    pages = sum(-(-length // workload.page_size) for length in workload.lengths)
    read = sum(scored) * (dim + 4) + len(scored) * heads * (dim + 4) + pages * 4
    written = float(workload.rows * workload.k * 4)
    return Cost(read + written, 2.0 * heads * dim * sum(scored), written, fp8=True)


def memory_bytes(workload: TopkWorkload) -> int:
    """Bytes on the device, about: one distribution of scores at a time, with a copy for kernels that need one, and the
    mask; beside them those of another batch to run on, and a copy while that is done.
    """
    scores = workload.rows * workload.width * (4 * BYTES[workload.dtype] + 1)
    # int32 indices of the candidate; int64 indices and values of torch.topk, also as the reference.
    chosen = workload.rows * workload.k * (4 + 2 * (8 + BYTES[workload.dtype]))
    if workload.operation not in PAGED:
        return scores + chosen
    if workload.index_dim is not None:
        # As drawn in float32, a request at a time, and as cached, with another batch.
        scores += 2 * (workload.rows + 1) * workload.keys * (workload.index_dim + 4)
        scores += 3 * workload.keys * workload.index_dim * 4
    # The page table and, of each slot, its position and its owner, with their indices while they are made.
    slots = (1 + workload.batch_idx_list) * workload.request_count * workload.keys
    return scores + chosen + slots * (4 + 4 + 4 + 16)
