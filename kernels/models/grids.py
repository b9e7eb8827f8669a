"""Batch shapes that stand for LLM serving. Why these: docs/models.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from autotune_cli.kernels.workload import Spread

DeviceKind = Literal["cuda", "cpu"]


class Shape(NamedTuple):
    """``batch`` requests of up to ``context`` keys in all, ``new`` of them new; in a top-k, rows x width."""

    batch: int
    context: int
    new: int = 1
    spread: Spread = "uneven"


@dataclass(frozen=True)
class Grid:
    """Shapes of each operation."""

    decode: tuple[Shape, ...]
    prefill: tuple[Shape, ...]
    extend: tuple[Shape, ...]
    topk: tuple[Shape, ...] = ()

    def of(self, operation: str) -> tuple[Shape, ...]:
        """The shapes of ``attention.decode``, ``topk.select`` ..."""
        family, _, what = operation.partition(".")
        shapes: tuple[Shape, ...] = getattr(self, family if family == "topk" else what)
        return shapes


def _prefill(batch: int, new: int) -> Shape:
    return Shape(batch, new, new)


def _extend(batch: int, new: int, prefix: int) -> Shape:
    return Shape(batch, new + prefix, new)


def _topk(rows: int, width: int, spread: Spread = "even") -> Shape:
    return Shape(rows, width, spread=spread)


GPU_FULL = Grid(
    decode=(
        Shape(1, 1024), Shape(1, 8192), Shape(1, 32768), Shape(1, 131072),
        Shape(8, 1024), Shape(8, 8192), Shape(8, 32768),
        Shape(64, 1024), Shape(64, 8192),
        Shape(128, 4096),
    ),
    prefill=(_prefill(1, 512), _prefill(16, 512), _prefill(4, 1024), _prefill(4, 4096), _prefill(1, 8192)),
    extend=(
        _extend(1, 512, 1536), _extend(16, 256, 3840), _extend(4, 1024, 4096), _extend(1, 2048, 8192),
        _extend(8, 128, 2048),
    ),
    topk=(
        _topk(1, 16384), _topk(1, 131072), _topk(1, 262144),
        _topk(16, 65536), _topk(16, 262144),
        _topk(64, 65536), _topk(64, 65536, "uneven"), _topk(64, 131072),
        _topk(256, 16384), _topk(256, 65536),
        _topk(1024, 16384),
    ),
)  # fmt: skip

# Layers with a window, beside full ones: a long context is what makes them differ, so a few long ones do.
GPU_WINDOW = Grid(
    decode=(Shape(1, 8192), Shape(64, 8192), Shape(8, 32768)),
    prefill=(_prefill(1, 8192),),
    extend=(_extend(16, 256, 3840), _extend(4, 1024, 4096), _extend(1, 2048, 8192)),
)

# Small enough for two slow cores; a context of 256 is still over gpt-oss's window.
CPU = Grid(
    decode=(Shape(1, 256), Shape(4, 512)),
    prefill=(_prefill(1, 128), _prefill(2, 256)),
    extend=(_extend(2, 64, 192),),
    topk=(_topk(4, 16384), _topk(1, 65536)),
)


def grid_for(device_kind: DeviceKind, beside_full: bool) -> Grid:
    """The grid of a layer kind; ``beside_full``: it is windowed, in a model that has full layers too."""
    if device_kind == "cpu":
        return CPU
    return GPU_WINDOW if beside_full else GPU_FULL
