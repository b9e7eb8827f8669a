"""FlashInfer's ragged prefill over keys and values that were projected up, as SGLang's flashinfer backend has it.

Where nothing is cached, or from 8192 cached tokens in a batch on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _flashinfer as common
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.plain import PlainProblem


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not_plain(workload, device, str(knobs["path"]))


def modules(workload: MlaWorkload, *, path: str) -> list[Module]:
    return [common.plain_module(workload, path)]


def wrapper_arguments(problem: PlainProblem, path: str) -> dict[str, Any]:
    """Arguments of the wrapper; under CUDA graphs with the buffers that it fills in each plan."""
    import torch

    arguments: dict[str, Any] = {
        "float_workspace_buffer": problem.workspace(common.plain_workspace_bytes(problem)),
        "kv_layout": "NHD",
        "use_cuda_graph": problem.graph,
        "backend": path,
    }
    if problem.graph:
        arguments |= {
            "qo_indptr_buf": torch.empty_like(problem.qo_indptr, device=problem.device),
            "kv_indptr_buf": torch.empty_like(problem.kv_indptr, device=problem.device),
        }
    return arguments


def plan_arguments(problem: PlainProblem) -> dict[str, Any]:
    """Arguments of ``plan``; the mask is aligned to the end of the keys."""
    g = problem.geometry
    return {
        "qo_indptr": problem.qo_indptr,
        "kv_indptr": problem.kv_indptr,
        "num_qo_heads": g.num_heads,
        "num_kv_heads": g.num_heads,
        "head_dim_qk": g.head_dim,
        "head_dim_vo": g.v_head_dim,
        "causal": True,
        "sm_scale": g.scale,
        "q_data_type": problem.dtype,
        "kv_data_type": problem.dtype,
    }


@register(
    "attention.mla_prefill",
    name="flashinfer.mla_ragged",
    knobs={"path": ("fa2", "fa3")},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: PlainProblem, *, path: str) -> Prepared:
    import torch
    from flashinfer.prefill import BatchPrefillWithRaggedKVCacheWrapper

    wrapper = BatchPrefillWithRaggedKVCacheWrapper(**wrapper_arguments(problem, path))
    arguments = plan_arguments(problem)
    wrapper.plan(**arguments)
    q, k, v = problem.q, problem.k, problem.v
    out = torch.empty(*q.shape[:2], problem.geometry.v_head_dim, dtype=q.dtype, device=q.device)
    return Prepared(run=lambda: wrapper.run(q, k, v, out=out), plan=lambda: wrapper.plan(**arguments))
