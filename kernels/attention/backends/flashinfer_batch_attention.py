"""FlashInfer's BatchAttention: one persistent kernel for any mix of prefill and decode, merge included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends import _fp8, _refill
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.geometry.window_left is not None:
        return "BatchAttention has no sliding window"
    return common.why_not(workload, device, "batch_attention")


def plan_arguments(problem: AttentionProblem, pages: PagedKV) -> dict[str, Any]:
    """Arguments of ``BatchAttention.plan``."""
    import torch

    arguments = common.plan_heads(problem, kv_dtype=problem.cache_dtype, prefill=True)
    del arguments["window_left"]
    return {
        "qo_indptr": problem.qo_indptr,
        "kv_indptr": pages.indptr,
        "kv_indices": pages.indices,
        "kv_len_arr": torch.tensor(pages.lengths, dtype=torch.int32),
        "head_dim_vo": problem.geometry.head_dim,
        "page_size": pages.page_size,
        "causal": True,
        **arguments,
    }


def run_arguments(problem: AttentionProblem, pages: PagedKV) -> dict[str, Any]:
    """Arguments of ``run``, which always returns ``(out, lse)``, base 2. It wants the softcap a second time."""
    import torch

    q = problem.q
    return {
        "q": q,
        "kv_cache": (pages.k, pages.v),
        "out": torch.empty_like(q),
        "lse": torch.empty(q.shape[:2], dtype=torch.float32, device=q.device),
        "logits_soft_cap": problem.geometry.softcap or 0.0,
        **_fp8.call(problem, "batch_attention").keywords,
    }


def module_arguments(workload: AttentionWorkload) -> dict[str, Any]:
    """Arguments of ``gen_batch_attention_module``."""
    return {"use_profiler": False, **common.module_arguments(workload)}


def modules(workload: AttentionWorkload, *, page_size: int) -> list[Module]:
    from flashinfer.jit import gen_batch_attention_module

    label = f"batch attention {common.layer(workload)}"
    arguments, architectures = module_arguments(workload), common.architectures()
    return [jit_module(gen_batch_attention_module, arguments, architectures, label=label, seconds=50.0, jobs=6)]


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    name="flashinfer.batch_attention",
    knobs={"page_size": common.PAGE_SIZES},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, page_size: int) -> Prepared:
    from flashinfer import BatchAttention

    pages = problem.paged(page_size)
    wrapper = BatchAttention(kv_layout="NHD", device=problem.device)
    planned = plan_arguments(problem, pages)
    # The wrapper keeps the tensor that it is given, so a capture holds its address.
    indices = planned["kv_indices"] = _refill.own(problem, pages.indices)
    wrapper.plan(**planned)
    arguments = run_arguments(problem, pages)

    def refill(other: AttentionProblem) -> None:
        seen = other.paged(page_size)
        indices[: len(seen.indices)].copy_(seen.indices)
        wrapper.plan(**plan_arguments(other, seen) | {"kv_indices": indices})

    return Prepared(
        run=lambda: wrapper.run(**arguments),
        plan=lambda: wrapper.plan(**planned),
        refill=refill,
        frozen="a grid as large as the GPU; its work is planned anew",
    )
