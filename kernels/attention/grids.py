"""Batch shapes of attention that stand for LLM serving. Why these: docs/models.md."""

from __future__ import annotations

from autotune_cli.kernels.attention.workload import AttentionOperation
from autotune_cli.kernels.base import DeviceKind
from autotune_cli.kernels.shapes import Grid, Shape


def _prefill(batch: int, new: int) -> Shape:
    return Shape(batch, new, new)


def _extend(batch: int, new: int, prefix: int) -> Shape:
    return Shape(batch, new + prefix, new)


def _verify(batch: int, drafts: int, prefix: int, topk: int) -> Shape:
    return Shape(batch, drafts + prefix, drafts, eagle_topk=topk)


def _cross(batch: int, new: int, keys: int) -> Shape:
    return Shape(batch, keys, new)


GPU_FULL: dict[AttentionOperation, Grid] = {
    "attention.decode": (
        Shape(1, 1024), Shape(1, 8192), Shape(1, 32768), Shape(1, 131072),
        Shape(8, 1024), Shape(8, 8192), Shape(8, 32768),
        Shape(64, 1024), Shape(64, 8192),
        Shape(128, 4096),
    ),
    "attention.prefill": (
        _prefill(1, 512), _prefill(16, 512), _prefill(4, 1024), _prefill(4, 4096), _prefill(1, 8192),
    ),
    "attention.extend": (
        _extend(1, 512, 1536), _extend(16, 256, 3840), _extend(4, 1024, 4096), _extend(1, 2048, 8192),
        _extend(8, 128, 2048),
    ),
    "attention.verify": (
        _verify(1, 8, 8192, 4), _verify(8, 8, 4096, 4), _verify(64, 8, 1024, 4), _verify(8, 64, 4096, 8),
        _verify(1, 4, 8192, 1), _verify(8, 4, 4096, 1), _verify(64, 4, 1024, 1),
    ),
    # An image of four tiles in Llama 3.2 Vision, half a minute of Whisper's audio.
    "attention.cross": (_cross(1, 512, 6404), _cross(4, 128, 6404), _cross(16, 64, 1500)),
}  # fmt: skip

# Layers with a window, beside full ones: a long context is what makes them differ, so a few long ones do.
GPU_WINDOW: dict[AttentionOperation, Grid] = {
    "attention.decode": (Shape(1, 8192), Shape(64, 8192), Shape(8, 32768)),
    "attention.prefill": (_prefill(1, 8192),),
    "attention.extend": (_extend(16, 256, 3840), _extend(4, 1024, 4096), _extend(1, 2048, 8192)),
    "attention.verify": (_verify(8, 8, 8192, 4), _verify(8, 4, 8192, 1)),
    "attention.cross": (),
}

# Small enough for two slow cores; a context of 256 is still over gpt-oss's window.
CPU: dict[AttentionOperation, Grid] = {
    "attention.decode": (Shape(1, 256), Shape(4, 512)),
    "attention.prefill": (_prefill(1, 128), _prefill(2, 256)),
    "attention.extend": (_extend(2, 64, 192),),
    "attention.verify": (_verify(2, 8, 248, 4), _verify(2, 4, 252, 1)),
    "attention.cross": (_cross(2, 16, 150),),
}


def grid_for(operation: AttentionOperation, device_kind: DeviceKind, beside_full: bool) -> Grid:
    """The grid of a layer kind; ``beside_full``: it is windowed, in a model that has full layers too."""
    if device_kind == "cpu":
        return CPU[operation]
    return (GPU_WINDOW if beside_full else GPU_FULL)[operation]
