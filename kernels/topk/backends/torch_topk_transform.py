"""``torch.topk`` and the transform after it, unfused: our reference of ``topk.paged`` and ``topk.ragged``.

SGLang's ``--dsa-topk-backend torch`` has no fused path: it raises unless ``SGLANG_DSA_FUSE_TOPK`` is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import register
from autotune_cli.kernels.topk.backends._transform import transform, windows

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


@register("topk.paged", "topk.ragged", name="torch.topk_transform", requires=("torch",), devices=("cuda", "cpu"))
def prepare(problem: TopkProblem) -> Callable[[], torch.Tensor]:
    """Scores outside of a row's window are -inf to ``torch.topk``. Real ones first move one float towards zero, so that
    a real -inf comes before those; see :func:`autotune_cli.kernels.topk.backends._select.as_select`.
    """
    import torch

    k, keys = problem.k, problem.workload.keys
    kept, beyond = min(k, keys), max(0, k - keys)
    scores, to_output = windows(problem), transform(problem)
    device, dtype = problem.scores.device, problem.scores.dtype
    position = torch.arange(keys, dtype=torch.int32, device=device)
    lengths = problem.lengths[:, None]
    masked = torch.full((), -torch.inf, dtype=dtype, device=device)
    zero = torch.zeros((), dtype=dtype, device=device)
    unused = torch.full((), -1, dtype=torch.int32, device=device)

    def run() -> torch.Tensor:
        valid = position < lengths
        movable = torch.where(valid, torch.nextafter(scores(), zero), masked)
        best = torch.topk(movable, kept, dim=1).indices.to(torch.int32)
        # Sorted: in the first `length` columns there are valid positions only.
        positions = torch.where(valid[:, :kept], best, unused)
        if beyond:
            positions = torch.nn.functional.pad(positions, (0, beyond), value=-1)
        return to_output(positions)

    return run
