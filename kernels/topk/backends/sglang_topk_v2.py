"""SGLang's JIT top-k (v2): what its decode steps run by default from 0.5.16 on, and its ragged extends from 0.5.23 on.

Read in 0.5.16 (``jit_kernel/dsv4/topk.py``) and 0.5.23 (``kernels/ops/attention/dsv4/topk.py``,
``dsa_topk_backend.py`` and ``topk_v2.cuh``). The plan of a batch's lengths is made once a forward pass, for all layers,
so it is no part of a run. The kernels of both versions, compiled without the rest of SGLang, have run on an H100.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, Prepared, register
from autotune_cli.kernels.topk.backends._decode import not_a_decode_step, not_float32, too_many

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

INSTALL = "pip install sglang"
FIRST, NOW = "sglang.jit_kernel.dsv4.topk", "sglang.kernels.ops.attention.dsv4.topk"
"""Modules of 0.5.16 and of 0.5.23."""
# kMaxTopK of topk_v2.cuh, and the scores that it reads at once (16 bytes).
MOST = 2048
VECTOR = 4


def unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    """Why none of them takes the workload, or None."""
    if workload.width % VECTOR:
        return f"reads {VECTOR} scores at once, and rows of {workload.width} don't begin at multiples of it"
    return not_float32(workload) or too_many(workload, MOST)


def _unsupported_paged(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return unsupported(workload, device, knobs) or not_a_decode_step(workload)


def _unsupported_ragged(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.packed and workload.keys % VECTOR:
        return f"overwrites scores before a window that begins at no multiple of {VECTOR}"
    return unsupported(workload, device, knobs)


def compile_all(module: str) -> Callable[..., None]:
    """``build``: planning a batch compiles all kernels."""

    def build(workload: TopkWorkload, **knobs: Knob) -> None:
        import torch

        importlib.import_module(module).plan_topk_v2(torch.ones(1, dtype=torch.int32, device="cuda"))

    return build


@register(
    "topk.select",
    "topk.paged",
    name="sglang.topk_transform_paged_v2",
    requires=(f"{NOW}:topk_transform_paged_v2",),
    install=INSTALL,
    unsupported=_unsupported_paged,
    build=compile_all(NOW),
)
def prepare_paged(problem: TopkProblem) -> Prepared:
    """Without a page table it returns positions: SGLang itself has no such call for DeepSeek sparse attention."""
    return _prepare_paged(problem, NOW, "topk_transform_paged_v2")


@register(
    "topk.paged",
    name="sglang.topk_transform_512_v2",
    requires=(f"{FIRST}:topk_transform_512_v2",),
    install="pip install sglang==0.5.16",
    unsupported=_unsupported_paged,
    build=compile_all(FIRST),
)
def prepare_paged_first(problem: TopkProblem) -> Prepared:
    """The same under the name that it has in 0.5.16."""
    return _prepare_paged(problem, FIRST, "topk_transform_512_v2")


def _prepare_paged(problem: TopkProblem, module: str, name: str) -> Prepared:
    sglang = importlib.import_module(module)
    transform = getattr(sglang, name)
    scores, lengths, k, page = problem.scores, problem.lengths, problem.k, problem.workload.page_size
    table = None if problem.layout is None else problem.layout.page_table
    plan: torch.Tensor = sglang.plan_topk_v2(lengths)

    def refresh() -> None:
        # As SGLang does before a replay: the captured kernel reads it where it lies.
        plan.copy_(sglang.plan_topk_v2(lengths))

    def run() -> torch.Tensor:
        found = lengths.new_empty((scores.shape[0], k))
        transform(scores, lengths, table, found, page, plan)
        return found

    return Prepared(run, refresh)


@register(
    "topk.ragged",
    name="sglang.topk_transform_ragged_v2",
    requires=(f"{NOW}:topk_transform_ragged_v2",),
    install=INSTALL,
    unsupported=_unsupported_ragged,
    build=compile_all(NOW),
)
def prepare_ragged(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """It needs no plan. Where a window begins at no multiple of 16 bytes it overwrites the scores before it, which
    SGLang reads no more.
    """
    transform = importlib.import_module(NOW).topk_transform_ragged_v2
    layout = problem.layout
    assert layout is not None
    scores, lengths, k = problem.scores, problem.lengths, problem.k
    offsets, starts = layout.topk_indices_offset, layout.row_starts

    def run() -> torch.Tensor:
        found = lengths.new_empty((scores.shape[0], k))
        transform(scores, lengths, out_offsets=offsets, out_indices=found, row_starts=starts)
        return found

    return run
