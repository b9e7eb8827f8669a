"""What the FlashAttention-3 backends of sgl_kernel share: which workloads they take, and the arguments of the calls.

sglang-kernel 0.4.5 and 0.4.10, whose ``sgl_kernel.flash_attn`` have the same functions. Rules marked [S] were read in
the C++ sources of sgl-project/sgl-attn (``hopper/``). No import of torch or sgl_kernel here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends._refill import own
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import DType
from autotune_cli.kernels.registry import Device

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

REQUIRES = ("sgl_kernel",)
INSTALL = "pip install 'kernel-autotune[cuda]'"
# Compiled in: sm_90a, sm_80 and sm_86 (kernel names of the 0.4.5 and 0.4.10 libraries); is_fa3_supported() asks for
# major 8 or 9, so it also lets compute capability 8.9 through, for which the library holds no code of its own.
CAPABILITIES = ((8, 0), (8, 6), (9, 0))
HEAD_DIMS = (64, 96, 128, 192, 256)
DTYPES: tuple[DType, ...] = ("bfloat16", "float16", "float8_e4m3fn")
# Splits that may be asked for. 0: the library's choice; 1: none.
SPLITS = (2, 3, 4, 8, 16, 32)
# Rows and keys of a tile by head dim, 16-bit on compute capability 9.0 with a causal mask (tile_size.h [S]).
TILE_M = {64: 192}
TILE_N = {64: 128, 96: 128, 128: 128, 192: 112, 256: 80}
_USUAL_M = 128
# Blocks beyond this many to a multiprocessor are work enough without splits.
_FULL = 4
# Where a causal call has tiles for 0.8 of the multiprocessors, the library chooses no splits (heuristics.h [S]). Of a
# batch of several lengths it counts the tiles of all rows together, going by the kernels that it ran in 62 workloads.
_WHOLE = 2


def why_not(workload: AttentionWorkload, device: Device) -> str | None:
    """Why FlashAttention-3 can't compute the workload, or None."""
    g = workload.geometry
    compute = g.q_dtype or g.dtype
    capability = device.capability or (0, 0)
    if capability not in CAPABILITIES:
        has = "8.0, 8.6 and 9.0"
        return f"FlashAttention-3 is compiled for compute capability {has}, this is {capability[0]}.{capability[1]}"
    if compute not in DTYPES:
        return f"FlashAttention-3 takes bfloat16, float16 or float8_e4m3fn, not {compute}"
    if compute != g.cache_dtype:
        return f"FlashAttention-3 takes queries and cache of one dtype, not {compute} and {g.cache_dtype} (--q-dtype)"
    if compute == "float8_e4m3fn" and capability != (9, 0):
        return "FlashAttention-3 has FP8 kernels for compute capability 9.0 only"
    if g.head_dim not in HEAD_DIMS:
        return f"FlashAttention-3 is compiled for head dims 64, 96, 128, 192 and 256, not {g.head_dim}"
    return None


def tiles(workload: AttentionWorkload) -> int:
    """Output tiles of a batch: KV heads times tiles of packed query rows, of all requests."""
    g = workload.geometry
    rows = TILE_M.get(g.head_dim, _USUAL_M)
    return g.num_kv_heads * sum(-(-new * g.group // rows) for new in workload.lengths.qo)


def splits(workload: AttentionWorkload, device: Device) -> list[int]:
    """Fixed splits of the keys worth trying: a block of keys for each, and not more parts than the GPU can use."""
    blocks = -(-max(workload.lengths.kv) // TILE_N[workload.geometry.head_dim])
    most = _FULL * (device.multiprocessors or 132)
    return [count for count in SPLITS if count <= blocks and tiles(workload) * count <= most]


def is_whole(workload: AttentionWorkload, device: Device) -> bool:
    """Is the library's choice of splits certainly none, so that asking for it and for none is the same call?"""
    g = workload.geometry
    whole = g.num_kv_heads * (sum(workload.lengths.qo) * g.group // TILE_M.get(g.head_dim, _USUAL_M))
    return workload.causal and whole >= _WHOLE * (device.multiprocessors or 132)


def is_tma(workload: AttentionWorkload, page_size: int) -> bool:
    """Does the call load whole pages by TMA, or gather keys one by one (``get_pagedkv_tma`` [S])?"""
    g = workload.geometry
    rows = workload.new * g.group
    return page_size % TILE_N.get(g.head_dim, 1) == 0 and rows > TILE_M.get(g.head_dim, _USUAL_M)


def window(problem: AttentionProblem) -> tuple[int, int]:
    """(left, right) as the call takes it; (-1, -1): none."""
    left = problem.geometry.window_left
    return (-1, -1) if left is None else (left, 0)


def layer_arguments(problem: AttentionProblem) -> dict[str, Any]:
    """What both functions are told of the layer."""
    import torch

    g = problem.geometry
    arguments: dict[str, Any] = {
        "softmax_scale": g.scale,
        "causal": problem.workload.causal,
        "window_size": window(problem),
        "softcap": g.softcap or 0.0,
    }
    if problem.sinks is not None:
        # The kernel reads them in bfloat16 [S]; the problem's values are exact in it.
        arguments["sinks"] = problem.sinks.to(torch.bfloat16)
    if g.q_dtype is not None:
        # As SGLang passes them: one number a layer, seen as one for each request and KV head. Queries have no scale.
        shape = (len(problem.lengths.qo), g.num_kv_heads)
        for name, value in (("k_descale", problem.k_scale), ("v_descale", problem.v_scale)):
            arguments[name] = torch.full((1,), value, dtype=torch.float32, device=problem.device).expand(shape)
    return arguments


def page_table(problem: AttentionProblem, pages: PagedKV) -> torch.Tensor:
    """[batch, most pages] int32. For a graph as wide as the longest context served, as SGLang captures it.

    The width is what the kernel takes for the longest key count, so it bounds the splits that a capture allows for.
    """
    return for_longest(problem, pages.block_tables, pages.page_size)


def for_longest(problem: AttentionProblem, table: torch.Tensor, page_size: int) -> torch.Tensor:
    """A page table, for a graph as wide as the longest context served."""
    from torch.nn.functional import pad

    longest = problem.workload.served_context
    if not problem.graph or longest is None:
        return table
    return pad(table, (0, max(0, -(-longest // page_size) - table.shape[1])))


def paged_arguments(problem: AttentionProblem, pages: PagedKV, out: torch.Tensor) -> dict[str, Any]:
    """Arguments of ``flash_attn_with_kvcache`` but for the query and the knobs: one call over all keys in pages."""
    return {
        "k_cache": pages.k,
        "v_cache": pages.v,
        "cache_seqlens": own(problem, pages.seq_lens),
        "page_table": own(problem, page_table(problem, pages)),
        "cu_seqlens_q": problem.qo_indptr.to(problem.device),
        "max_seqlen_q": max(problem.lengths.qo),
        "out": out,
        **layer_arguments(problem),
    }


def frozen(arguments: dict[str, Any]) -> str:
    """What all replays of a capture have in common."""
    return frozen_splits(arguments["num_splits"], arguments["page_table"].shape[1] * arguments["k_cache"].shape[1])


def frozen_splits(splits: int, keys: int) -> str:
    """The same, of a call with ``num_splits`` and a table that has room for so many keys."""
    if splits == 1:
        return "no splits"
    made = "a bound on the splits" if splits == 0 else f"at most {splits} splits"
    return f"{made}, for a table of {keys} keys; each request's own are counted on the device"


def metadata_arguments(problem: AttentionProblem, arguments: dict[str, Any], num_splits: int) -> dict[str, Any]:
    """Arguments of ``get_scheduler_metadata`` for the call with ``arguments``; made once a step, as SGLang does."""
    g = problem.geometry
    longest = max(problem.lengths.kv)
    if g.window_left is not None:
        # A window that covers all keys is none for FA3, and the metadata of a layer without a window has another
        # layout. The call takes the width of the table for the longest, so a captured one would read the wrong one.
        longest = arguments["page_table"].shape[1] * arguments["k_cache"].shape[1]
    return {
        "batch_size": len(problem.lengths.qo),
        "max_seqlen_q": arguments["max_seqlen_q"],
        "max_seqlen_k": longest,
        "num_heads": g.num_qo_heads,
        "num_heads_k": g.num_kv_heads,
        "headdim": g.head_dim,
        "cache_seqlens": arguments["cache_seqlens"],
        "qkv_dtype": problem.cache_dtype,
        "cu_seqlens_q": arguments["cu_seqlens_q"],
        "page_size": arguments["k_cache"].shape[1],
        "causal": True,
        "window_size": arguments["window_size"],
        "has_softcap": g.softcap is not None,
        "num_splits": num_splits,
    }
