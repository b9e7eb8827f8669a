"""Workloads of attention: a layer's geometry and a batch of requests. Data only; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import PositiveInt, model_validator

from autotune_cli.kernels.attention.trees import Tree, draw_trees
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
from autotune_cli.kernels.geometry import Geometry

AttentionOperation = Literal[
    "attention.decode", "attention.prefill", "attention.extend", "attention.verify", "attention.cross"
]

ON_PREFIX: tuple[AttentionOperation, ...] = ("attention.extend", "attention.verify")
"""Those that have new tokens and a cached prefix."""


class Lengths(NamedTuple):
    """Tokens of each request: new queries, and keys in all (prefix + new)."""

    qo: tuple[int, ...]
    kv: tuple[int, ...]


# The trees of a workload are the same in each run, as its lengths are.
_TREES_SEED = 0


class AttentionWorkload(BaseWorkload):
    """``batch`` requests of up to ``new`` query tokens on up to ``context`` keys (new ones included).

    To verify, each request has ``new`` drafts, of a tree or a chain. Cross-attention is that of ``new`` tokens on up to
    ``context`` keys of an encoder, which all of them see; of a decode step it is ``attention.decode`` over such keys.
    """

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
    eagle_topk: PositiveInt | None = None
    """Most drafts of a level of the trees that are verified, 1: chains (SGLang's ``--speculative-eagle-topk``). None
    where nothing is verified."""
    points: tuple[LengthPoint, ...] = ()
    """Lengths at which a decode step that was prepared once, for ``context``, is measured; the last one is that."""

    @model_validator(mode="after")
    def _shape_fits(self) -> AttentionWorkload:
        if self.operation == "attention.decode" and self.new != 1:
            raise ValueError("a decode step has one new token a request")
        if self.operation == "attention.prefill" and self.new != self.context:
            raise ValueError("a prefill has no prefix: new must equal context")
        if self.operation in ON_PREFIX and self.new >= self.context:
            word = "an extend" if self.operation == "attention.extend" else "a verification"
            raise ValueError(f"{word} needs a prefix: context must exceed new")
        if (self.operation == "attention.verify") != (self.eagle_topk is not None):
            raise ValueError("eagle_topk is of a verification, and a verification needs it")
        if self.operation == "attention.cross" and self.geometry.window_left is not None:
            raise ValueError("every query sees all keys of an encoder: cross-attention has no window")
        if self.points and self.operation != "attention.decode":
            raise ValueError("only a decode step is replayed at other lengths")
        check_points(self.points, self.context)
        return self

    @property
    def lengths(self) -> Lengths:
        """Query and key tokens of each request."""
        if self.operation == "attention.decode":
            return self.lengths_at(self.context)
        qo = spread_lengths(self.new, self.batch, self.spread)
        if self.operation == "attention.prefill":
            return Lengths(qo, qo)
        if self.operation == "attention.verify":
            # A server verifies the same number of drafts of each request.
            qo = (self.new,) * self.batch
        if self.operation == "attention.cross":
            # How long an encoder's input is has nothing to do with the decoder's.
            return Lengths(qo, spread_lengths(self.context, self.batch, self.spread)[::-1])
        # The prefix is spread the other way round, so that long prefixes don't always meet long extends.
        prefix = spread_lengths(self.context - self.new, self.batch, self.spread)[::-1]
        return Lengths(qo, tuple(n + p for n, p in zip(qo, prefix, strict=True)))

    def lengths_at(self, context: int) -> Lengths:
        """Query and key tokens of each request of a decode step of that context; no request is longer than in a step of
        a longer one.
        """
        return Lengths((1,) * self.batch, spread_lengths(context, self.batch, self.spread))

    @property
    def length_points(self) -> tuple[LengthPoint, ...]:
        return self.points

    @property
    def causal(self) -> bool:
        """Does a query see no more than the keys up to its own?"""
        return self.operation != "attention.cross"

    @property
    def trees(self) -> tuple[Tree, ...] | None:
        """Of each request, the tree of its drafts; None where nothing is verified."""
        if self.eagle_topk is None:
            return None
        return draw_trees(self.batch, self.new, self.eagle_topk, _TREES_SEED)

    @property
    def shape(self) -> str:
        """The batch shape as tables show it: ``64 x 8192``, ``4 x 512+1536`` on a prefix, ``4 x 128 on 6404`` keys of
        an encoder, ``64 x 1024..8192`` where it is measured at several lengths.
        """
        if self.points:
            return f"{self.batch} x {points_range(self.points)}"
        if self.operation in ON_PREFIX:
            return f"{self.batch} x {self.new}+{self.context - self.new}"
        if self.operation == "attention.cross":
            return f"{self.batch} x {self.new} on {self.context}"
        return f"{self.batch} x {self.context}"

    @property
    def key(self) -> str:
        """Names this workload; equal keys mean the same computation."""
        even = "" if self.spread == "uneven" else " even"
        topk = "" if self.eagle_topk is None else f" topk {self.eagle_topk}"
        if self.points:
            even += f" {points_key(self.points)}"
        return f"{self.operation} {self.shape}{even}{topk} {self.mode} {self.geometry.key}"

    @property
    def beside_key(self) -> Mapping[str, str]:
        return {"served context": str(self.served_context or "")}

    @property
    def title(self) -> str:
        """With the window, in tokens that a query sees, itself included: it tells a model's layers apart. With the
        most drafts of a level, which tells trees from chains.
        """
        window = self.geometry.window_left
        text = self.operation if self.eagle_topk is None else f"{self.operation} topk {self.eagle_topk}"
        return text if window is None else f"{text} window {window + 1}"

    @property
    def sizes(self) -> Mapping[str, int]:
        sizes = {"batch_size": self.batch, "context": self.context}
        return sizes | {"new": self.new} if self.operation in (*ON_PREFIX, "attention.cross") else sizes

    @property
    def cells(self) -> tuple[str, str]:
        """The context on a prefix is ``new+prefix``; of several lengths it is the shortest and the longest."""
        most = "" if self.spread == "even" else "≤"
        if self.points:
            return str(self.batch), f"{most}{points_range(self.points)}"
        if self.operation in ON_PREFIX:
            return str(self.batch), f"{most}{self.new}+{self.context - self.new}"
        if self.operation == "attention.cross":
            return str(self.batch), f"{most}{self.new} on {self.context}"
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
            "server_options": {} if self.eagle_topk is None else {"speculative-eagle-topk": str(self.eagle_topk)},
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
