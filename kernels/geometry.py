"""The geometry of an attention layer, plain or latent: of a model, of its workloads. Data only; imports no torch."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from autotune_cli.kernels.base import DType, Frozen


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


class LatentGeometry(Frozen):
    """The shape of one layer of multi-head latent attention (MLA) on one GPU, in both of its forms.

    Absorbed: a token's cache is one vector of ``width`` numbers that all heads share: the latent part, which is key and
    value, and the rotated part, which is key only. Plain, with keys and values projected up from it: each head has its
    own, ``head_dim`` and ``v_head_dim`` wide. Fields have the names of a config.json.
    """

    num_heads: PositiveInt
    kv_lora_rank: PositiveInt
    """Width of the latent part, and of a head's output."""
    qk_rope_head_dim: PositiveInt
    qk_nope_head_dim: PositiveInt
    """Of a head before the absorption. With the rotated part it is ``head_dim``, which decides the softmax scale."""
    v_head_dim: PositiveInt
    """Of a head's values, projected up. The absorbed form doesn't depend on it."""
    dtype: DType = "bfloat16"
    kv_dtype: DType | None = None
    """None: as ``dtype``."""

    @property
    def width(self) -> int:
        """Numbers of a cached token, and of a head's query."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    @property
    def head_dim(self) -> int:
        """Of a head's keys, projected up."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def cache_dtype(self) -> DType:
        return self.kv_dtype or self.dtype

    @property
    def scale(self) -> float:
        """Softmax scale, of the head dim before the absorption; YaRN's factor on it is left out: no effect on time."""
        return 1.0 / math.sqrt(self.head_dim)

    @property
    def key(self) -> str:
        text = (
            f"h{self.num_heads} mla {self.kv_lora_rank}+{self.qk_rope_head_dim} d{self.qk_nope_head_dim} {self.dtype}"
        )
        return text if self.kv_dtype in (None, self.dtype) else f"{text} kv {self.kv_dtype}"

    @property
    def plain_key(self) -> str:
        """Of the plain form, which has no cache: ``h16 d192/128 bfloat16``."""
        return f"h{self.num_heads} d{self.head_dim}/{self.v_head_dim} {self.dtype}"
