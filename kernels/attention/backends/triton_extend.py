"""Our own paged prefill and extend in Triton: one causal call over all keys in pages, the new tokens' included, or one
in which drafts see their ancestors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.backends import _metadata as metadata
from autotune_cli.kernels.attention.backends import _triton as common
from autotune_cli.kernels.attention.backends import _triton_build
from autotune_cli.kernels.attention.trees import path_to
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

# SGLang's on compute capability 9.0 for head dims of up to 256; up to 64 it has 4 warps (extend_attention.py:
# _get_block_sizes_for_extend_attention).
_SGLANG: dict[str, Knob] = {"rows": 128, "block": 64, "warps": 8, "stages": 1}
# Rows, block, warps, stages: 4 warps for 64 rows, as wgmma has it on compute capability 9.0 (with 4 for 128, registers
# spill), and an odd number of stages, as a block takes two of them (see common.fits).
_SETTINGS = ((128, 128, 8, 3), (128, 64, 8, 3), (128, 64, 8, 5), (64, 64, 4, 3), (128, 32, 8, 3), (64, 32, 4, 3))
_MOST_SETTINGS = 4


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``rows``: pairs of a new token and a query head of the KV head, computed at once. ``block``: keys loaded at once.

    ``tree``: under the mask of trees of drafts; a chain needs none.

    SGLang's own setting comes first, once for each page size.
    """
    tree: dict[str, Knob] = {"tree": True} if (workload.eagle_topk or 1) > 1 else {}
    for page_size in common.PAGE_SIZES:
        yield {"page_size": page_size, **_SGLANG, **tree}
    # Large head dims have room for small blocks only.
    fitting = [each for each in _SETTINGS if common.fits(workload, *each[:2], each[3])][:_MOST_SETTINGS]
    for page_size, (rows, block, warps, stages) in itertools.product((1, 64), fitting):
        yield {"page_size": page_size, "rows": rows, "block": block, "warps": warps, "stages": stages, **tree}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not(workload, device)


def modules(workload: AttentionWorkload, **own: Knob) -> tuple[Module, ...]:
    """What all settings are compiled to."""
    small = _triton_build.small(workload)
    settings = list(knobs(small, Device("cuda", "")))
    what = "tree extend" if any(each.get("tree") for each in settings) else "extend"
    return _triton_build.modules(prepare, small, settings, title=_triton_build.title(what, small))


@register(
    "attention.prefill",
    "attention.extend",
    "attention.verify",
    name="triton.extend",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(
    problem: AttentionProblem, *, page_size: int, rows: int, block: int, warps: int, stages: int, tree: bool = False
) -> Prepared:
    """The new tokens' keys lie in the pages before the call."""
    import torch

    from autotune_cli.kernels.attention.backends import _triton_kernels as kernels

    g, batch = problem.geometry, common.ServedBatch.of(problem, page_size)
    qo_indptr = torch.zeros(batch.size + 1, dtype=torch.int32, device=problem.device)

    def plan() -> None:
        batch.fill()
        metadata.fill_indptr(qo_indptr, batch.new, batch.size)

    plan()
    out, layer = torch.empty_like(problem.q), common.tensors(problem, batch) | _trees(problem, tree)
    grid = (g.num_kv_heads, batch.size, -(-max(problem.lengths.qo) * g.group // rows))
    compiled = {**common.constants(problem, page_size), "ROWS": rows, "BLOCK": block, "TREE": tree}

    def run() -> torch.Tensor:
        kernels.paged_attention_extend_kernel[grid](
            **layer, out=out, qo_indptr=qo_indptr, **compiled, num_warps=warps, num_stages=stages
        )
        return out

    return Prepared(run=run, plan=plan)


def _trees(problem: AttentionProblem, masked: bool) -> dict[str, torch.Tensor]:
    """What the kernel is told of trees; of none, tensors that it doesn't read."""
    import torch

    if not masked:
        return dict.fromkeys(("tree", "tree_indptr", "depths"), problem.q)
    from autotune_cli.kernels.attention.masks import flat_mask
    from autotune_cli.kernels.attention.paging import indptr

    assert problem.trees is not None
    none = (0,) * len(problem.trees)
    depths = [len(path_to(tree, draft)) - 1 for tree in problem.trees for draft in range(len(tree))]
    return {
        "tree": flat_mask(problem.trees, none, problem.geometry.window_left, problem.device),
        "tree_indptr": indptr([len(tree) ** 2 for tree in problem.trees]).to(problem.device),
        "depths": torch.tensor(depths, dtype=torch.int32, device=problem.device),
    }
