"""Two ``torch.topk`` in a row: the best of each chunk, then the best of those. Spreads few long rows over the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from autotune_cli.kernels.registry import Device, Knob, register
from autotune_cli.kernels.topk.backends._select import as_select

if TYPE_CHECKING:
    import torch

    from autotune_cli.kernels.topk.problem import TopkProblem
    from autotune_cli.kernels.topk.workload import TopkWorkload

CHUNKS = (4096, 8192, 16384, 32768)


def _knobs(workload: TopkWorkload, device: Device) -> Iterator[Mapping[str, Knob]]:
    """Chunks that leave something out (longer than k) and of which there are several."""
    return ({"chunk": chunk} for chunk in CHUNKS if workload.k < chunk < workload.width)


@register("topk.select", name="torch.two_stage", knobs=_knobs, requires=("torch",), devices=("cuda", "cpu"))
def prepare(problem: TopkProblem, chunk: int) -> Callable[[], torch.Tensor]:
    import torch

    k, width = problem.k, problem.workload.width
    whole = width // chunk * chunk

    def pick(scores: torch.Tensor) -> torch.Tensor:
        # A view: the tail that fills no chunk is handled apart, rather than copying all scores to pad them.
        chunks = scores[:, :whole].view(scores.shape[0], -1, chunk).topk(k, dim=2, sorted=False)
        values, positions = chunks.values.flatten(1), chunks.indices.flatten(1)
        if whole < width:
            tail = scores[:, whole:].topk(min(k, width - whole), dim=1, sorted=False)
            values, positions = torch.cat((values, tail.values), 1), torch.cat((positions, tail.indices), 1)
        # Survivors lie k to a chunk, so a survivor's number tells its chunk; the tail's k or fewer come last.
        chosen = values.topk(k, dim=1, sorted=False).indices
        indices: torch.Tensor = positions.gather(1, chosen) + chosen // k * chunk
        return indices

    return as_select(problem, pick)
