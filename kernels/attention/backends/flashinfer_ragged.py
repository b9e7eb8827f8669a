"""FlashInfer's ragged prefill: new tokens that have no prefix, keys and values not in pages. SGLang's prefill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.problem import AttentionProblem


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    # The new tokens' keys come from the layer, in the model's dtype, whatever the cache's is.
    return common.why_not(workload, device, str(knobs["path"]), workload.geometry.dtype)


def modules(workload: AttentionWorkload, *, path: str) -> list[Module]:
    return [common.prefill_module(workload, path, kv_dtype=workload.geometry.dtype)]


@register(
    "attention.prefill",
    name="flashinfer.ragged",
    knobs={"path": ("fa2", "fa3")},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, path: str) -> Prepared:
    import torch
    from flashinfer.prefill import BatchPrefillWithRaggedKVCacheWrapper

    made = common.ragged_wrapper_arguments(problem, path)
    wrapper = BatchPrefillWithRaggedKVCacheWrapper(**made)
    arguments = common.plan_ragged(problem)
    wrapper.plan(**arguments)
    q, k, v = problem.q, problem.k, problem.v
    out = torch.empty_like(q)
    return Prepared(
        run=lambda: wrapper.run(q, k, v, out=out),
        plan=lambda: wrapper.plan(**arguments),
        describe=common.describe(wrapper, path, made),
    )
