"""From a library's plain top-k to ``topk.select``: obey lengths, pad with -1, return int32. Registers no backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem


def as_select(
    problem: TopkProblem,
    pick: Callable[[torch.Tensor], torch.Tensor],
    *,
    first_of_equals: bool = False,
    descending: bool = False,
) -> Callable[[], torch.Tensor]:
    """A run of ``topk.select`` around ``pick``.

    ``pick`` takes float32 [rows, width] and returns integer indices [rows, min(k, width)] of the largest scores.
    ``first_of_equals``: among equal scores it prefers smaller indices. ``descending``: its order is that of the scores.

    Where lengths are known on the GPU only, scores past them are set to -inf. A real -inf would tie with those, and
    the library might take a masked one. So every score first moves one float towards zero (-inf becomes the lowest
    finite number), which leaves their order as it is; the only scores that become equal are 0 and +-1.4e-45, the
    smallest number there is. A ``pick`` that takes the first of equals needs no such move.
    """
    import torch

    scores, k, width = problem.scores, problem.k, problem.workload.width
    beyond = max(0, k - width)

    def finish(indices: torch.Tensor) -> torch.Tensor:
        narrow = indices.to(torch.int32)
        return torch.nn.functional.pad(narrow, (0, beyond), value=-1) if beyond else narrow

    if problem.full:
        return lambda: finish(pick(scores))

    # Tensors, not Python numbers: torch.where would make a tensor of those on every call, one more kernel each.
    device = scores.device
    lengths = problem.lengths[:, None]
    position = torch.arange(width, dtype=torch.int32, device=device)
    kept = min(k, width)
    masked_score = torch.full((), -torch.inf, dtype=scores.dtype, device=device)
    unused = torch.full((), -1, dtype=torch.int32, device=device)
    zero = torch.zeros((), dtype=scores.dtype, device=device)

    def run() -> torch.Tensor:
        valid = position < lengths
        movable = scores if first_of_equals else torch.nextafter(scores, zero)
        indices = pick(torch.where(valid, movable, masked_score)).to(torch.int32)
        if not descending:
            # A row shorter than k has no choice: all its positions. Otherwise -1 could stand before an index.
            indices = torch.where(valid[:, kept - 1 : kept], indices, position[:kept])
        # In the first `length` columns of what is now sorted or complete there are valid indices only.
        return finish(torch.where(valid[:, :kept], indices, unused))

    return run
