"""What the FlashInfer backends share: which workloads they take, arguments of ``plan``, modules to compile.

FlashInfer 0.6.10 and later. Rules marked [S] were read in the source of 0.6.18. No import of torch or FlashInfer here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.backends._fp8 import fp8_queries
from autotune_cli.kernels.attention.workload import AttentionWorkload
from autotune_cli.kernels.base import DType
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device, LaunchPlan

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.paging import PagedKV
    from autotune_cli.kernels.attention.problem import AttentionProblem

REQUIRES = ("flashinfer",)
INSTALL = "pip install 'kernel-autotune[cuda]'"
PAGE_SIZES = (1, 16, 64)
# SGLang plans with page size 1, whatever its pool's page size is.
SGLANG_PAGE_SIZE = 1
HEAD_DIMS = (64, 128, 256)
# FlashInfer checks at each plan that the parts fit into the grid of the capture, and fails otherwise [S].
NO_FIXED_SPLIT = (
    "a fixed split can outgrow the grid of a captured graph when requests grow (FlashInfer doesn't allow it)"
)
HALF: tuple[DType, ...] = ("bfloat16", "float16")
_SHORT: dict[DType, str] = {"bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8"}

# SGLang's workspace for most models; larger ones follow from :func:`workspace_bytes`.
_WORKSPACE = 384 << 20
# fa2's plan spreads a batch over 2 blocks per multiprocessor; 160 covers Hopper (132) and Blackwell (148).
_GRID = 2 * 160
# Where a plan of FlashInfer's has its numbers, by the kernels that it is for: ``ToVector`` of PrefillPlanInfo and
# DecodePlanInfo in scheduler.cuh [S]. fa3's plan never splits, and tells no grid.
PLANS: dict[str, dict[str, int]] = {
    "fa2": {"numbers": 15, "padded_batch_size": 0, "cta_tile_q": 3, "split_kv": 14},
    "cuda_cores": {"numbers": 10, "padded_batch_size": 0, "split_kv": 9},
}


def why_not(
    workload: AttentionWorkload, device: Device, path: str, kv_dtype: DType | None = None, *, sinks: bool = False
) -> str | None:
    """Why the path (``fa2``, ``fa3``, ...) can't compute the workload, or None.

    ``kv_dtype``: of the keys it reads, if that isn't the cache's (ragged kernels read the new tokens' own).
    ``sinks``: it is a variant with attention sinks; ``run``'s argument of that name is for other GPUs' kernels [S].
    """
    g = workload.geometry
    if g.sinks and not sinks:
        return "this kernel has no attention sinks; flashinfer.sink has"
    kv_dtype = kv_dtype or g.cache_dtype
    if g.dtype not in HALF:
        return f"FlashInfer's kernels take bfloat16 or float16 queries, not {g.dtype}"
    if kv_dtype not in (g.dtype, "float8_e4m3fn"):
        return f"keys must have the queries' dtype or float8_e4m3fn, not {kv_dtype}"
    if g.head_dim not in HEAD_DIMS:
        return f"FlashInfer is built for head dims 64, 128 and 256, not {g.head_dim}"
    capability = device.capability or (0, 0)
    if capability < (8, 0):
        return f"needs compute capability 8.0, this is {capability[0]}.{capability[1]}"
    if path == "fa3":
        if capability[0] != 9:
            return f"fa3 is for compute capability 9.0, this is {capability[0]}.{capability[1]}"
        if kv_dtype == "float8_e4m3fn" and g.q_dtype is None:
            return "fa3 reads an FP8 cache only for FP8 queries"
        if kv_dtype == "float8_e4m3fn" and g.softcap is not None:
            return "fa3's FP8 kernel has no softcap"
    return None


def plan_heads(problem: AttentionProblem, *, kv_dtype: torch.dtype, prefill: bool, path: str = "") -> dict[str, Any]:
    """What every ``plan`` is told of the layer. A softcap or window that only ``run`` is told is ignored [S].

    ``path``: of a kernel that reads the cache, whose queries may be FP8.
    """
    g = problem.geometry
    fp8 = {"q_data_type": kv_dtype, "o_data_type": problem.dtype} if fp8_queries(g, path) else {}
    return {
        "num_qo_heads": g.num_qo_heads,
        "num_kv_heads": g.num_kv_heads,
        "head_dim_qk" if prefill else "head_dim": g.head_dim,
        "sm_scale": g.scale,
        "logits_soft_cap": g.softcap,
        "window_left": -1 if g.window_left is None else g.window_left,
        "q_data_type": problem.dtype,
        "kv_data_type": kv_dtype,
        **fp8,
    }


def in_window(problem: AttentionProblem, pages: PagedKV) -> PagedKV:
    """Only the pages that some query of a request sees, as SGLang hands them over for a windowed layer."""
    window = problem.geometry.window_left
    if window is None:
        return pages
    return pages.seen_from([max(0, kv - qo - window) for qo, kv in zip(*problem.lengths, strict=True)])


def plan_paged(
    problem: AttentionProblem, pages: PagedKV, path: str, *, causal: bool, split: int | None = None
) -> dict[str, Any]:
    """Arguments of ``BatchPrefillWithPagedKVCacheWrapper.plan``; ``split``: tokens of a KV part, None = its choice.

    Indptrs on the CPU, indices on the GPU: otherwise plan copies and waits. ``max_token_per_sequence`` spares a slow
    ``max`` over a tensor; its twin ``max_sequence_kv`` must not be given: 0.6.18 then fails to plan fa2 and fa3 [S].
    """
    fixed = {} if split is None else {"fixed_split_size": max(1, split // pages.page_size)}
    return {
        **fixed,
        "qo_indptr": problem.qo_indptr,
        "paged_kv_indptr": pages.indptr,
        "paged_kv_indices": pages.indices,
        "paged_kv_last_page_len": pages.last_page_len,
        "page_size": pages.page_size,
        "causal": causal,
        "max_token_per_sequence": max(problem.lengths.qo),
        **plan_heads(problem, kv_dtype=problem.cache_dtype, prefill=True, path=path),
    }


def plan_ragged(problem: AttentionProblem) -> dict[str, Any]:
    """Arguments of ``BatchPrefillWithRaggedKVCacheWrapper.plan`` over the new tokens."""
    return {
        "qo_indptr": problem.qo_indptr,
        "kv_indptr": problem.qo_indptr,
        "causal": True,
        **plan_heads(problem, kv_dtype=problem.dtype, prefill=True),
    }


def paged_wrapper_arguments(
    problem: AttentionProblem, pages: PagedKV, path: str, split: int | None = None
) -> dict[str, Any]:
    """Arguments of the paged prefill wrapper; under CUDA graphs with the buffers it keeps. ``split``: of a KV part."""
    arguments = _wrapper_arguments(problem, path, split)
    if problem.graph:
        arguments |= {
            "qo_indptr_buf": problem.qo_indptr.to(problem.device),
            "paged_kv_indptr_buf": pages.indptr.to(problem.device),
            "paged_kv_indices_buf": index_buffer(problem, pages),
            "paged_kv_last_page_len_buf": pages.last_page_len.to(problem.device),
        }
    return arguments


def index_buffer(problem: AttentionProblem, pages: PagedKV) -> torch.Tensor:
    """What a captured wrapper keeps page ids in. Within a window a shorter request may see a page more."""
    from torch.nn.functional import pad

    return pad(pages.indices, (0, len(pages.tables))) if problem.workload.points else pages.indices.clone()


def frozen(path: str) -> str:
    """What all replays of a capture have in common, beside what ``describe`` tells."""
    if path == "fa3":
        return "no splits; the order of the work is planned anew"
    return "a padded grid, in which the parts of each request are planned anew"


def mask_buffers(problem: AttentionProblem, pages: PagedKV) -> dict[str, Any]:
    """What a wrapper keeps a mask in under CUDA graphs; for a mask only, as FlashInfer masks where they are bound."""
    import torch

    pairs = zip(problem.lengths.qo, pages.lengths, strict=True)
    packed = sum(-(-qo * kept // 8) for qo, kept in pairs)
    indptr = torch.zeros(len(problem.lengths.qo) + 1, dtype=torch.int32, device=problem.device)
    return {
        "custom_mask_buf": torch.zeros(packed, dtype=torch.uint8, device=problem.device),
        "mask_indptr_buf": indptr,
    }


def ragged_wrapper_arguments(problem: AttentionProblem, path: str) -> dict[str, Any]:
    """Arguments of the ragged prefill wrapper; under CUDA graphs with the buffers it keeps."""
    arguments = _wrapper_arguments(problem, path)
    if problem.graph:
        arguments |= {
            "qo_indptr_buf": problem.qo_indptr.to(problem.device),
            "kv_indptr_buf": problem.qo_indptr.to(problem.device),
        }
    return arguments


def _wrapper_arguments(problem: AttentionProblem, path: str, split: int | None = None) -> dict[str, Any]:
    return {
        "float_workspace_buffer": problem.workspace(workspace_bytes(problem, split)),
        "kv_layout": "NHD",
        "use_cuda_graph": problem.graph,
        "backend": path,
    }


def describe(wrapper: Any, path: str, made: Mapping[str, Any]) -> Callable[[], tuple[LaunchPlan, ...]]:
    """What a wrapper planned last. FlashInfer tells it nowhere but in the plan that the wrapper keeps for itself.

    Args:
        path: the kernels that were planned: ``fa2``, ``fa3`` or ``cuda_cores``.
        made: the wrapper's arguments.
    """

    def planned() -> tuple[LaunchPlan, ...]:
        positions, kept = PLANS.get(path), getattr(wrapper, "_plan_info", None)
        numbers = [] if kept is None else list(kept)
        # A version that counts other numbers may have them elsewhere.
        if positions is None or len(numbers) != positions["numbers"]:
            return ()
        tile = numbers[positions["cta_tile_q"]] if "cta_tile_q" in positions else None
        held = {name: value.nbytes for name, value in made.items() if hasattr(value, "nbytes")}
        is_split, items = bool(numbers[positions["split_kv"]]), numbers[positions["padded_batch_size"]]
        return (LaunchPlan(is_split, items, tile, held, getattr(wrapper, "_custom_mask_buf", None) is not None),)

    return planned


def workspace_bytes(problem: AttentionProblem, split_tokens: int | None = None) -> int:
    """Room for fa2's partial results: float32 [heads, tiles, tile, head_dim + 1] and a quarter more.

    Tiles are counted as PrefillSplitQOKVIndptr does [S]: under CUDA graphs for the worst spread of the same tokens,
    with a fixed split one for each part of each request, else no more than the grid. At least SGLang's 384 MiB.
    """
    g, lengths = problem.geometry, problem.lengths
    rows, batch = sum(lengths.qo), len(lengths.qo)
    packed = (rows - batch + 1 if problem.graph else rows // batch) * g.group
    tile = 128 if packed > 64 and g.head_dim < 256 else 64 if packed > 16 else 16
    tiles = -(-_GRID // g.num_kv_heads)
    if problem.graph:
        tiles = max(tiles, -(-rows * g.group // tile) + batch - 1)
    if split_tokens is not None:
        pairs = zip(*lengths, strict=True)
        tiles = max(tiles, sum(-(-qo * g.group // tile) * -(-kv // split_tokens) for qo, kv in pairs))
    size = int(1.25 * 4 * g.num_qo_heads * tiles * tile * (g.head_dim + 1))
    return max(_WORKSPACE, -(-size >> 20) << 20)


def module_arguments(workload: AttentionWorkload, kv_dtype: DType | None = None, path: str = "") -> dict[str, Any]:
    """Arguments that the ``gen_*_module`` functions of decode and prefill share."""
    import torch

    g = workload.geometry
    kv = kv_dtype or g.cache_dtype
    return {
        "dtype_q": getattr(torch, kv if kv == g.q_dtype and fp8_queries(g, path) else g.dtype),
        "dtype_kv": getattr(torch, kv),
        "dtype_o": getattr(torch, g.dtype),
        "dtype_idx": torch.int32,
        "head_dim_qk": g.head_dim,
        "head_dim_vo": g.head_dim,
        "pos_encoding_mode": 0,
        "use_logits_soft_cap": g.softcap is not None,
    }


def prefill_module_arguments(
    workload: AttentionWorkload, path: str, *, window: bool, kv_dtype: DType | None = None
) -> dict[str, Any]:
    """Arguments of ``gen_batch_prefill_module``: one module holds the paged and the ragged kernels of a path."""
    return {
        "backend": path,
        "use_sliding_window": window,
        "use_fp16_qk_reduction": False,
        **module_arguments(workload, kv_dtype, path),
    }


def prefill_module(
    workload: AttentionWorkload, path: str, *, window: bool | None = None, kv_dtype: DType | None = None
) -> Module:
    """The prefill module of a path. ``window``: does the kernel mask one? None: as the geometry has it."""
    from flashinfer.jit.attention import gen_batch_prefill_module

    window = workload.geometry.window_left is not None if window is None else window
    arguments = prefill_module_arguments(workload, path, window=window, kv_dtype=kv_dtype)
    # One H200 machine with 16 cores: 71 s (fa3), 20 s (fa2), of which eight of ten files take all. Memory: nvcc 13.0.
    seconds, gigabytes = (600.0, 4.0) if path == "fa3" else (130.0, 0.6)
    label = f"{path} prefill {layer(workload, kv_dtype)}{' window' if window else ''}"
    return jit_module(
        gen_batch_prefill_module, arguments, architectures(), label=label, seconds=seconds, jobs=10, gigabytes=gigabytes
    )


def architectures() -> Iterable[tuple[Any, str]]:
    """What FlashInfer compiles for in this process: the visible GPUs, unless its variable says otherwise."""
    from flashinfer.jit.core import current_compilation_context

    found: Iterable[tuple[Any, str]] = current_compilation_context.TARGET_CUDA_ARCHS
    return found


def layer(workload: AttentionWorkload, kv_dtype: DType | None = None) -> str:
    """What tells the modules of layers apart, short: ``bf16 d128``."""
    g = workload.geometry
    kv = kv_dtype or g.cache_dtype
    text = _SHORT.get(g.dtype, g.dtype)
    if kv != g.dtype:
        text += f"/{_SHORT.get(kv, kv)}"
    return f"{text} d{g.head_dim}{' softcap' if g.softcap is not None else ''}"
