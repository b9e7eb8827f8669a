"""What problems of both forms of latent attention share: a batch on one device, drawn from a seed."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch

from autotune_cli.kernels.attention.paging import indptr, rows_of
from autotune_cli.kernels.attention.reference import AttentionReference
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.family import Verdict
from autotune_cli.kernels.mla.reference import judge
from autotune_cli.kernels.mla.workload import MlaWorkload

# Logits get a spread of about 1.5, as in attention: neither uniform weights nor one-hot.
LOGIT_SPREAD = 1.5
_CHUNK = 1 << 24


class LatentBatch(ABC):
    """One batch on one device; what is heavy is made when first asked for, and kept."""

    def __init__(self, workload: MlaWorkload, lengths: Lengths, device: str, seed: int) -> None:
        self.workload = workload
        self.geometry = workload.latent
        self.lengths = lengths
        self.device = device
        self.graph = workload.mode == "graph"
        self.seed = seed
        self.dtype: torch.dtype = getattr(torch, self.geometry.dtype)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._workspaces: dict[int, torch.Tensor] = {}
        # Names of the inputs that a view's candidate has asked for.
        self._asked: set[str] | None = None

    @property
    @abstractmethod
    def reference(self) -> AttentionReference:
        """The exact output; see :mod:`.reference`."""

    @abstractmethod
    def inputs(self) -> Mapping[str, torch.Tensor]:
        """Tensors that no candidate may change. Ask after a candidate is prepared: pages are made on demand."""

    @abstractmethod
    def moved(self) -> Self:
        """The same inputs in other tensors, with the reference as far as it was computed."""

    @cached_property
    def qo_indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU: where each request's queries begin."""
        return indptr(self.lengths.qo)

    @property
    def batch(self) -> int:
        """Requests."""
        return len(self.lengths.kv)

    def rows_of(self, requests: Sequence[int]) -> list[int]:
        """Rows of queries, and of an output, that are those requests'."""
        return rows_of(self.lengths.qo, requests)

    def of_requests(self, requests: Sequence[int]) -> Self:
        """Only these requests, in that order, also more than once: a batch of its own, in other tensors."""
        other = copy.copy(self)
        for made in ("qo_indptr", "kv_indptr", "reference"):
            other.__dict__.pop(made, None)
        other.workload = self.workload.model_copy(update={"batch": len(requests)})
        other.lengths = Lengths(*(tuple(tokens[number] for number in requests) for tokens in self.lengths))
        other._take(self, requests)
        return other

    @abstractmethod
    def _take(self, whole: Self, requests: Sequence[int]) -> None:
        """Become a copy whose own tensors are those of some of the whole's requests."""

    def workspace(self, size: int) -> torch.Tensor:
        """``size`` bytes (uint8), zero at first, shared by all candidates that ask for as much."""
        if size not in self._workspaces:
            self._workspaces[size] = torch.zeros(size, dtype=torch.uint8, device=self.device)
        return self._workspaces[size]

    def check(self, output: Any) -> Verdict:
        """Judge ``out`` or ``(out, lse)``; limits and measures: :func:`.reference.judge`."""
        return judge(output, self.reference, self.geometry, self.lengths)

    def view(self) -> Self:
        """The same tensors for one candidate: its :meth:`inputs` are those that this candidate asks for."""
        other = copy.copy(self)
        other._asked = set()
        return other

    def for_graphs(self) -> Self:
        """The same tensors, for candidates that will be captured."""
        view = copy.copy(self)
        view.graph = True
        return view

    def _ask(self, name: str) -> None:
        if self._asked is not None:
            self._asked.add(name)

    def _normal(self, shape: tuple[int, ...], dtype: torch.dtype, scale: float) -> torch.Tensor:
        """Normal values, drawn in float32 a chunk at a time (64 MiB) so that a large cache fits."""
        result = torch.empty(shape, dtype=dtype, device=self.device)
        step = max(1, _CHUNK // math.prod(shape[1:]))
        for start in range(0, shape[0], step):
            part = (min(step, shape[0] - start), *shape[1:])
            drawn = torch.randn(part, generator=self._generator, device=self.device)
            result[start : start + step] = (drawn * scale).to(dtype)
        return result
