"""Problems of latent attention in its plain form: each head has keys and values of its own, projected up beforehand."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch

from autotune_cli.kernels.attention.paging import indptr, rows_of
from autotune_cli.kernels.attention.reference import AttentionReference
from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.mla.batch import LOGIT_SPREAD, LatentBatch
from autotune_cli.kernels.mla.reference import compute_plain_reference
from autotune_cli.kernels.mla.workload import MlaWorkload


@dataclass(frozen=True)
class KeysPart:
    """Some keys of each request, one request after the other, in tensors of their own."""

    k: torch.Tensor
    v: torch.Tensor
    indptr: torch.Tensor
    """[batch + 1] int32 on the CPU."""
    longest: int


class PlainProblem(LatentBatch):
    """New tokens on keys and values of all tokens, ragged and in the model's dtype; no pages.

    ``q`` [queries, heads, head_dim], ``k`` [keys, heads, head_dim], ``v`` [keys, heads, v_head_dim]; a request's prefix
    comes first in its keys. The output is [queries, heads, v_head_dim].
    """

    def __init__(self, workload: MlaWorkload, lengths: Lengths, device: str, seed: int) -> None:
        super().__init__(workload, lengths, device, seed)
        g, queries, keys = self.geometry, sum(lengths.qo), sum(lengths.kv)
        # A logit sums ``head_dim`` products, times its root's inverse.
        spread = LOGIT_SPREAD / (g.scale * math.sqrt(g.head_dim))
        self.q = self._normal((queries, g.num_heads, g.head_dim), self.dtype, 1.0)
        self.k = self._normal((keys, g.num_heads, g.head_dim), self.dtype, spread)
        self.v = self._normal((keys, g.num_heads, g.v_head_dim), self.dtype, 1.0)

    @cached_property
    def kv_indptr(self) -> torch.Tensor:
        """[batch + 1] int32 on the CPU: where each request's keys begin."""
        return indptr(self.lengths.kv)

    @cached_property
    def reference(self) -> AttentionReference:
        return compute_plain_reference(self.geometry, self.lengths, self.q, self.k, self.v)

    def part(self, first: Sequence[int], last: Sequence[int]) -> KeysPart:
        """Copies of keys and values ``[first[i], last[i])`` of request ``i``, as an engine has a prefix's chunk."""
        starts = self.kv_indptr.tolist()[:-1]
        rows = [slice(at + begin, at + end) for at, begin, end in zip(starts, first, last, strict=True)]
        counts = [end - begin for begin, end in zip(first, last, strict=True)]
        k, v = (torch.cat([whole[each] for each in rows]) for whole in (self.k, self.v))
        return KeysPart(k, v, indptr(counts), max(counts))

    def _take(self, whole: Self, requests: Sequence[int]) -> None:
        self.q = whole.q[whole.rows_of(requests)]
        keys = rows_of(whole.lengths.kv, requests)
        self.k, self.v = whole.k[keys], whole.v[keys]

    def inputs(self) -> Mapping[str, torch.Tensor]:
        return {"q": self.q, "keys": self.k, "values": self.v}

    def moved(self) -> Self:
        other = copy.copy(self)
        other.q, other.k, other.v = (part.clone() for part in (self.q, self.k, self.v))
        other._workspaces = {}
        return other
