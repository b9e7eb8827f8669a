"""FlashInfer's batched paged decode: CUDA cores, tensor cores (fa2) and fa3. SGLang's decode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends import _fp8
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

# Group sizes the CUDA-core kernel is compiled for (DISPATCH_GQA_GROUP_SIZE in FlashInfer's utils.cuh).
GROUPS = (1, 2, 3, 4, 6, 8)
SPLITS = (512, 2048)


def knobs(workload: AttentionWorkload, device: Device) -> Iterator[dict[str, Knob]]:
    """``split``: tokens of a KV part, None = FlashInfer's choice, False = one part. ``pdl``: None = on where it can be.

    PDL (programmatic dependent launch) and splits act on fa2 only; fixed splits on its tensor cores only.
    """
    for page_size in common.PAGE_SIZES:
        # Off, it never won by more than what places in memory do: one page size is enough to show it.
        launches = (None, False) if page_size == 1 else (None,)
        for pdl in launches:
            yield {"path": "cuda_cores", "page_size": page_size, "split": None, "pdl": pdl}
        for split in (None, *SPLITS, False):
            for pdl in launches:
                yield {"path": "tensor_cores", "page_size": page_size, "split": split, "pdl": pdl}
        yield {"path": "fa3", "page_size": page_size, "split": None, "pdl": None}


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g = workload.geometry
    path = str(knobs["path"])
    reason = common.why_not(workload, device, path)
    if reason is None and path == "cuda_cores" and g.group not in GROUPS:
        return f"the CUDA-core kernel is built for GQA groups 1, 2, 3, 4, 6 and 8, not {g.group}"
    if reason is None and workload.mode == "graph" and knobs["split"] in SPLITS:
        return common.NO_FIXED_SPLIT
    if reason is None and workload.mode == "graph" and knobs["split"] is False:
        # FlashInfer #5176, and seen on an H200 with 0.6.18: some of these candidates hang or touch illegal memory.
        return "without splits the padded grid of a captured graph reads entries that nobody wrote (FlashInfer #5176)"
    return reason


def wrapper_arguments(problem: AttentionProblem, pages: PagedKV, path: str, split: Any) -> dict[str, Any]:
    """Arguments of ``BatchDecodeWithPagedKVCacheWrapper``; under CUDA graphs with the buffers it keeps."""
    split_tokens = split if split in SPLITS else None
    arguments: dict[str, Any] = {
        "float_workspace_buffer": problem.workspace(common.workspace_bytes(problem, split_tokens)),
        "kv_layout": "NHD",
        "use_cuda_graph": problem.graph,
        "use_tensor_cores": path != "cuda_cores",
        "backend": "fa3" if path == "fa3" else "fa2",
    }
    if problem.graph:
        arguments |= {
            "paged_kv_indptr_buffer": pages.indptr.to(problem.device),
            "paged_kv_indices_buffer": common.index_buffer(problem, pages),
            "paged_kv_last_page_len_buffer": pages.last_page_len.to(problem.device),
        }
    return arguments


def plan_arguments(problem: AttentionProblem, pages: PagedKV, path: str, split: Any) -> dict[str, Any]:
    """Arguments of ``plan``. At page size 1 the trimmed pages are the window, and SGLang passes none."""
    arguments = {
        "indptr": pages.indptr,
        "indices": pages.indices,
        "last_page_len": pages.last_page_len,
        "page_size": pages.page_size,
        **common.plan_heads(problem, kv_dtype=problem.cache_dtype, prefill=False, path=path),
    }
    if pages.page_size == 1:
        arguments["window_left"] = -1
    if split is False:
        arguments["disable_split_kv"] = True
    elif split is not None:
        arguments["fixed_split_size"] = max(1, split // pages.page_size)
    return arguments


def module_arguments(workload: AttentionWorkload, page_size: int) -> dict[str, Any]:
    """Arguments of ``gen_batch_decode_module`` (the CUDA-core kernel)."""
    return {"use_sliding_window": windowed(workload, page_size), **common.module_arguments(workload)}


def windowed(workload: AttentionWorkload, page_size: int) -> bool:
    """Does the kernel have to mask a window (see :func:`plan_arguments`)?"""
    return workload.geometry.window_left is not None and page_size != 1


def modules(workload: AttentionWorkload, *, path: str, page_size: int, split: Any, pdl: Any) -> list[Module]:
    """On tensor cores a decode step is a prefill of one token."""
    window = windowed(workload, page_size)
    if path != "cuda_cores":
        return [common.prefill_module(workload, "fa3" if path == "fa3" else "fa2", window=window)]
    from flashinfer.jit.attention import gen_batch_decode_module

    arguments = module_arguments(workload, page_size)
    label = f"decode {common.layer(workload)}{' window' if window else ''}"
    return [jit_module(gen_batch_decode_module, arguments, common.architectures(), label=label, seconds=25.0, jobs=3)]


@register(
    "attention.decode",
    name="flashinfer.decode",
    knobs=knobs,
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, path: str, page_size: int, split: Any, pdl: Any) -> Prepared:
    import torch
    from flashinfer.decode import BatchDecodeWithPagedKVCacheWrapper

    pages = common.in_window(problem, problem.paged(page_size))
    made = wrapper_arguments(problem, pages, path, split)
    wrapper = BatchDecodeWithPagedKVCacheWrapper(**made)
    arguments = plan_arguments(problem, pages, path, split)
    wrapper.plan(**arguments)
    out = torch.empty_like(problem.q)
    cache = (pages.k, pages.v)
    call = _fp8.call(problem, path)

    def refill(other: AttentionProblem) -> None:
        seen = common.in_window(other, other.paged(page_size))
        wrapper.plan(**plan_arguments(other, seen, path, split))

    return Prepared(
        run=lambda: wrapper.run(call.queries(), cache, *call.scales, out=out, enable_pdl=pdl, **call.keywords),
        plan=lambda: wrapper.plan(**arguments),
        describe=common.describe(wrapper, "fa2" if path == "tensor_cores" else path, made),
        refill=refill,
        frozen=common.frozen(path),
    )
