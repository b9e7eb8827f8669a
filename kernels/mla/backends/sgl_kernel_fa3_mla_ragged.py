"""FlashAttention-3 as sgl_kernel ships it, over keys and values that were projected up: SGLang's latent prefill.

Where nothing is cached, or from 8192 cached tokens in a batch on: SGLang's MHA_ONE_SHOT, one call over all keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _fa3 as common
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.plain import PlainProblem


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not_plain(workload, device)


@register(
    "attention.mla_prefill",
    name="sgl_kernel.fa3_mla_ragged",
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    needs="an NVIDIA GPU of compute capability 9.0",
)
def prepare(problem: PlainProblem) -> Prepared:
    import torch
    from sgl_kernel.flash_attn import flash_attn_varlen_func

    arguments: dict[str, Any] = {
        "q": problem.q,
        "k": problem.k,
        "v": problem.v,
        "cu_seqlens_q": problem.qo_indptr.to(problem.device),
        "cu_seqlens_k": problem.kv_indptr.to(problem.device),
        "max_seqlen_q": max(problem.lengths.qo),
        "max_seqlen_k": max(problem.lengths.kv),
        "softmax_scale": problem.geometry.scale,
        "causal": True,
        "out": torch.empty_like(problem.q[..., : problem.geometry.v_head_dim], memory_format=torch.contiguous_format),
    }
    return Prepared(run=lambda: flash_attn_varlen_func(**arguments))
