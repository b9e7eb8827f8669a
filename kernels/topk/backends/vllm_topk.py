"""vLLM's selections of a decode step's sparse indexer: positions, which its attention transforms itself.

Read in vLLM's ``sparse_attn_indexer.py`` and the schemas of its operators (commit 006475f, 2026): it takes
``cooperative_topk`` for up to 32 rows from compute capability 9.0 on, else ``persistent_topk``, both for k 512, 1024
and 2048, and ``top_k_per_row_decode`` for any other k. Not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends._decode import not_float32

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

INSTALL = "pip install vllm"
KS = (512, 1024, 2048)
COOPERATIVE_ROWS = 32
# RADIX_TOPK_WORKSPACE_SIZE.
WORKSPACE_BYTES = 1 << 20


def _unsupported(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.k not in KS:
        return f"is compiled for k = {', '.join(map(str, KS))}, this is k = {workload.k}"
    return not_float32(workload)


def _unsupported_cooperative(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    if workload.rows > COOPERATIVE_ROWS:
        return f"takes at most {COOPERATIVE_ROWS} rows, these are {workload.rows}"
    if workload.width % 4:
        return "needs rows of a multiple of 16 bytes"
    if (device.capability or (0, 0)) < (9, 0) or (device.capability or (0, 0))[0] == 12:
        return "needs thread block clusters: compute capability 9.0 to 11.x"
    return _unsupported(workload, device, knobs)


def _unsupported_per_row(workload: TopkWorkload, device: Device, knobs: Mapping[str, Knob]) -> str | None:
    return not_float32(workload)


def _run(problem: TopkProblem, select: Callable[[torch.Tensor], None]) -> Callable[[], torch.Tensor]:
    """``select`` writes what it finds; the places behind that hold -1 before, as vLLM has it."""
    scores, k = problem.scores, problem.k

    def run() -> torch.Tensor:
        found = problem.lengths.new_full((scores.shape[0], k), -1)
        select(found)
        return found

    return run


def _operators() -> object:
    import torch
    import vllm._custom_ops  # noqa: F401  (registers them)

    return torch.ops._C


def _with_workspace(problem: TopkProblem, name: str) -> Callable[[], torch.Tensor]:
    import torch

    operator = getattr(_operators(), name)
    workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=problem.device)
    scores, lengths, k, width = problem.scores, problem.lengths, problem.k, problem.workload.width
    return _run(problem, lambda found: operator(scores, lengths, found, workspace, k, width))


@register("topk.select", name="vllm.persistent_topk", requires=("vllm",), install=INSTALL, unsupported=_unsupported)
def prepare_persistent(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    return _with_workspace(problem, "persistent_topk")


@register(
    "topk.select",
    name="vllm.cooperative_topk",
    requires=("vllm",),
    install=INSTALL,
    unsupported=_unsupported_cooperative,
)
def prepare_cooperative(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """vLLM may be built without it."""
    return _with_workspace(problem, "cooperative_topk")


@register(
    "topk.select",
    name="vllm.top_k_per_row_decode",
    requires=("vllm",),
    install=INSTALL,
    unsupported=_unsupported_per_row,
)
def prepare_per_row(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    operator = _operators().top_k_per_row_decode  # type: ignore[attr-defined]
    scores, lengths, k = problem.scores, problem.lengths, problem.k
    rows, strides = scores.shape[0], scores.stride()
    # One token of each request.
    return _run(problem, lambda found: operator(scores, 1, lengths, found, rows, *strides, k))
