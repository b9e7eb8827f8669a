"""SGLang's extend: ragged over the new tokens, paged over the prefix, and a merge of the two states.

Of a windowed layer the prefix is cut to its last ``window`` tokens, and a custom mask hides those that a query no
longer sees (SGLang from 0.5.13 on). FlashInfer's own window can't: it is counted from the end of the keys of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends import _fp8
from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.geometry.window_left is not None:
        if knobs["page_size"] != common.SGLANG_PAGE_SIZE:
            return "a window cuts the prefix at any token, which takes pages of one key"
        if knobs["paged"] != "fa2":
            return "a window over the prefix needs a custom mask, which only fa2 has"
    for name, dtype in (("ragged", workload.geometry.dtype), ("paged", workload.geometry.cache_dtype)):
        reason = common.why_not(workload, device, str(knobs[name]), dtype)
        if reason:
            return f"{name}: {reason}"
    return None


def modules(workload: AttentionWorkload, *, ragged: str, paged: str, page_size: int) -> list[Module]:
    """Ragged and paged kernels of one path and dtype lie in one module."""
    from flashinfer.cascade import get_cascade_module
    from flashinfer.jit.cascade import gen_cascade_module

    merging = jit_module(
        gen_cascade_module, {}, common.architectures(), label="cascade", seconds=10.0, jobs=2, build=get_cascade_module
    )
    found = [
        common.prefill_module(workload, ragged, kv_dtype=workload.geometry.dtype),
        common.prefill_module(workload, paged, window=False),
        merging,
    ]
    return list({module.name: module for module in found}.values())


def merge_heads(heads: int, head_dim: int, element_size: int) -> int:
    """Heads to merge in one row of FlashInfer's MergeState, which launches (head_dim / vector, heads) threads.

    That is more than the 1024 of a block for, say, 96 heads of 128. A merge is a matter of each (token, head) alone, so
    the largest divisor that fits does, with the other heads as more tokens. Limit: SGLang's ``_safe_merge_state``.
    """
    most = 1024 // (head_dim // max(16 // element_size, head_dim // 32))
    return max(count for count in range(1, heads + 1) if heads % count == 0 and count <= most)


def merge(
    heads: int, first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge two states ``(out [tokens, heads, dim], lse [tokens, heads])``; ``heads``: see :func:`merge_heads`."""
    from flashinfer.cascade import merge_state

    shape, dim = first[1].shape, first[0].shape[-1]
    flat = [part for out, lse in (first, second) for part in (out.view(-1, heads, dim), lse.view(-1, heads))]
    out, lse = merge_state(*flat)
    return out.view(*shape, dim), lse.view(shape)


def states(problem: AttentionProblem) -> list[dict[str, Any]]:
    """``out`` and ``lse`` for ``run`` of both wrappers."""
    import torch

    q = problem.q
    return [
        {
            "out": torch.empty_like(q),
            "lse": torch.empty(q.shape[:2], dtype=torch.float32, device=q.device),
            "return_lse": True,
        }
        for _ in range(2)
    ]


def prefix_mask(lengths: Lengths, window: int, device: str) -> torch.Tensor | None:
    """Which of the last ``window`` prefix tokens a query sees, request after request; None: every query sees all.

    Returns:
        [sum of queries * prefix tokens kept] uint8 on the device, the keys of a query side by side.
    """
    import torch

    parts, hides = [], False
    for qo, kv in zip(*lengths, strict=True):
        prefix = kv - qo
        query = torch.arange(prefix, kv, device=device)[:, None]
        key = torch.arange(max(0, prefix - window), prefix, device=device)[None]
        seen = key >= query - window
        hides = hides or max(0, prefix - window) < min(prefix, kv - 1 - window)
        parts.append(seen.to(torch.uint8).flatten())
    return torch.cat(parts) if hides else None


@register(
    "attention.extend",
    name="flashinfer.ragged_paged_merge",
    knobs={"ragged": ("fa2", "fa3"), "paged": ("fa2", "fa3"), "page_size": common.PAGE_SIZES},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, ragged: str, paged: str, page_size: int) -> Prepared:
    from flashinfer.prefill import BatchPrefillWithPagedKVCacheWrapper, BatchPrefillWithRaggedKVCacheWrapper

    g = problem.geometry
    # Of the prefix all keys are before all queries: no causal mask there.
    pages, mask = problem.paged(page_size, "prefix"), None
    if g.window_left is not None:
        pages = pages.seen_from([max(0, prefix - g.window_left) for prefix in problem.prefix])
        mask = prefix_mask(problem.lengths, g.window_left, problem.device)
    for_new = common.ragged_wrapper_arguments(problem, ragged)
    for_prefix = common.paged_wrapper_arguments(problem, pages, paged)
    if mask is not None and problem.graph:
        for_prefix |= common.mask_buffers(problem, pages)
    over_new = BatchPrefillWithRaggedKVCacheWrapper(**for_new)
    over_prefix = BatchPrefillWithPagedKVCacheWrapper(**for_prefix)
    ragged_plan = common.plan_ragged(problem)
    paged_plan = common.plan_paged(problem, pages, paged, causal=False) | {"window_left": -1}
    if mask is not None:
        # FlashInfer counts a request's bits by its last page, though it have none [S]: full, it counts 0.
        last = pages.last_page_len.clamp(min=page_size)
        paged_plan |= {"custom_mask": mask, "paged_kv_last_page_len": last}

    def plan() -> None:
        over_new.plan(**ragged_plan)
        over_prefix.plan(**paged_plan)

    plan()
    q, k, v, cache = problem.q, problem.k, problem.v, (pages.k, pages.v)
    new_state, prefix_state = states(problem)
    call = _fp8.call(problem, paged)
    heads = merge_heads(g.num_qo_heads, g.head_dim, q.element_size())

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        first = over_new.run(q, k, v, **new_state)
        second = over_prefix.run(call.queries(), cache, *call.scales, **prefix_state, **call.keywords)
        return merge(heads, first, second)

    described = (common.describe(over_new, ragged, for_new), common.describe(over_prefix, paged, for_prefix))
    return Prepared(run=run, plan=plan, describe=lambda: tuple(part for each in described for part in each()))
