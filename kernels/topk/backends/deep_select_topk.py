"""DeepSeek's DeepSelect: the package of that name, and the copy that SGLang compiles (vendored in 0.5.23).

Read in ``deep_select`` 1.0.0 (``interface.py``) and SGLang 0.5.23 (``kernels/ops/attention/deep_select.py``). It is
made for bfloat16 scores of an indexer and float32 ones of a sampler. A row of which fewer than k scores count is filled
up with what it is told to. SGLang's copy has run on an H100: infinite scores make it return what is no index.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.base import BYTES
from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends._decode import not_a_decode_step, too_many

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

SGLANGS = "sglang.kernels.ops.attention.deep_select"
MOST = 4096
# Of a row of scores; get_stride_requirement() needs its compiled module, SGLang has it as a constant.
STRIDE_BYTES = 128
# SUPPORTED_CUDA_ARCHS of SGLang's copy.
CAPABILITIES = ((9, 0), (10, 0), (10, 3))
_SORTED = {"sorted_index": (False, True)}


def _unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if device.capability not in CAPABILITIES:
        return "needs compute capability " + ", ".join(f"{major}.{minor}" for major, minor in CAPABILITIES)
    if workload.dtype not in ("float32", "bfloat16"):
        return f"takes float32 and bfloat16 scores, these are {workload.dtype}"
    if workload.width * BYTES[workload.dtype] % STRIDE_BYTES:
        return f"needs rows of a multiple of {STRIDE_BYTES} bytes"
    return too_many(workload, MOST) or not_a_decode_step(workload)


@register(
    "topk.select",
    name="deep_select.topk",
    knobs=_SORTED,
    requires=("deep_select",),
    install="pip install tokenspeed-deepselect",
    unsupported=_unsupported,
)
def prepare_select(problem: TopkProblem, sorted_index: bool) -> Callable[[], torch.Tensor]:
    """``sorted_index`` sorts the indices, at a cost."""
    return _select(problem, importlib.import_module("deep_select"), sorted_index)


@register(
    "topk.select",
    name="sglang.deep_select",
    knobs=_SORTED,
    requires=(f"{SGLANGS}:topk",),
    install="pip install sglang",
    unsupported=_unsupported,
)
def prepare_sglangs(problem: TopkProblem, sorted_index: bool) -> Callable[[], torch.Tensor]:
    return _select(problem, importlib.import_module(SGLANGS), sorted_index)


def _select(problem: TopkProblem, library: object, sorted_index: bool) -> Callable[[], torch.Tensor]:
    import torch

    topk = library.topk  # type: ignore[attr-defined]
    scores, lengths, k = problem.scores, problem.lengths, problem.k
    end = None if problem.full else lengths

    def run() -> torch.Tensor:
        _, found = topk(
            scores,
            k,
            end=end,
            indices_type=torch.int32,
            sorted_index=sorted_index,
            idx_oob_fill_value=-1,
            return_value=False,
            abort_when_nan_found=False,
        )
        # Its rows are padded to 32 bytes.
        indices: torch.Tensor = found.contiguous()
        return indices

    return run


@register(
    "topk.paged",
    name="sglang.deep_select_page_transform",
    knobs=_SORTED,
    requires=(f"{SGLANGS}:topk_page_transform",),
    install="pip install sglang",
    unsupported=_unsupported,
)
def prepare_paged(problem: TopkProblem, sorted_index: bool) -> Callable[[], torch.Tensor]:
    transform = importlib.import_module(SGLANGS).topk_page_transform
    layout = problem.layout
    assert layout is not None
    scores, lengths, k, page = problem.scores, problem.lengths, problem.k, problem.workload.page_size
    table = layout.page_table

    def run() -> torch.Tensor:
        slots: torch.Tensor = transform(
            scores, k, page_table=table, page_size=page, end=lengths, sorted_index=sorted_index
        ).contiguous()
        return slots

    return run
