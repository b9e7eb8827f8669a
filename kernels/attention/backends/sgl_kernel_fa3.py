"""FlashAttention-3 as sgl_kernel ships it: one paged causal call for decode, prefill, extend and chains of drafts.
SGLang's on Hopper. ``tree`` says how trees of drafts are computed: see :mod:`._fa3_trees`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _fa3 as common
from autotune_cli.kernels.attention.backends import _fa3_trees as trees
from autotune_cli.kernels.attention.backends import _refill
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

# From 128 on, long batches of queries load whole pages by TMA; FlashAttention-3 takes any page size on Hopper.
PAGE_SIZES = (1, 16, 64, 128, 256)
# Where a number of splits is fixed: with each page size they would be a hundred candidates that hardly differ.
_SPLIT_PAGES = (1, 64)
# Where a call without splits is tried besides.
_WHOLE_PAGES = (1, 64, 128)


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``num_splits``: parts of the keys, 0 = the library's choice. ``scheduler_metadata``: made once a step, outside
    the call (decode). ``pack_gqa``: query heads of a KV head share a tile, None = the library's choice (prefill and
    extend; it chooses True for gathered pages and for splits). It is a template argument, and changes nothing else.
    """
    fixed = common.splits(workload, device) if workload.geometry.head_dim in common.TILE_N else []
    if workload.eagle_topk is not None and workload.eagle_topk > 1:
        for tree, page_size in ((trees.CASCADE, 1), (trees.CASCADE, 64), (trees.EXPANDED, 1)):
            for num_splits in (0, 1, *(fixed if page_size == 1 else ())):
                yield {"page_size": page_size, "num_splits": num_splits, "pack_gqa": None, "tree": tree}
        return
    decode = workload.operation == "attention.decode"
    is_whole = not decode and common.is_whole(workload, device)
    for page_size in PAGE_SIZES:
        whole = (1,) if page_size in _WHOLE_PAGES and not is_whole else ()
        for num_splits in (0, *whole, *(fixed if page_size in _SPLIT_PAGES else ())):
            if decode:
                yield {"page_size": page_size, "num_splits": num_splits, "scheduler_metadata": True}
            else:
                yield {"page_size": page_size, "num_splits": num_splits, "pack_gqa": None}
        if decode and page_size == 1:
            yield {"page_size": page_size, "num_splits": 0, "scheduler_metadata": False}
        elif not decode and common.is_tma(workload, page_size):
            for pack_gqa in (True, False):
                yield {"page_size": page_size, "num_splits": 0 if is_whole else 1, "pack_gqa": pack_gqa}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    reason = common.why_not(workload, device)
    tree = knobs.get("tree")
    return trees.why_not(workload, str(tree)) if reason is None and tree is not None else reason


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    "attention.verify",
    "attention.cross",
    name="sgl_kernel.fa3",
    knobs=knobs,
    launch_knobs=("pack_gqa",),
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
)
def prepare(
    problem: AttentionProblem,
    *,
    page_size: int,
    num_splits: int,
    scheduler_metadata: bool = False,
    pack_gqa: bool | None = None,
    tree: str | None = None,
) -> Prepared:
    """The new tokens' keys lie in the pages before the call. A call casts FP8 queries, as a server does."""
    import torch
    from sgl_kernel.flash_attn import flash_attn_with_kvcache, get_scheduler_metadata

    if tree is not None:
        made = trees.cascade if tree == trees.CASCADE else trees.expanded
        return Prepared(
            run=with_queries(problem, made(problem, page_size, {"num_splits": num_splits, "pack_gqa": pack_gqa}))
        )
    out = torch.empty_like(problem.q)
    arguments = common.paged_arguments(problem, problem.paged(page_size), out)
    arguments |= {"num_splits": num_splits, "pack_gqa": pack_gqa}
    plan = None
    if scheduler_metadata:
        wanted = common.metadata_arguments(problem, arguments, num_splits)
        kept = arguments["scheduler_metadata"] = get_scheduler_metadata(**wanted)

        def plan() -> None:
            kept.copy_(get_scheduler_metadata(**wanted))

    def refill(other: AttentionProblem) -> None:
        _refill.fill_tables(arguments["page_table"], arguments["cache_seqlens"], other.paged(page_size))
        if scheduler_metadata:
            made = get_scheduler_metadata(**common.metadata_arguments(other, arguments, num_splits))
            arguments["scheduler_metadata"].copy_(made)

    run = with_queries(problem, lambda q: flash_attn_with_kvcache(q=q, **arguments))
    return Prepared(run=run, plan=plan, refill=refill, frozen=common.frozen(arguments))


def with_queries(problem: AttentionProblem, call: Any) -> Any:
    """``call`` on the queries, cast to the dtype that the workload computes in where that is another one."""
    import torch

    q = problem.q
    if problem.geometry.q_dtype is None:
        return lambda: call(q)
    cast = torch.empty_like(q, dtype=getattr(torch, problem.geometry.q_dtype))

    def run() -> torch.Tensor:
        result: torch.Tensor = call(cast.copy_(q))
        return result

    return run
