"""FlashInfer's paged latent attention, absorbed: decode and extend in one kernel, which merges its splits itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.mla.backends import _flashinfer as common
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.problem import LatentPages, MlaProblem

PAGE_SIZES = (1, 16, 64)


def unsupported(workload: MlaWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return common.why_not_absorbed(workload, device, str(knobs["path"]))


def modules(workload: MlaWorkload, *, path: str, page_size: int) -> list[Module]:
    return [common.absorbed_module(workload, path)]


def wrapper_arguments(problem: MlaProblem, pages: LatentPages, path: str) -> dict[str, Any]:
    """Arguments of the wrapper; under CUDA graphs with the buffers that it fills in each plan."""
    import torch

    arguments: dict[str, Any] = {
        "float_workspace_buffer": problem.workspace(common.WORKSPACE),
        "use_cuda_graph": problem.graph,
        "backend": path,
    }
    if problem.graph:
        arguments |= {
            "qo_indptr": torch.empty_like(problem.qo_indptr, device=problem.device),
            "kv_indptr": torch.empty_like(pages.indptr, device=problem.device),
            "kv_indices": torch.empty_like(pages.indices),
            "kv_len_arr": torch.empty_like(pages.host_lengths, device=problem.device),
        }
    return arguments


def plan_arguments(problem: MlaProblem, pages: LatentPages) -> dict[str, Any]:
    """Arguments of ``plan``: numbers on the CPU, where it computes, and page ids on the device."""
    g = problem.geometry
    return {
        "qo_indptr": problem.qo_indptr,
        "kv_indptr": pages.indptr,
        "kv_indices": pages.indices,
        "kv_len_arr": pages.host_lengths,
        "num_heads": g.num_heads,
        "head_dim_ckv": g.kv_lora_rank,
        "head_dim_kpe": g.qk_rope_head_dim,
        "page_size": pages.page_size,
        # A decode step's only query sees all keys.
        "causal": problem.workload.operation != "attention.mla_decode",
        "sm_scale": g.scale,
        "q_data_type": problem.dtype,
        "kv_data_type": problem.cache_dtype,
    }


@register(
    "attention.mla_decode",
    "attention.mla_extend",
    name="flashinfer.mla",
    knobs={"path": ("fa2", "fa3"), "page_size": PAGE_SIZES},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: MlaProblem, *, path: str, page_size: int) -> Prepared:
    import torch
    from flashinfer.mla import BatchMLAPagedAttentionWrapper

    pages = problem.paged(page_size)
    wrapper = BatchMLAPagedAttentionWrapper(**wrapper_arguments(problem, pages, path))
    arguments = plan_arguments(problem, pages)
    wrapper.plan(**arguments)
    out = torch.empty_like(problem.q_nope)
    # An FP8 cache comes with the numbers that its values are multiplied by.
    fp8 = problem.cache_dtype == torch.float8_e4m3fn
    scales: dict[str, Any] = {"ckv_scale": 1.0, "kpe_scale": 1.0} if fp8 else {}

    def refill(other: MlaProblem) -> None:
        wrapper.plan(**plan_arguments(other, other.paged(page_size)))

    return Prepared(
        run=lambda: wrapper.run(problem.q_nope, problem.q_pe, pages.ckv, pages.kpe, out=out, **scales),
        plan=lambda: wrapper.plan(**arguments),
        refill=refill,
        frozen="a grid of the multiprocessors; their shares of the keys are planned anew",
    )
