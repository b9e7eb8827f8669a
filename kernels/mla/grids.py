"""Batch shapes of latent attention that stand for LLM serving. Why these: docs/models.md."""

from __future__ import annotations

from autotune_cli.kernels.base import DeviceKind
from autotune_cli.kernels.mla.workload import MlaOperation
from autotune_cli.kernels.shapes import Grid, Shape


def _prefill(batch: int, new: int) -> Shape:
    return Shape(batch, new, new)


def _extend(batch: int, new: int, prefix: int) -> Shape:
    return Shape(batch, new + prefix, new)


GRIDS: dict[DeviceKind, dict[MlaOperation, Grid]] = {
    "cuda": {
        "attention.mla_decode": (
            Shape(1, 1024), Shape(1, 8192), Shape(1, 32768), Shape(1, 131072),
            Shape(16, 1024), Shape(16, 8192),
            Shape(64, 1024), Shape(64, 8192),
            Shape(128, 4096),
        ),
        # On a prefix of 8192 tokens and more in all, as in the last one, SGLang projects keys and values up too.
        "attention.mla_prefill": (_prefill(1, 1024), _prefill(8, 512), _prefill(1, 8192), _extend(4, 1024, 4096)),
        "attention.mla_sparse_decode": (
            Shape(1, 8192), Shape(1, 131072), Shape(16, 8192), Shape(64, 8192), Shape(64, 32768),
        ),
        # Below that it extends absorbed.
        "attention.mla_extend": (_extend(1, 512, 1536), _extend(8, 128, 896), _extend(4, 256, 1792)),
    },
    # Small enough for two slow cores.
    "cpu": {
        "attention.mla_decode": (Shape(1, 256), Shape(4, 256)),
        "attention.mla_sparse_decode": (Shape(2, 1024),),
        "attention.mla_prefill": (_prefill(2, 64),),
        "attention.mla_extend": (_extend(2, 16, 112),),
    },
}  # fmt: skip
