"""Workloads of attention: a layer's geometry and a batch of requests. Data only; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from autotune_cli.kernels.base import LENGTHS_RULE, BaseWorkload, DType, Frozen, Mode, Spread, spread_lengths

AttentionOperation = Literal["attention.decode", "attention.prefill", "attention.extend"]


class Lengths(NamedTuple):
    """Tokens of each request: new queries, and keys in all (prefix + new)."""

    qo: tuple[int, ...]
    kv: tuple[int, ...]


class Geometry(Frozen):
    """The shape of one attention layer on one GPU (after tensor parallelism)."""

    num_qo_heads: PositiveInt
    num_kv_heads: PositiveInt
    head_dim: PositiveInt
    dtype: DType = "bfloat16"
    kv_dtype: DType | None = None
    """None: as ``dtype``."""
    window_left: Annotated[int, Field(ge=0)] | None = None
    """Keys a query sees to its left besides its own (FlashInfer's ``window_left``: a model's window - 1)."""
    softcap: PositiveFloat | None = None
    """logits := softcap * tanh(logits / softcap)."""
    q_dtype: DType | None = None
    """What queries, given in ``dtype``, are rounded to before the first product; None: they aren't. Only float8_e4m3fn
    over a cache of the same dtype, as SGLang's fa3 casts them (flashattention_backend.py, 0.5.10 to 0.5.23)."""
    sinks: bool = False
    """One learned logit a query head takes part in the softmax's denominator, after scale and softcap (gpt-oss)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Geometry:
        if self.num_qo_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_qo_heads} query heads don't divide into {self.num_kv_heads} KV heads")
        return self

    @model_validator(mode="after")
    def _queries_fit_the_cache(self) -> Geometry:
        if self.q_dtype is None:
            return self
        if self.q_dtype != "float8_e4m3fn" or self.kv_dtype != "float8_e4m3fn":
            raise ValueError(
                f"queries are rounded to float8_e4m3fn over a float8_e4m3fn cache only, not to {self.q_dtype} over "
                f"{self.cache_dtype}"
            )
        return self

    @property
    def group(self) -> int:
        """Query heads that share one KV head (GQA group size)."""
        return self.num_qo_heads // self.num_kv_heads

    @property
    def cache_dtype(self) -> DType:
        return self.kv_dtype or self.dtype

    @property
    def scale(self) -> float:
        """Softmax scale, 1 / sqrt(head_dim)."""
        return 1.0 / math.sqrt(self.head_dim)

    @property
    def key(self) -> str:
        text = f"h{self.num_qo_heads}/{self.num_kv_heads} d{self.head_dim} {self.dtype}"
        if self.kv_dtype not in (None, self.dtype):
            text += f" kv {self.kv_dtype}"
        if self.q_dtype is not None:
            text += f" q {self.q_dtype}"
        if self.window_left is not None:
            text += f" window {self.window_left}"
        if self.softcap is not None:
            text += f" softcap {self.softcap:g}"
        return text + " sinks" if self.sinks else text


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
