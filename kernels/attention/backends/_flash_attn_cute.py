"""What the FlashAttention-4 backends share: which workloads they take, the call's arguments, compiling ahead.

Package flash-attn-4, from 4.0.0b18 on. Rules marked [S] were read in the source of 4.0.0b36; the call and the rules for
compute capabilities are those of 4.0.0b18 too. No import of torch or FlashAttention here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from autotune_cli.kernels.attention.workload import AttentionWorkload, Lengths
from autotune_cli.kernels.base import DType
from autotune_cli.kernels.geometry import Geometry
from autotune_cli.kernels.registry import Device

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.attention.problem import AttentionProblem

# A flash-attn 2 has a package flash_attn too, some of its releases an early flash_attn.cute. A module of the cute
# package that only flash-attn-4 has tells them apart; the others are what it needs and a --no-deps install lacks.
REQUIRES = ("flash_attn.cute.cache_utils", "cutlass.cute", "quack.compile_utils", "tvm_ffi")
# Without --pre, which would bring pre-releases of all that it needs; a bound that is one lets pip take its own.
INSTALL = "pip install 'flash-attn-4>=4.0.0b18'"
HALF: tuple[DType, ...] = ("bfloat16", "float16")
# 16 bytes of a 16-bit type: rows must start where a vector load may.
_ALIGNMENT = 8


def why_not(workload: AttentionWorkload, device: Device, *, paged: bool) -> str | None:
    """Why FA4 can't compute the workload with its keys in pages or (prefill) as they come from the layer, or None."""
    g = workload.geometry
    if g.dtype not in HALF:
        return f"FA4 takes bfloat16 or float16, not {g.dtype}"
    if paged and g.cache_dtype != g.dtype:
        # One dtype for q, k and v [S]; FP8 for all three is for compute capability 10.x only [S].
        return f"FA4 wants the cache in the queries' dtype, {g.dtype}, not {g.cache_dtype}"
    major, minor = device.capability or (0, 0)
    if major not in (8, 9, 10, 11, 12):
        return f"FA4 is for compute capability 8.0 to 12.x, this is {major}.{minor}"
    if paged and major in (8, 12):
        return f"FA4 has no paged KV on compute capability {major}.x"
    return _why_not_head_dim(g.head_dim, major)


def _why_not_head_dim(head_dim: int, major: int) -> str | None:
    """``_validate_head_dims`` [S], for keys and values of one head dim."""
    most = 256 if major == 9 else 128
    fits = 8 <= head_dim <= most or (major in (10, 11) and head_dim == 256)
    if fits and head_dim % _ALIGNMENT == 0:
        return None
    # For 8.x and 12.x the source states no limit; beyond 128 their tiles outgrow the shared memory of most cards.
    allowed = f"up to {most} in steps of {_ALIGNMENT}" + (", and 256" if major in (10, 11) else "")
    return f"FA4 on compute capability {major}.x takes head dims {allowed}, not {head_dim}"


def tile_keys(geometry: Geometry, device: Device) -> int:
    """Keys in a tile (``_tile_size_fwd_sm90`` and ``FwdConfig`` [S]): pages of this size come by TMA, others by gather.

    For a causal mask or a window, which all our calls have.
    """
    if (device.capability or (0, 0))[0] != 9 or geometry.head_dim <= 128:
        return 128
    local = geometry.window_left is not None
    if geometry.head_dim <= 192:
        return 96 if local else 112
    return 64 if local else 80


def pack_choices(geometry: Geometry) -> tuple[bool | None, ...]:
    """Values of ``pack_gqa`` that differ: None packs the queries of a KV head into one tile when there are several."""
    return (None,) if geometry.group == 1 else (None, False)


def layer_arguments(geometry: Geometry, lengths: Lengths) -> dict[str, Any]:
    """Arguments of ``flash_attn_varlen_func`` that are no tensors.

    The bounds on lengths are what the host knows of the batch; without them FA4 plans for the whole page table.
    """
    return {
        "max_seqlen_q": max(lengths.qo),
        "max_seqlen_k": max(lengths.kv),
        "softmax_scale": geometry.scale,
        "causal": True,
        "window_size": (None, None) if geometry.window_left is None else (geometry.window_left, 0),
        "softcap": geometry.softcap or 0.0,
    }


def sinks_of(problem: AttentionProblem) -> torch.Tensor | None:
    """[query heads] bfloat16, which holds a problem's sinks exactly, or None."""
    import torch

    return None if problem.sinks is None else problem.sinks.to(torch.bfloat16)


def runner(arguments: dict[str, Any]) -> Callable[[], torch.Tensor]:
    """A launch. The call allocates its output, with no way to hand one in, and returns it with a log-sum-exp or None.

    It reads no tensor on the host and waits for nothing [S], so it may be captured.
    """
    from flash_attn.cute import flash_attn_varlen_func

    def run() -> torch.Tensor:
        result = flash_attn_varlen_func(**arguments)
        out: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return out

    return run


def compile_ahead(calls: Callable[[], Iterable[dict[str, Any]]]) -> None:
    """Compile what calls with these arguments will launch, without tensors behind them: seconds for a new kernel.

    ``calls`` makes the arguments; what it makes are fake tensors, which have a shape, a dtype and no memory. FA4
    compiles for those without a launch, as its own tests do, and keeps the kernel in the process under a key of dtype,
    head dim, group, mask, softcap, tiles, page size equal to the tile or not, splits or none, packing, and whether the
    longest query fills more than one tile [S]. So the arguments must be those of the launches to come, lengths as well.
    """
    from flash_attn.cute import flash_attn_varlen_func
    from torch._subclasses.fake_tensor import FakeTensorMode

    with warnings.catch_warnings(), FakeTensorMode():
        # Fake tensors warn that nobody should ask for their address.
        warnings.simplefilter("ignore")
        for arguments in calls():
            flash_attn_varlen_func(**arguments)
