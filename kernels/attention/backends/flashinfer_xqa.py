"""XQA, TensorRT-LLM's decode kernel in FlashInfer: no plan, block tables. Hopper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends import _flashinfer as common
from autotune_cli.kernels.attention.backends import _refill
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, Knob, Prepared, register

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

# nbValidRows <= 32 in FlashInfer's xqa/mha.cu: query heads of one KV head.
MAX_GROUP = 32
# Semaphores take the first 8 MiB; the rest holds partial results of long sequences.
_WORKSPACE = 256 << 20


def unsupported(workload: AttentionWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    g = workload.geometry
    if device.capability != (9, 0):
        return "only tried on compute capability 9.0"
    if g.dtype not in common.HALF:
        return f"XQA takes bfloat16 or float16 queries, not {g.dtype}"
    if g.cache_dtype not in (g.dtype, "float8_e4m3fn"):
        return f"the cache must have the queries' dtype or float8_e4m3fn, not {g.cache_dtype}"
    if g.softcap is not None:
        return "XQA has no softcap"
    if g.head_dim % 16 or g.head_dim > 256:
        return f"XQA on Hopper takes head dims up to 256 in steps of 16, not {g.head_dim}"
    if g.group > MAX_GROUP:
        return f"XQA takes GQA groups up to {MAX_GROUP}, not {g.group}"
    return None


def run_arguments(
    problem: AttentionProblem, pages: PagedKV, workspace: torch.Tensor, out: torch.Tensor
) -> dict[str, Any]:
    """Arguments of ``xqa_batch_decode_with_kv_cache``. It skips what lies before a window by itself.

    Sinks are float32 there. Over an FP8 cache the Hopper kernel rounds queries to e4m3 itself, without a scale
    (F16QToF8Converter in mha_sm90.cu); ``bmm1_scale`` and ``bmm2_scale`` carry the cache's scales.
    """
    g = problem.geometry
    sinks = {} if problem.sinks is None else {"sinks": problem.sinks}
    return {
        "query": problem.q,
        "kv_cache": (pages.k, pages.v),
        "workspace_buffer": workspace,
        "block_tables": _refill.own(problem, pages.block_tables),
        "seq_lens": _refill.own(problem, pages.seq_lens),
        "max_seq_len": max(pages.lengths),
        "bmm1_scale": g.scale * problem.k_scale,
        "bmm2_scale": problem.v_scale,
        "window_left": -1 if g.window_left is None else g.window_left,
        "out": out,
        "kv_layout": "NHD",
        **sinks,
    }


def module_arguments(workload: AttentionWorkload, page_size: int) -> dict[str, Any]:
    """Arguments of ``gen_xqa_module``."""
    import torch

    g = workload.geometry
    q = getattr(torch, g.dtype)
    return {
        "input_dtype": q,
        "kv_cache_dtype": getattr(torch, g.cache_dtype),
        "page_size": page_size,
        "head_dim": g.head_dim,
        "head_group_ratio": g.group,
        "use_sliding_window": g.window_left is not None,
        "output_dtype": q,
    }


def modules(workload: AttentionWorkload, *, page_size: int) -> list[Module]:
    from flashinfer.jit.xqa import gen_xqa_module

    g = workload.geometry
    window = "" if g.window_left is None else " window"
    label = f"xqa {common.layer(workload)} group {g.group} page {page_size}{window}"
    arguments, architectures = module_arguments(workload, page_size), common.architectures()
    return [jit_module(gen_xqa_module, arguments, architectures, label=label, seconds=20.0, jobs=5)]


@register(
    "attention.decode",
    name="flashinfer.xqa",
    knobs={"page_size": (16, 64)},
    requires=common.REQUIRES,
    install=common.INSTALL,
    unsupported=unsupported,
    modules=modules,
)
def prepare(problem: AttentionProblem, *, page_size: int) -> Prepared:
    import torch
    from flashinfer.decode import xqa_batch_decode_with_kv_cache

    # Its own: the semaphores must be zero at first, and the kernel leaves them so; other kernels wouldn't.
    workspace = torch.zeros(_WORKSPACE, dtype=torch.uint8, device=problem.device)
    arguments = run_arguments(problem, problem.paged(page_size), workspace, torch.empty_like(problem.q))

    def refill(other: AttentionProblem) -> None:
        _refill.fill_tables(arguments["block_tables"], arguments["seq_lens"], other.paged(page_size))
        # Of the next call; a capture has its own.
        arguments["max_seq_len"] = max(other.lengths.kv)

    return Prepared(
        run=lambda: xqa_batch_decode_with_kv_cache(**arguments),
        refill=refill,
        frozen=f"the grid for {arguments['max_seq_len']} keys",
    )
