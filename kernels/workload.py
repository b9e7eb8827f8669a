"""Workloads: an operation with a geometry and a batch shape. Data only; imports no torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

DType = Literal["bfloat16", "float16", "float32", "float8_e4m3fn"]
Mode = Literal["eager", "graph"]
Spread = Literal["uneven", "even"]
AttentionOperation = Literal["attention.decode", "attention.prefill", "attention.extend"]
TopkOperation = Literal["topk.select"]
OPERATIONS: tuple[str, ...] = ("attention.decode", "attention.prefill", "attention.extend", "topk.select")

BYTES: dict[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4, "float8_e4m3fn": 1}

Distribution = Literal["normal", "tie_free", "equal", "relu", "narrow", "infinite"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "tie_free", "equal", "relu", "narrow", "infinite")

# Fractional part of the golden ratio: i * PHI mod 1 fills [0, 1) evenly for every batch size.
_PHI = (math.sqrt(5.0) - 1.0) / 2.0
# Changing how lengths are drawn changes every workload, so the rule's number is part of a result's identity.
LENGTHS_RULE = 1


class Lengths(NamedTuple):
    """Tokens of each request: new queries, and keys in all (prefix + new)."""

    qo: tuple[int, ...]
    kv: tuple[int, ...]


def spread_lengths(longest: int, count: int, spread: Spread) -> tuple[int, ...]:
    """``count`` lengths, at most ``longest`` each.

    ``even``: all equal to ``longest``. ``uneven``: between half of it and nearly all of it, the first the
    longest, and rarely a multiple of 16, so that last pages are partly filled, as in real batches.
    """
    if spread == "even":
        return (longest,) * count
    lengths = []
    for i in range(count):
        length = longest - int(0.5 * longest * ((i * _PHI) % 1.0)) - (3 + 7 * i) % 16
        lengths.append(max(1, min(longest, length)))
    return tuple(lengths)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Geometry(_Frozen):
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


class AttentionWorkload(_Frozen):
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


class TopkWorkload(_Frozen):
    """The ``k`` largest of each of ``rows`` rows of up to ``width`` float32 scores, as int32 indices."""

    operation: TopkOperation
    rows: PositiveInt
    width: PositiveInt
    k: PositiveInt
    dtype: DType = "float32"
    mode: Mode
    spread: Spread = "even"
    """``even``: every row is full, known on the host. ``uneven``: lengths differ, known on the GPU only."""
    distributions: tuple[Distribution, ...] = DISTRIBUTIONS
    """Scores on which a candidate must be right; it is timed on the first."""
    lengths_rule: int = LENGTHS_RULE

    @model_validator(mode="after")
    def _has_scores(self) -> TopkWorkload:
        if not self.distributions:
            raise ValueError("at least one distribution of scores is needed")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        """Valid scores of each row."""
        return spread_lengths(self.width, self.rows, self.spread)

    @property
    def shape(self) -> str:
        return f"{self.rows} x {self.width}"

    @property
    def key(self) -> str:
        even = "" if self.spread == "even" else " uneven"
        scores = "" if self.distributions == DISTRIBUTIONS else f" scores {','.join(self.distributions)}"
        return f"{self.operation} {self.shape}{even} k{self.k} {self.mode} {self.dtype}{scores}"


AnyWorkload = AttentionWorkload | TopkWorkload
Workload = Annotated[AnyWorkload, Field(discriminator="operation")]


class Cost(NamedTuple):
    """The least that any kernel must do."""

    bytes: float
    """Read from device memory or written to it, with nothing of the inputs in a cache."""
    flops: float
    """Floating-point operations of its matrix products; a multiply-add is two."""
    written: float = 0.0
    """Those of ``bytes`` that are written: they may still lie in the L2 cache when the kernel ends."""
    fp8: bool = False
    """May the products be done in FP8?"""


def cost(workload: AttentionWorkload | TopkWorkload) -> Cost:
    """What no kernel that is right can go without. Each term is argued, as one that counts too much makes a floor
    that can be beaten.

    Attention: queries are read once and outputs written once, as each is a tensor of its own. Of the keys and values
    those are read, once, that any query of the request sees: a window hides the others, and requests share none. A
    kernel could leave out values whose weights vanish, but it has to read the keys to know them, and in our inputs
    none vanish (the logits spread by about 1.5). Page tables, lengths, log-sum-exps and partial results of split keys
    aren't counted. Both products count, queries by keys and weights by values, over the visible pairs only; softmax
    doesn't. Over an FP8 cache both may be done in FP8: XQA's Hopper kernel rounds queries and weights to e4m3.

    Top-k: every valid score of a row with more than k of them is read, as any unread one might be the largest. A row
    with at most k has only one answer, whatever its scores. All k indices (int32) of a row are written, -1 too.
    """
    if isinstance(workload, TopkWorkload):
        read = sum(length for length in workload.lengths if length > workload.k) * BYTES[workload.dtype]
        written = float(workload.rows * workload.k * 4)
        return Cost(read + written, 0.0, written)
    g = workload.geometry
    lengths = workload.lengths
    kv_tokens, pairs = 0, 0
    for qo, kv in zip(lengths.qo, lengths.kv, strict=True):
        kv_tokens += kv if g.window_left is None else min(kv, g.window_left + qo)
        pairs += _visible_pairs(qo, kv, g.window_left)
    one_side = float(sum(lengths.qo) * g.num_qo_heads * g.head_dim * BYTES[g.dtype])
    keys = float(2 * kv_tokens * g.num_kv_heads * g.head_dim * BYTES[g.cache_dtype])
    flops = 4.0 * pairs * g.num_qo_heads * g.head_dim
    return Cost(2 * one_side + keys, flops, one_side, g.cache_dtype == "float8_e4m3fn")


def _visible_pairs(qo: int, kv: int, window_left: int | None) -> int:
    """(query, key) pairs under a causal mask aligned to the end, within the window."""
    first, last = kv - qo + 1, kv
    if window_left is None or last <= window_left + 1:
        return (first + last) * qo // 2
    full = window_left + 1
    if first >= full:
        return full * qo
    growing = full - first
    return (first + full - 1) * growing // 2 + full * (qo - growing)
