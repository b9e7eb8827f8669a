"""What the FlashAttention-3 backends of latent attention share: what sgl_kernel's kernels can compute. No torch here.

sglang-kernel 0.4.5 and 0.4.10, which hold the same kernels. Rules marked [S] were read in the C++ sources of
sgl-project/sgl-attn (``hopper/``).
"""

from __future__ import annotations

from autotune_cli.kernels.base import DType
from autotune_cli.kernels.geometry import LatentGeometry
from autotune_cli.kernels.mla.workload import MlaWorkload
from autotune_cli.kernels.registry import Device

REQUIRES = ("sgl_kernel",)
INSTALL = "pip install 'kernel-autotune[cuda]'"
HALF: tuple[DType, ...] = ("bfloat16", "float16")
# Queries times keys 64 wide, queries times values 512 wide (``qv``); 16-bit kernels only, by the names in the library.
ABSORBED = (64, 512)
# Keys and values, before the absorption. Unlike widths are Hopper's.
PLAIN = ((64, 64), (96, 96), (128, 128), (192, 128), (192, 192), (256, 256))
# Rows and keys of a tile of the absorbed form (tile_size.h [S]).
TILE = 64
# Splits that may be asked for. 0: the library's choice; 1: none.
SPLITS = (2, 3, 4, 8, 16, 32)
# Blocks beyond this many to a multiprocessor are work enough without splits.
_FULL = 4


def why_not(geometry: LatentGeometry, device: Device) -> str | None:
    """Why FlashAttention-3 can't compute latent attention, in either form, or None."""
    major, minor = device.capability or (0, 0)
    if major != 9:
        return f"FlashAttention-3 has latent attention for compute capability 9.0 only, this is {major}.{minor}"
    if geometry.dtype not in HALF:
        return f"FlashAttention-3 has latent attention for bfloat16 and float16, not {geometry.dtype}"
    return None


def why_not_absorbed(workload: MlaWorkload, device: Device) -> str | None:
    """Why the call with ``qv`` can't compute the workload, or None."""
    g = workload.latent
    if (g.qk_rope_head_dim, g.kv_lora_rank) != ABSORBED:
        found = f"{g.qk_rope_head_dim} and {g.kv_lora_rank}"
        return f"FlashAttention-3 is compiled for a rotated part of 64 and a latent part of 512, not {found}"
    if g.cache_dtype != g.dtype:
        return f"FlashAttention-3 takes queries and cache of one dtype, not {g.dtype} and {g.cache_dtype}"
    return why_not(g, device)


def tiles(workload: MlaWorkload) -> int:
    """Output tiles of a batch: all heads share the one cached vector, so their rows are packed."""
    return sum(-(-new * workload.latent.num_heads // TILE) for new in workload.lengths.qo)


def splits(workload: MlaWorkload, device: Device) -> list[int]:
    """Fixed splits of the keys worth trying: a block of keys for each, and not more parts than the GPU can use."""
    blocks = -(-max(workload.lengths.kv) // TILE)
    most = _FULL * (device.multiprocessors or 132)
    return [count for count in SPLITS if count <= blocks and tiles(workload) * count <= most]


def why_not_plain(workload: MlaWorkload, device: Device) -> str | None:
    """Why the call over keys and values can't compute the workload, or None."""
    g = workload.latent
    if (g.head_dim, g.v_head_dim) not in PLAIN:
        return f"FlashAttention-3 isn't compiled for keys of {g.head_dim} and values of {g.v_head_dim}"
    return why_not(g, device)
