"""Workloads of multi-head latent attention (MLA): a layer's geometry and a batch. Data only; no torch.

``attention.mla_decode`` and ``attention.mla_extend`` are absorbed: all heads read the latent cache.
``attention.mla_sparse_decode`` is a decode step over the tokens that a sparse indexer selected (DeepSeek-V3.2).
``attention.mla_prefill`` is plain attention over keys and values that were projected up from it, with or without a
prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveInt, model_validator

from autotune_cli.kernels.attention.workload import Lengths
from autotune_cli.kernels.base import (
    LENGTHS_RULE,
    BaseWorkload,
    LengthPoint,
    Mode,
    Spread,
    check_points,
    points_key,
    points_range,
    spread_lengths,
)
from autotune_cli.kernels.geometry import LatentGeometry

MlaOperation = Literal[
    "attention.mla_decode", "attention.mla_prefill", "attention.mla_extend", "attention.mla_sparse_decode"
]
_DECODES = ("attention.mla_decode", "attention.mla_sparse_decode")


class MlaWorkload(BaseWorkload):
    """``batch`` requests of up to ``new`` query tokens on up to ``context`` cached tokens (new ones included)."""

    operation: MlaOperation
    latent: LatentGeometry
    batch: PositiveInt
    new: PositiveInt = 1
    context: PositiveInt
    mode: Mode
    spread: Spread = "uneven"
    lengths_rule: int = LENGTHS_RULE
    served_context: PositiveInt | None = None
    """Longest context of the server, for which it captures its graphs; None: as long as the batch's. Not in the key."""
    index_topk: PositiveInt | None = None
    """Tokens that the model's sparse indexer leaves to a query. All but a sparse decode read all: an engine chooses by
    it, and it is not in the key."""
    points: tuple[LengthPoint, ...] = ()
    """Lengths at which a decode step that was prepared once, for ``context``, is measured; the last one is that."""

    @model_validator(mode="after")
    def _shape_fits(self) -> MlaWorkload:
        if self.operation in _DECODES and self.new != 1:
            raise ValueError("a decode step has one new token a request")
        if self.operation == "attention.mla_sparse_decode" and self.index_topk is None:
            raise ValueError("a sparse decode reads the tokens that were selected: index_topk says how many")
        if self.operation == "attention.mla_extend" and self.new >= self.context:
            raise ValueError("an extend needs a prefix: context must exceed new")
        if self.new > self.context:
            raise ValueError("new tokens are part of the context: it can't be below new")
        if self.points and self.operation != "attention.mla_decode":
            raise ValueError("only a dense decode step is replayed at other lengths")
        check_points(self.points, self.context)
        return self

    @property
    def lengths(self) -> Lengths:
        """Query and cached tokens of each request."""
        if self.operation in _DECODES:
            return self.lengths_at(self.context)
        qo = spread_lengths(self.new, self.batch, self.spread)
        if self.new == self.context:
            return Lengths(qo, qo)
        # The prefix is spread the other way round, so that long prefixes don't always meet long extends.
        prefix = spread_lengths(self.context - self.new, self.batch, self.spread)[::-1]
        return Lengths(qo, tuple(n + p for n, p in zip(qo, prefix, strict=True)))

    def lengths_at(self, context: int) -> Lengths:
        """Query and cached tokens of each request of a decode step of that context; no request is longer than in a step
        of a longer one.
        """
        return Lengths((1,) * self.batch, spread_lengths(context, self.batch, self.spread))

    @property
    def length_points(self) -> tuple[LengthPoint, ...]:
        return self.points

    @property
    def read(self) -> tuple[int, ...]:
        """Cached tokens of each request that a kernel has to read."""
        if self.operation != "attention.mla_sparse_decode" or self.index_topk is None:
            return self.lengths.kv
        return tuple(min(tokens, self.index_topk) for tokens in self.lengths.kv)

    @property
    def shape(self) -> str:
        """The batch shape as tables show it: ``64 x 8192``, ``4 x 512+1536`` on a prefix, or ``64 x 1024..8192`` where
        it is measured at several lengths.
        """
        return f"{self.batch} x {self._tokens}"

    @property
    def _tokens(self) -> str:
        if self.points:
            return points_range(self.points)
        prefix = self.context - self.new
        on_prefix = prefix and self.operation not in _DECODES
        return f"{self.new}+{prefix}" if on_prefix else f"{self.context}"

    @property
    def key(self) -> str:
        """Names this workload; equal keys mean the same computation."""
        even = "" if self.spread == "uneven" else " even"
        if self.points:
            even += f" {points_key(self.points)}"
        layer = self.latent.plain_key if self.operation == "attention.mla_prefill" else self.latent.key
        selected = f" select {self.index_topk}" if self.operation == "attention.mla_sparse_decode" else ""
        return f"{self.operation} {self.shape}{even}{selected} {self.mode} {layer}"

    @property
    def beside_key(self) -> Mapping[str, str]:
        return {"served context": str(self.served_context or ""), "index topk": str(self.index_topk or "")}

    @property
    def sizes(self) -> Mapping[str, int]:
        sizes = {"batch_size": self.batch, "context": self.context}
        return sizes if self.operation == "attention.mla_decode" else sizes | {"new": self.new}

    @property
    def cells(self) -> tuple[str, str]:
        """The context on a prefix is ``new+prefix``."""
        return str(self.batch), f"{'' if self.spread == 'even' else '≤'}{self._tokens}"

    @property
    def situation(self) -> Mapping[str, Any]:
        """Heads count as KV heads, as in a config.json before the absorption."""
        lengths = self.lengths
        return {
            "prefix": 0 if self.operation in _DECODES else sum(lengths.kv) - sum(lengths.qo),
            "keys": sum(lengths.kv),
            "attention": "mla" if self.index_topk is None else "dsa",
            "kv_heads": self.latent.num_heads,
            "kv_dtype": self.latent.cache_dtype,
        }
