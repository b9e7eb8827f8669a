"""Runs our Triton kernels in Triton's interpreter on small batches; prints what came out, a JSON list.

Run apart, with TRITON_INTERPRET=1, which is read when Triton is imported. float16, because the interpreter of Triton
3.7 keeps bfloat16 as integers and multiplies those in tl.dot.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from autotune_cli.kernels.attention.problem import AttentionProblem
from autotune_cli.kernels.attention.trees import Tree, draw_trees
from autotune_cli.kernels.attention.workload import AttentionOperation, AttentionWorkload, Lengths
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import REGISTRY, Prepared

FP8 = {"kv_dtype": "float8_e4m3fn"}
# Below a block, around pages and blocks, one key, more parts than keys.
DECODE = (1, 3, 16, 31, 65)
# New tokens and keys of each request: with and without a prefix, one token, tiles that are partly filled.
# One node, a chain, siblings, branches of branches; with and without cached keys; more drafts than a tile has rows.
TREES: tuple[tuple[Tree, int], ...] = (
    ((-1,), 0),
    ((-1, 0, 1, 2, 3), 16),
    ((-1, *(0,) * 12), 31),
    ((-1, 0, 0, 2, 1, 3), 40),
    (draw_trees(1, 40, 4, 1)[0], 9),
)
EXTEND = ((1, 1), (1, 40), (17, 17), (9, 33), (34, 70))


def decode(page_size: int = 16, block: int = 16, splits: int | str = 2, **geometry: Any) -> list[Any]:
    knobs = {"page_size": page_size, "block": block, "warps": 4, "stages": 2, "splits": splits}
    return judged("attention.decode", "triton.decode", tuple((1, length) for length in DECODE), knobs, geometry)


def extend(page_size: int = 16, rows: int = 32, block: int = 16, **geometry: Any) -> list[Any]:
    knobs = {"page_size": page_size, "rows": rows, "block": block, "warps": 4, "stages": 2}
    return judged("attention.extend", "triton.extend", EXTEND, knobs, geometry)


def verify(page_size: int = 16, rows: int = 32, block: int = 16, **geometry: Any) -> list[Any]:
    knobs = {"page_size": page_size, "rows": rows, "block": block, "warps": 4, "stages": 2, "tree": True}
    requests = tuple((len(tree), len(tree) + cached) for tree, cached in TREES)
    trees = tuple(tree for tree, _ in TREES)
    return judged("attention.verify", "triton.extend", requests, knobs, geometry, trees)


def metadata(lengths: tuple[int, ...], page_size: int, window_left: int | None, seed: int) -> list[list[Any]]:
    """What Triton's kernels fill against what torch's functions do; of buffers that are longer than the batch."""
    import torch

    from autotune_cli.kernels.attention.backends import _metadata, _triton_metadata

    draw, batch = torch.Generator().manual_seed(seed), len(lengths)
    kept = torch.tensor((*lengths, 77, 99), dtype=torch.int32)
    new = torch.tensor([min(length, 1 + number % 5) for number, length in enumerate((*lengths, 77, 99))]).int()
    # More than a program's share of a row.
    wide = max(-(-max(lengths) // page_size), 1) + 1100
    table = torch.randint(1, 9999, (batch + 2, wide), generator=draw, dtype=torch.int32)
    names = {"window_left": window_left, "page_size": page_size}
    heads = {"num_qo_heads": 32, "num_kv_heads": 8, "most": 8, "multiprocessors": 132}
    found = []
    for module in (_metadata, _triton_metadata):
        buffers = _metadata.KVBuffers.allocate(batch + 2, 40 + sum(-(-n // page_size) for n in lengths), "cpu")
        parts = [torch.full((batch + 2,), -7, dtype=torch.int32) for _ in range(2)]
        for buffer in (buffers.kv_indptr, buffers.kv_indices, buffers.kv_lens):
            buffer.fill_(-7)
        module.fill_kv(buffers, table, kept, batch, new=new, **names)
        module.fill_equal_parts(parts[0], kept, batch, splits=5, block=16)
        module.fill_sglang_splits(parts[1], kept, batch, **heads)
        found.append((buffers.kv_indptr, buffers.kv_indices, buffers.kv_lens, *parts))
    same = [bool(torch.equal(a, b)) for a, b in zip(*found, strict=True)]
    return [["metadata", str(names), str(lengths)[:60], all(same), str(same)]]


def judged(
    operation: AttentionOperation,
    name: str,
    requests: tuple[tuple[int, int], ...],
    knobs: dict[str, Any],
    geometry: dict[str, Any],
    trees: tuple[Tree, ...] | None = None,
) -> list[Any]:
    layer = Geometry(**({"num_qo_heads": 4, "num_kv_heads": 2, "head_dim": 64, "dtype": "float16"} | geometry))
    qo, kv = (tuple(column) for column in zip(*requests, strict=True))
    workload = AttentionWorkload(
        operation=operation, geometry=layer, batch=len(kv), new=max(qo), context=max(kv), mode="eager",
        eagle_topk=None if trees is None else 12,
    )  # fmt: skip
    problem = AttentionProblem(workload, Lengths(qo, kv), "cpu", 3, edges=True, trees=trees)
    problem.paged(knobs["page_size"])
    before = {held: tensor.float().sum() for held, tensor in problem.inputs().items()}
    prepared = REGISTRY.get(name).prepare(problem, **knobs)
    assert isinstance(prepared, Prepared)
    verdict = problem.check(prepared.run())
    after = {held: problem.inputs()[held].float().sum() for held in before}
    return [name, layer.key, str(knobs), verdict.ok and before == after, verdict.message]


def main() -> None:
    warnings.filterwarnings("ignore", "divide by zero", RuntimeWarning)  # the log-sum-exp of an empty part is -inf
    one = {"num_qo_heads": 2, "num_kv_heads": 2}
    found = [
        *(decode(page_size, splits=splits) for page_size, splits in ((1, 1), (16, 3), (64, 80), (1, "sglang"))),
        decode(64, block=32, **one, head_dim=128),
        decode(1, num_qo_heads=8, num_kv_heads=1, head_dim=128, splits=3),
        decode(num_qo_heads=7, num_kv_heads=1, head_dim=256, splits=1),
        decode(num_qo_heads=80, num_kv_heads=1, head_dim=16),
        decode(splits=1, window_left=0),
        decode(1, splits=5, window_left=20),
        decode(64, splits=3, window_left=40),
        *(decode(splits=splits, sinks=True) for splits in (1, 5)),
        decode(splits=4, sinks=True, window_left=17, softcap=20.0),
        decode(splits=4, **FP8),
        decode(1, splits=1, softcap=20.0, q_dtype="float8_e4m3fn", **FP8),
        *metadata((1, 3, 16, 31, 65), 16, None, 1),
        *metadata((5, 2000, 40), 1, 20, 2),
        *metadata(tuple(1 + 37 * number % 300 for number in range(300)), 16, 0, 3),
        # Programs without splits decide: 8 parts for a batch of 13, 7 for buffers of 15.
        *metadata((4096,) * 13, 64, None, 4),
        *metadata((1,), 64, 5, 5),
        *(extend(page_size) for page_size in (1, 16, 64)),
        extend(rows=64, block=32, num_qo_heads=8, num_kv_heads=1, head_dim=128),
        extend(num_qo_heads=7, num_kv_heads=1),
        extend(**one, head_dim=256),
        *(extend(page_size, window_left=window, num_kv_heads=1) for page_size, window in ((16, 0), (1, 11), (64, 45))),
        extend(sinks=True, window_left=20, num_kv_heads=1),
        *(verify(page_size) for page_size in (1, 64)),
        verify(rows=16, num_kv_heads=1),
        *(verify(page_size, window_left=window, num_kv_heads=1) for page_size, window in ((16, 0), (1, 3), (64, 20))),
        extend(sinks=True, softcap=20.0, num_kv_heads=1),
        extend(num_kv_heads=1, q_dtype="float8_e4m3fn", **FP8),
    ]  # fmt: skip
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
