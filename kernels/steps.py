"""Steps of a server, as a live profile asks a family for them: the layers that one runs. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.kernels.geometry import Geometry, LatentGeometry
from autotune_cli.kernels.workload import AnyWorkload


@dataclass(frozen=True)
class StepRequest:
    """What a step is made from, beside the model; None: not given."""

    mode: str
    """Forward mode: one of the family's ``step_modes``."""
    geometries: tuple[Geometry, ...] = ()
    """Of the model's kinds of attention layers on one GPU, in their order."""
    latent: LatentGeometry | None = None
    """Of the model's layers of latent attention on one GPU, if it has such."""
    prefix: bool = True
    """Does any request have cached keys?"""
    batch: int | None = None
    new: int | None = None
    """New tokens of the longest request."""
    context: int | None = None
    """Keys of the longest request, new ones included."""
    eagle_topk: int | None = None
    """Most drafts of a level of the trees that are verified, 1: chains. None: no trees."""
    seed: int = 0


@dataclass(frozen=True)
class StepLayer:
    """A kind of layer in a step: its workload, and what that doesn't tell of the batch. Plain data without tensors."""

    workload: AnyWorkload
    lengths: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """New tokens and keys in all of each request; None: the workload's own, or there are none."""
    trees: tuple[tuple[int, ...], ...] | None = None
    """Of each request, where its new tokens are drafts of a tree: the parent of each draft."""

    @property
    def new_tokens(self) -> int:
        """New tokens of all requests; 0 where the step has none."""
        return sum(self.lengths[0]) if self.lengths else 0
