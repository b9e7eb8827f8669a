"""What the FlashInfer backends of latent attention share: what its kernels can compute, modules to compile.

FlashInfer 0.6.10 and later. Rules marked [S] were read in the source of 0.6.18. No import of torch or FlashInfer here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.base import DType
from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Device

if TYPE_CHECKING:
    from autotune_cli.kernels.mla.plain import PlainProblem

REQUIRES = ("flashinfer",)
INSTALL = "pip install 'kernel-autotune[cuda]'"
HALF: tuple[DType, ...] = ("bfloat16", "float16")
SHORT: dict[DType, str] = {"bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8"}
# SGLang's SGLANG_FLASHINFER_WORKSPACE_SIZE. Partial results of the latent kernels take 18 MiB of it on 132
# multiprocessors, whatever the batch is: ``MLAPlan`` [S].
WORKSPACE = 384 << 20
# Keys and values, projected up; fa3's are those of determine_attention_backend [S].
PLAIN = ((64, 64), (128, 128), (192, 128), (256, 256))
# fa2's plan spreads a batch over 2 blocks per multiprocessor; 160 covers Hopper (132) and Blackwell (148).
_GRID = 2 * 160
# What ``MLAPlan`` reserves its tables for; it writes beyond them without a check [S].
_MOST_WORK = 16384
# Rows of a tile: of one block, or of two where a request has more than 64 rows on average [S].
_TILE = 64


def why_not(geometry: LatentGeometry, device: Device, path: str) -> str | None:
    """Why a path (``fa2``, ``fa3``) can't compute latent attention, in either form, or None."""
    capability = device.capability or (0, 0)
    if geometry.dtype not in HALF:
        return f"FlashInfer's kernels take bfloat16 or float16 queries, not {geometry.dtype}"
    if capability < (8, 0):
        return f"needs compute capability 8.0, this is {capability[0]}.{capability[1]}"
    if path == "fa3" and capability[0] != 9:
        return f"fa3 is for compute capability 9.0, this is {capability[0]}.{capability[1]}"
    return None


def why_not_absorbed(workload: MlaWorkload, device: Device, path: str) -> str | None:
    """Why a path can't compute the absorbed form, or None."""
    g, capability = workload.latent, device.capability or (0, 0)
    if (g.kv_lora_rank, g.qk_rope_head_dim) != (512, 64):
        found = f"{g.kv_lora_rank} + {g.qk_rope_head_dim}"
        return f"FlashInfer's latent kernels are made for cached tokens of 512 + 64 numbers, not {found}"
    if g.cache_dtype not in (g.dtype, "float8_e4m3fn"):
        return f"the cache must have the queries' dtype or float8_e4m3fn, not {g.cache_dtype}"
    if g.cache_dtype == "float8_e4m3fn" and (capability[0] != 9 or g.dtype != "bfloat16"):
        return f"an FP8 latent cache needs compute capability 9.0 and bfloat16 queries, not {g.dtype}"
    if work_items(workload) + (device.multiprocessors or 132) > _MOST_WORK:
        return f"FlashInfer's plan has room for {_MOST_WORK} work items, this batch has {work_items(workload)} and more"
    return why_not(g, device, path)


def work_items(workload: MlaWorkload) -> int:
    """Tiles of query rows; splits of the keys add at most one for each multiprocessor (``MLAPlan`` [S])."""
    heads, queries = workload.latent.num_heads, workload.lengths.qo
    rows = _TILE * (2 if sum(queries) * heads // len(queries) > _TILE else 1)
    return sum(-(-new * heads // rows) for new in queries)


def absorbed_module_arguments(workload: MlaWorkload, path: str) -> dict[str, Any]:
    """Arguments of ``gen_batch_mla_module``."""
    import torch

    g = workload.latent
    dtype: torch.dtype = getattr(torch, g.dtype)
    return {
        "backend": path,
        "dtype_q": dtype,
        "dtype_kv": getattr(torch, g.cache_dtype),
        "dtype_o": dtype,
        "dtype_idx": torch.int32,
        "head_dim_ckv": g.kv_lora_rank,
        "head_dim_kpe": g.qk_rope_head_dim,
        "use_profiler": False,
    }


def absorbed_module(workload: MlaWorkload, path: str) -> Module:
    """The module of the absorbed form."""
    from flashinfer.jit.attention import gen_batch_mla_module
    from flashinfer.jit.core import current_compilation_context

    g = workload.latent
    dtypes = SHORT.get(g.dtype, g.dtype)
    if g.cache_dtype != g.dtype:
        dtypes += f"/{SHORT.get(g.cache_dtype, g.cache_dtype)}"
    return jit_module(
        gen_batch_mla_module,
        absorbed_module_arguments(workload, path),
        current_compilation_context.TARGET_CUDA_ARCHS,
        label=f"{path} mla {dtypes} {g.kv_lora_rank}+{g.qk_rope_head_dim}",
        # Three files of 17 s each on two cores (nvcc 13.0).
        seconds=50.0,
        jobs=3,
    )


def why_not_plain(workload: MlaWorkload, device: Device, path: str) -> str | None:
    """Why a path can't compute the plain form, or None."""
    g = workload.latent
    if (g.head_dim, g.v_head_dim) not in PLAIN:
        return f"FlashInfer isn't built for keys of {g.head_dim} and values of {g.v_head_dim}"
    return why_not(g, device, path)


def plain_workspace_bytes(problem: PlainProblem) -> int:
    """Room for fa2's partial results: float32 [heads, tiles, tile, v_head_dim + 1] and a quarter more.

    At least SGLang's. Tiles are counted as PrefillSplitQOKVIndptr does [S]: under CUDA graphs for the worst spread of
    the same tokens, else no more than the grid. No head shares its keys.
    """
    g, lengths = problem.geometry, problem.lengths
    rows, batch = sum(lengths.qo), len(lengths.qo)
    longest = rows - batch + 1 if problem.graph else rows // batch
    tile = 128 if longest > 64 and g.v_head_dim < 256 else 64 if longest > 16 else 16
    tiles = -(-_GRID // g.num_heads)
    if problem.graph:
        tiles = max(tiles, -(-rows // tile) + batch - 1)
    size = int(1.25 * 4 * g.num_heads * tiles * tile * (g.v_head_dim + 1))
    return max(WORKSPACE, -(-size >> 20) << 20)


def plain_module_arguments(workload: MlaWorkload, path: str) -> dict[str, Any]:
    """Arguments of ``gen_batch_prefill_module``."""
    import torch

    g = workload.latent
    dtype: torch.dtype = getattr(torch, g.dtype)
    return {
        "backend": path,
        "dtype_q": dtype,
        "dtype_kv": dtype,
        "dtype_o": dtype,
        "dtype_idx": torch.int32,
        "head_dim_qk": g.head_dim,
        "head_dim_vo": g.v_head_dim,
        "pos_encoding_mode": 0,
        "use_sliding_window": False,
        "use_logits_soft_cap": False,
        "use_fp16_qk_reduction": False,
    }


def plain_module(workload: MlaWorkload, path: str) -> Module:
    """The prefill module of the plain form."""
    from flashinfer.jit.attention import gen_batch_prefill_module
    from flashinfer.jit.core import current_compilation_context

    g = workload.latent
    # As for attention's modules of the same generator.
    seconds, gigabytes = (600.0, 4.0) if path == "fa3" else (130.0, 0.6)
    return jit_module(
        gen_batch_prefill_module,
        plain_module_arguments(workload, path),
        current_compilation_context.TARGET_CUDA_ARCHS,
        label=f"{path} prefill {SHORT.get(g.dtype, g.dtype)} d{g.head_dim}/{g.v_head_dim}",
        seconds=seconds,
        jobs=10,
        gigabytes=gigabytes,
    )
