"""Workloads of attention: a layer's geometry and a batch of requests. Data only; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import PositiveInt, model_validator

from autotune_cli.kernels.base import LENGTHS_RULE, BaseWorkload, Mode, Spread, spread_lengths
from autotune_cli.kernels.geometry import Geometry

AttentionOperation = Literal["attention.decode", "attention.prefill", "attention.extend"]


class Lengths(NamedTuple):
    """Tokens of each request: new queries, and keys in all (prefix + new)."""

    qo: tuple[int, ...]
    kv: tuple[int, ...]


class AttentionWorkload(BaseWorkload):
    """``batch`` requests of up to ``new`` query tokens on up to ``context`` keys (new ones included)."""

    operation: AttentionOperation
    geometry: Geometry
    batch: PositiveInt
    new: PositiveInt = 1
    context: PositiveInt
    mode: Mode
    spread: Spread = "uneven"
    lengths_rule: int = LENGTHS_RULE
    served_context: PositiveInt | None = None
    """Longest context of the server, for which it captures its graphs; None: as long as the batch's. Not in the key."""

    @model_validator(mode="after")
    def _shape_fits(self) -> AttentionWorkload:
        if self.operation == "attention.decode" and self.new != 1:
            raise ValueError("a decode step has one new token a request")
        if self.operation == "attention.prefill" and self.new != self.context:
            raise ValueError("a prefill has no prefix: new must equal context")
        if self.operation == "attention.extend" and self.new >= self.context:
            raise ValueError("an extend needs a prefix: context must exceed new")
        return self

    @property
    def lengths(self) -> Lengths:
        """Query and key tokens of each request."""
        if self.operation == "attention.decode":
            return Lengths((1,) * self.batch, spread_lengths(self.context, self.batch, self.spread))
        qo = spread_lengths(self.new, self.batch, self.spread)
        if self.operation == "attention.prefill":
            return Lengths(qo, qo)
        # The prefix is spread the other way round, so that long prefixes don't always meet long extends.
        prefix = spread_lengths(self.context - self.new, self.batch, self.spread)[::-1]
        return Lengths(qo, tuple(n + p for n, p in zip(qo, prefix, strict=True)))

    @property
    def shape(self) -> str:
        """The batch shape as tables show it: ``64 x 8192``, or ``4 x 512+1536`` for an extend."""
        if self.operation == "attention.extend":
            return f"{self.batch} x {self.new}+{self.context - self.new}"
        return f"{self.batch} x {self.context}"

    @property
    def key(self) -> str:
        """Names this workload; equal keys mean the same computation."""
        even = "" if self.spread == "uneven" else " even"
        return f"{self.operation} {self.shape}{even} {self.mode} {self.geometry.key}"

    @property
    def beside_key(self) -> Mapping[str, str]:
        return {"served context": str(self.served_context or "")}

    @property
    def title(self) -> str:
        """With the window, in tokens that a query sees, itself included: it tells a model's layers apart."""
        window = self.geometry.window_left
        return self.operation if window is None else f"{self.operation} window {window + 1}"

    @property
    def sizes(self) -> Mapping[str, int]:
        sizes = {"batch_size": self.batch, "context": self.context}
        return sizes | {"new": self.new} if self.operation == "attention.extend" else sizes

    @property
    def cells(self) -> tuple[str, str]:
        """An extend's context is ``new+prefix``."""
        most = "" if self.spread == "even" else "≤"
        if self.operation == "attention.extend":
            return str(self.batch), f"{most}{self.new}+{self.context - self.new}"
        return str(self.batch), f"{most}{self.context}"

    @property
    def situation(self) -> Mapping[str, Any]:
        g = self.geometry
        return {
            "sinks": g.sinks,
            "window": g.window_left is not None,
            "softcap": g.softcap is not None,
            "group": g.group,
            "kv_heads": g.num_kv_heads,
            "kv_dtype": g.cache_dtype,
        }

    @classmethod
    def step(
        cls, geometry: Geometry, *, batch: int, new: int, context: int, mode: Mode = "eager", decode: bool = False
    ) -> AttentionWorkload:
        """What a server's forward pass over such a batch is: a decode where it says so, else a prefill where all
        ``context`` tokens are ``new``, else an extend.
        """
        operation: AttentionOperation = "attention.prefill" if new == context else "attention.extend"
        if decode:
            operation = "attention.decode"
        return cls(operation=operation, geometry=geometry, batch=batch, new=new, context=context, mode=mode)
