"""FlashInfer's paged prefill: one causal call over all pages of each request, new tokens included.

``tree`` True has trees of drafts masked, as SGLang verifies them, chains too. A knob that no list has, ``split``, is
the tokens of a KV part, which SGLang fixes for deterministic inference.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends import _fp8
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``path``: FlashInfer's kernels. ``tree``: under a mask; a chain is tried as a causal call too."""
    if workload.eagle_topk in (None, 1):
        for path, page_size in itertools.product(("fa2", "fa3"), common.PAGE_SIZES):
            yield {"path": path, "page_size": page_size}
    if workload.eagle_topk is not None:
        for page_size in common.PAGE_SIZES:
            yield {"path": "fa2", "page_size": page_size, "tree": True}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    path = str(knobs["path"])
    reason = common.why_not(workload, device, path)
    if reason is None and knobs.get("split") is not None:
        if path != "fa2":
            return "fixed splits act on fa2 only"
        if workload.mode == "graph":
            return common.NO_FIXED_SPLIT
    if reason is None and knobs.get("tree") and path != "fa2":
        return "a tree of drafts needs a custom mask, which only fa2 has"
    return reason


def modules(
    workload: AttentionWorkload, *, path: str, page_size: int, split: int | None = None, tree: bool = False
) -> list[Module]:
    # A mask holds the window already.
    return [common.prefill_module(workload, path, window=False if tree else None)]


def _mask(problem: AttentionProblem, pages: PagedKV) -> torch.Tensor:
    """Which of the keys in the pages each draft sees."""
    from autotune_cli.kernels.attention.masks import flat_mask

    assert problem.trees is not None
    prefix, gone = [], []
    for new, keys, kept in zip(*problem.lengths, pages.lengths, strict=True):
        prefix.append(keys - new)
        gone.append(keys - kept)
    return flat_mask(problem.trees, prefix, problem.geometry.window_left, problem.device, gone)


@register(
    "attention.prefill",
    "attention.extend",
    "attention.verify",
    "attention.cross",
    name="flashinfer.paged",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(
    problem: AttentionProblem, *, path: str, page_size: int, split: int | None = None, tree: bool = False
) -> Prepared:
    import torch
    from flashinfer.prefill import BatchPrefillWithPagedKVCacheWrapper

    pages = common.in_window(problem, problem.paged(page_size))
    made = common.paged_wrapper_arguments(problem, pages, path, split)
    arguments = common.plan_paged(problem, pages, path, causal=problem.workload.causal and not tree, split=split)
    if tree:
        arguments |= {"window_left": -1, "custom_mask": _mask(problem, pages)}
        if problem.graph:
            made |= common.mask_buffers(problem, pages)
    wrapper = BatchPrefillWithPagedKVCacheWrapper(**made)
    wrapper.plan(**arguments)
    cache = (pages.k, pages.v)
    # Without out, run fills one with zeros first: a kernel more.
    out = torch.empty_like(problem.q)
    call = _fp8.call(problem, path)
    return Prepared(
        run=lambda: wrapper.run(call.queries(), cache, *call.scales, out=out, **call.keywords),
        plan=lambda: wrapper.plan(**arguments),
        describe=common.describe(wrapper, path, made),
    )
