"""The edge case of a workload: a small batch of awkward lengths, or of awkward trees of drafts."""

from __future__ import annotations

from autotune_cli.kernels.attention.trees import Tree, draw_trees
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths

# The longest request of an edge case, whatever the workload: windows of up to 8192 keep all of theirs.
EDGE_LONGEST = 8192 + 75
# No edge case has more requests.
EDGE_REQUESTS = 13


def edge_lengths(workload: AttentionWorkload) -> Lengths:
    """Lengths around the page sizes 16 and 64, beyond the window, and (extend) with and without a prefix.

    Those beyond a long window are left out where they need more memory than the workload: a batch that the device has
    room for must not have an edge case that it hasn't. The workload itself goes beyond such a window, or nothing does.
    """
    window, longest = workload.geometry.window_left, _longest_edge(workload)
    around = [1, 15, 16, 17, 63, 64, 65]
    if workload.operation == "attention.extend":
        pairs = [(1, 0), (5, 15), (16, 16), (17, 0), (1, 63), (33, 65), (65, 64), (130, 200), (1, 1000)]
        if window is not None:
            beyond = [(3, window + 70), (window + 5, 0), (window + 5, 20), (2, max(0, window - 1))]
            pairs += [(new, prefix) for new, prefix in beyond if new + prefix <= longest]
        return Lengths(tuple(new for new, _ in pairs), tuple(new + prefix for new, prefix in pairs))
    if workload.operation == "attention.cross":
        # Fewer keys than queries, too: nothing ties the encoder's length to the decoder's.
        mixed = [(1, 1), (5, 15), (16, 16), (17, 64), (33, 1), (64, 65), (130, 200), (3, 127), (2, 1000), (40, 3)]
        return Lengths(tuple(new for new, _ in mixed), tuple(keys for _, keys in mixed))
    # 2085 keys in a decode step: more than one part under every fixed KV split that is tried.
    around += [200, 2085] if workload.operation == "attention.decode" else [130, 257]
    if window is not None:
        beyond_window = [max(1, window), window + 1, window + 2, window + 70]
        around += [length for length in beyond_window if length <= longest]
    if workload.operation == "attention.decode":
        return Lengths((1,) * len(around), tuple(around))
    return Lengths(tuple(around), tuple(around))


def edge_trees(workload: AttentionWorkload) -> list[tuple[Tree, int]]:
    """Trees and the cached keys before them: one node, chains, all children of the root, wide and deep ones; around
    page sizes, without cached keys, beyond the window. Of a workload with chains, chains.
    """
    topk, window, longest = workload.eagle_topk or 1, workload.geometry.window_left, _longest_edge(workload)
    # Masks of 5, 13 and 65 drafts don't fill whole bytes; 65 drafts are more than a tile of 64 rows.
    sizes = [(1, 0), (1, 64), (5, 16), (13, 63), (2, 1), (8, 0), (65, 65), (7, 1000)]
    if window is not None:
        beyond = [(5, window + 70), (9, max(0, window - 1)), (min(window + 5, 65), 20)]
        sizes += [(drafts, cached) for drafts, cached in beyond if drafts + cached <= longest]
    trees = [draw_trees(1, drafts, topk, number)[0] for number, (drafts, _) in enumerate(sizes)]
    if topk > 1:
        # A chain of 5, and 12 siblings, whatever the workload's trees are.
        trees[2], trees[3] = tuple(range(-1, 4)), (-1, *(0,) * 12)
    return [(tree, cached) for tree, (_, cached) in zip(trees, sizes, strict=True)]


def _longest_edge(workload: AttentionWorkload) -> int:
    """Keys that a request of the edge case may have: padded to it, the case is no larger than the padded workload."""
    return max(EDGE_LONGEST, workload.batch * workload.context // EDGE_REQUESTS)
