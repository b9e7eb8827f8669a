"""FlashInfer's attention with sinks (gpt-oss): its paged prefill wrapper with the AttentionSink variant compiled in.

The arguments are those of ``BatchAttentionWithAttentionSinkWrapper``, but for the module's name. The wrapper's own name
lacks the head dim and the cache's dtype, so two models would overwrite each other's module. The one here comes from
FlashInfer's ``get_batch_prefill_attention_sink_uri``, as in its prebuilt packages (aot.py). Read in 0.6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.problem import AttentionProblem


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g, path = workload.geometry, str(knobs["path"])
    if not g.sinks:
        return "a kernel for attention sinks; the layer has none"
    if g.softcap is not None:
        return "FlashInfer's AttentionSink variant has no softcap"
    if path == "fa3" and g.cache_dtype == "float8_e4m3fn":
        return "FlashInfer's AttentionSink variant takes no FP8 queries, and fa3 reads an FP8 cache only for those"
    return common.why_not(workload, device, path, sinks=True)


def module_arguments(workload: AttentionWorkload, path: str) -> dict[str, Any]:
    """Arguments of ``gen_batch_prefill_attention_sink_module``, and of the function that names it."""
    arguments = common.module_arguments(workload)
    del arguments["use_logits_soft_cap"]
    return {"backend": path, "use_sliding_window": workload.geometry.window_left is not None, **arguments}


def jit_arguments(workload: AttentionWorkload, path: str) -> dict[str, Any]:
    """``jit_args`` and ``jit_kwargs`` of the wrapper, in FlashInfer's order: the module of :func:`modules`."""
    from flashinfer.jit.attention.modules import get_batch_prefill_attention_sink_uri
    from flashinfer.jit.attention.variants import attention_sink_decl

    module = module_arguments(workload, path)
    return {
        "jit_args": [
            get_batch_prefill_attention_sink_uri(**module),
            module["dtype_q"],
            module["dtype_kv"],
            module["dtype_o"],
            module["dtype_idx"],
            module["head_dim_qk"],
            module["head_dim_vo"],
            ["sink"],
            ["float"],
            ["sm_scale"],
            ["double"],
            "AttentionSink",
            attention_sink_decl[path],
        ],
        "jit_kwargs": {
            "pos_encoding_mode": module["pos_encoding_mode"],
            "use_sliding_window": module["use_sliding_window"],
            "use_logits_soft_cap": False,
            "use_fp16_qk_reduction": False,
            "fp8_enabled": False,
        },
    }


def modules(workload: AttentionWorkload, *, path: str, page_size: int) -> list[Module]:
    from flashinfer.jit.attention.modules import gen_batch_prefill_attention_sink_module

    arguments = module_arguments(workload, path)
    # As its plain prefill modules, of whose files it has as many.
    seconds, gigabytes = (600.0, 4.0) if path == "fa3" else (130.0, 0.6)
    label = f"{path} prefill {common.layer(workload)} sinks{' window' if arguments['use_sliding_window'] else ''}"
    found = jit_module(
        gen_batch_prefill_attention_sink_module, arguments, common.architectures(), label=label, seconds=seconds,
        jobs=10, gigabytes=gigabytes,
    )  # fmt: skip
    return [found]


@register(
    "attention.decode",
    "attention.prefill",
    "attention.extend",
    name="flashinfer.sink",
    knobs={"path": ("fa2", "fa3"), "page_size": common.PAGE_SIZES},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, path: str, page_size: int) -> Prepared:
    import torch
    from flashinfer.prefill import BatchPrefillWithPagedKVCacheWrapper

    g = problem.geometry
    pages = common.in_window(problem, problem.paged(page_size))
    made = common.paged_wrapper_arguments(problem, pages, path)
    wrapper = BatchPrefillWithPagedKVCacheWrapper(**made, **jit_arguments(problem.workload, path))
    arguments = common.plan_paged(problem, pages, path, causal=True)
    wrapper.plan(**arguments)
    cache = (pages.k, pages.v)
    out = torch.empty_like(problem.q)
    # The variant's own arguments: what run is told of k_scale would be lost, as it is given the softmax scale.
    own = (problem.sinks, g.scale * problem.k_scale)
    v_scale = None if g.q_dtype is None else problem.v_scale

    def refill(other: AttentionProblem) -> None:
        seen = common.in_window(other, other.paged(page_size))
        wrapper.plan(**common.plan_paged(other, seen, path, causal=True))

    return Prepared(
        run=lambda: wrapper.run(problem.q, cache, *own, out=out, v_scale=v_scale),
        plan=lambda: wrapper.plan(**arguments),
        describe=common.describe(wrapper, path, made),
        refill=refill,
        frozen=common.frozen(path),
    )
