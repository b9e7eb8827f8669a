"""What sgl_kernel's selections have in common: what they can't do. Registers no backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.kernels.registry import Device, Knob
    from autotune_cli.kernels.topk.workload import TopkWorkload

# Asserted in sgl_kernel/top_k.py.
ONLY_K = 2048


def unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    """Why none of them takes the workload, or None."""
    if workload.dtype != "float32":
        return f"takes float32 scores only, these are {workload.dtype}"
    return None if workload.k == ONLY_K else f"is compiled for k = {ONLY_K} only, this is k = {workload.k}"
