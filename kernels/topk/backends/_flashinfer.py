"""What FlashInfer's top-k functions have in common: their knobs and how they are set and registered. Registers none.

Rules read in 0.6.18.post1 (``flashinfer/topk.py``, ``data/include/flashinfer/topk.cuh``): ``ShouldUseFilteredTopK``
takes the filtered kernel for tie-breaking and graph safety before it looks at ``FLASHINFER_TOPK_ALGO``, and the
multi-CTA radix kernel, whatever the variable says, where the filtered one doesn't fit.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autotune_cli.kernels.flashinfer_jit import jit_module
from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import Decorator, Knob, WhyNot, register

if TYPE_CHECKING:
    from autotune_cli.kernels.registry import Device
    from autotune_cli.kernels.topk.workload import TopkWorkload

VARIABLE = "FLASHINFER_TOPK_ALGO"
ALGORITHMS = ("auto", "filtered", "multi_cta")
TIE_BREAKS = {"none": 0, "small": 1, "large": 2}
"""flashinfer.TopKTieBreak"""
# Each runs what the algorithm without it runs, and more after it.
PROMISES: dict[str, Knob] = {"deterministic": False, "tie_break": "none"}
# FILTERED_TOPK_MAX_K and FILTERED_TOPK_SMEM_DYNAMIC.
FILTERED_MAX_K = 2048
FILTERED_SHARED_KIB = 128
# Shared memory of a multiprocessor, KiB (CUDA programming guide, technical specifications by compute capability).
SHARED_KIB = {(7, 5): 64, (8, 6): 100, (8, 9): 100, (12, 0): 100, (12, 1): 100}


def backend(operation: str, name: str, unsupported: WhyNot | None = None) -> Decorator:
    """Register a function of FlashInfer's, which takes all of the knobs.

    Args:
        unsupported: in place of what all of them have in common.
    """
    return register(
        operation,
        name=name,
        knobs=knobs,
        requires=("flashinfer",),
        install="pip install 'kernel-autotune[cuda]'",
        unsupported=unsupported or why_not,
        modules=modules,
        launch_knobs=("algorithm",),
        promises=PROMISES,
        forget=forget_buffers,
    )


def knobs(workload: TopkWorkload, device: Device) -> Iterator[Mapping[str, Knob]]:
    """Settings that differ in what they run or promise.

    ``deterministic`` fixes the order of the output, ``tie_break`` which of equal scores are taken, ``dsa_graph_safe``
    (what SGLang's flashinfer backend sets) that the kernel doesn't depend on the longest length. The last two
    ignore the algorithm.
    """
    for deterministic in (False, True):
        order: dict[str, Knob] = {"deterministic": True} if deterministic else {}
        for algorithm in ALGORITHMS:
            yield {"algorithm": algorithm, **order}
        for tie_break, graph_safe in itertools.product(TIE_BREAKS, (False, True)):
            ties: dict[str, Knob] = {} if tie_break == "none" else {"tie_break": tie_break}
            if ties or graph_safe:
                yield {"algorithm": "auto", **order, **ties, **({"dsa_graph_safe": True} if graph_safe else {})}


def why_not(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    """Why FlashInfer refuses these knobs, or would silently run another algorithm."""
    forced = next((name for name in ("tie_break", "dsa_graph_safe") if knobs.get(name)), None)
    if forced is None and knobs.get("algorithm") != "filtered":
        return None
    name = f"{forced} runs the filtered algorithm, which" if forced else "the filtered algorithm"
    if workload.k > FILTERED_MAX_K:
        return f"{name} needs k <= {FILTERED_MAX_K}, this is k = {workload.k}"
    shared = SHARED_KIB.get(device.capability or (0, 0), FILTERED_SHARED_KIB)
    if shared < FILTERED_SHARED_KIB:
        return f"{name} needs {FILTERED_SHARED_KIB} KiB of shared memory, {device.name} has {shared}"
    if forced is None and workload.width <= workload.k:
        return f"{name} needs rows longer than k; FlashInfer runs multi_cta on {workload.width} scores"
    return None


def why_no_page_table(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    """The same of ``top_k_page_table_transform``, whose multi-CTA kernel is not to be relied upon.

    The memory checker on an H100, FlashInfer 0.6.18.post1, 16 x 65536: now and then RadixTopKKernel_Unified takes
    entries twice or from beyond the row, and reads the page table there. Without the checker two of some ten processes
    that shared a GPU with others were ended by that; docs/engines.md has the conditions. With a fixed order, which is
    another kernel, it was right throughout.
    """
    reason = why_not(workload, device, knobs)
    if reason is None and not knobs.get("deterministic") and _is_multi_cta(workload, device, knobs):
        return "FlashInfer's multi-CTA kernel reads beyond the page table now and then (seen in 0.6.18)"
    return reason


def _is_multi_cta(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> bool:
    """Does it select there, where the order isn't fixed? ``ShouldUseFilteredTopK`` of 0.6.18.post1."""
    if workload.width <= workload.k:
        return False  # all of a row is taken
    algorithm = knobs.get("algorithm", "auto")
    if algorithm != "auto" or any(knobs.get(name) for name in ("tie_break", "dsa_graph_safe")):
        return algorithm == "multi_cta"
    shared = SHARED_KIB.get(device.capability or (0, 0), FILTERED_SHARED_KIB)
    if shared < FILTERED_SHARED_KIB or workload.k > FILTERED_MAX_K:
        return True
    if workload.dtype != "float32":
        return workload.width > 16384
    return workload.width > 32768 and workload.rows <= workload.width // 16384


@contextmanager
def chosen(algorithm: str) -> Iterator[None]:
    """FlashInfer sees ``algorithm`` within, whatever the user's environment says; it reads it on every call."""
    before = os.environ.pop(VARIABLE, None)
    if algorithm != "auto":
        os.environ[VARIABLE] = algorithm
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def forget_buffers() -> None:
    """Drop what FlashInfer keeps from call to call (``_cache_buf`` of flashinfer/utils.py): the radix kernel's state.

    H200, 1 x 262144: 42.1 to 44.0 us by where that state lies.
    """
    from flashinfer import utils

    getattr(utils, "_cache_buf", {}).clear()


def modules(workload: TopkWorkload, **knobs: Knob) -> list[Module]:
    """The one that holds every top-k kernel. Of its three files one takes nearly all of the 207 s that it takes."""
    from flashinfer.jit.core import current_compilation_context
    from flashinfer.jit.topk import gen_topk_module

    architectures = current_compilation_context.TARGET_CUDA_ARCHS
    return [jit_module(gen_topk_module, {}, architectures, label="top-k", seconds=215.0, jobs=2, gigabytes=2.0)]
