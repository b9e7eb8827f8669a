"""Trees of draft tokens, as a server verifies them in one step: each draft sees the cached keys and its ancestors.

A tree is plain data: of each draft of a request the number of its parent, -1 for the first, which is the root (the last
token that was accepted). Parents come before their children, level by level, as SGLang's EAGLE orders them. A chain,
each draft the child of the one before, is the causal mask. :mod:`.masks` has the masks of trees; nothing here needs
torch.

Siblings stand at one position, the root's after the cached keys and a level further each generation, whatever slot of
the cache holds their keys: windows count positions.
"""

from __future__ import annotations

import random

Tree = tuple[int, ...]
"""Parent of each draft; -1: none."""


def draw_trees(requests: int, drafts: int, topk: int, seed: int) -> tuple[Tree, ...]:
    """A tree for each request: of its root ``topk`` children, of each further level 1 to ``topk``.

    Args:
        drafts: nodes of a tree, the root included.
        topk: most drafts of a level (SGLang's ``--speculative-eagle-topk``); 1: chains.
    """
    draw = random.Random(seed)
    return tuple(_drawn(drafts, topk, draw) for _ in range(requests))


def _drawn(drafts: int, topk: int, draw: random.Random) -> Tree:
    parents, level = [-1], [0]
    while len(parents) < drafts:
        width = topk if level == [0] else draw.randint(1, topk)
        width = min(width, drafts - len(parents))
        first = len(parents)
        parents += sorted(draw.choice(level) for _ in range(width))
        level = list(range(first, len(parents)))
    return tuple(parents)


def is_chain(tree: Tree) -> bool:
    """Is each draft the child of the one before? Then its mask is the causal one."""
    return all(parent == draft - 1 for draft, parent in enumerate(tree))


def path_to(tree: Tree, draft: int) -> list[int]:
    """The draft and its ancestors, the root first: the drafts that it sees."""
    path = [draft]
    while tree[path[-1]] >= 0:
        path.append(tree[path[-1]])
    return path[::-1]
