"""What workloads of every family are made of. Data only; imports no torch and no family."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

DType = Literal["bfloat16", "float16", "float32", "float8_e4m3fn"]
Mode = Literal["eager", "graph"]
Spread = Literal["uneven", "even"]
DeviceKind = Literal["cuda", "cpu"]

Distribution = Literal[
    "normal", "tie_free", "equal", "relu", "narrow", "infinite",
    "denormal", "outlier", "plateau", "shared16", "shared24", "zeros", "bf16", "fp8", "exponential", "ascending",
    "descending", "clusters", "largest",
]  # fmt: skip
"""How scores that are selected from are distributed."""
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "tie_free", "equal", "relu", "narrow", "infinite")
"""On which a selection must be right unless the user says otherwise: few, as each candidate of a suite runs on all."""
ALL_DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)

BYTES: dict[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4, "float8_e4m3fn": 1}

# Fractional part of the golden ratio: i * PHI mod 1 fills [0, 1) evenly for every batch size.
_PHI = (math.sqrt(5.0) - 1.0) / 2.0
# Changing how lengths are drawn changes every workload, so the rule's number is part of a result's identity.
LENGTHS_RULE = 1


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


class Frozen(BaseModel):
    """A record without unknown fields, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LengthPoint(Frozen):
    """Lengths at which a batch, prepared or captured once, is measured."""

    context: PositiveInt
    """Keys of a request, at most: the batch's lengths are spread below it as for a workload of that context."""
    weight: PositiveInt = 1
    """In units of all points' weights together."""


def check_points(points: tuple[LengthPoint, ...], context: int) -> None:
    """Refuse lengths of a workload that aren't in ascending order, the last one its context.

    Raises:
        ValueError: as a validator says it.
    """
    contexts = [point.context for point in points]
    if contexts and (contexts != sorted(set(contexts)) or contexts[-1] != context):
        raise ValueError("points must be in ascending order, the last one the context")


def points_range(points: tuple[LengthPoint, ...]) -> str:
    """``1024..8192``: the shortest and the longest."""
    return "..".join(map(str, dict.fromkeys((points[0].context, points[-1].context))))


def points_key(points: tuple[LengthPoint, ...]) -> str:
    """``lengths 1024,8192*3``, with the weights that aren't 1, for a key."""
    each = [f"{point.context}" if point.weight == 1 else f"{point.context}*{point.weight}" for point in points]
    return f"lengths {','.join(each)}"


class BaseWorkload(Frozen):
    """An operation with a geometry and a batch shape; a family's model has the fields, and names itself."""

    if TYPE_CHECKING:
        # Fields of every family's model. Declared there, as their order is that of result files.
        operation: str
        mode: Mode
        spread: Spread
        lengths_rule: int

    @property
    @abstractmethod
    def key(self) -> str:
        """Names this workload; equal keys mean the same computation."""

    @property
    def beside_key(self) -> Mapping[str, str]:
        """What its times depend on beside the key, for its identity; an empty text is as good as none."""
        return {}

    @property
    def length_points(self) -> tuple[LengthPoint, ...]:
        """Lengths at which a candidate that was prepared once for the longest is measured, the shortest first; none:
        only those of the batch itself.
        """
        return ()

    @property
    @abstractmethod
    def shape(self) -> str:
        """The batch shape as tables show it: ``64 x 8192``."""

    @property
    def full_shape(self) -> str:
        """The batch shape with all that tells workloads of one suite apart, where :attr:`shape` alone doesn't."""
        return self.shape

    @property
    def title(self) -> str:
        """The operation for tables, with what tells a model's workloads of one shape apart."""
        return self.operation

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """What a server's batches of the operation differ in, by the names that
        :meth:`autotune_cli.api.table.Table.best` takes.
        """

    @property
    @abstractmethod
    def cells(self) -> tuple[str, str]:
        """The batch shape in two cells of a table, batch and context. ``≤``: lengths differ up to it."""

    @property
    @abstractmethod
    def situation(self) -> Mapping[str, Any]:
        """What of it an engine chooses its kernel by: fields of :class:`~autotune_cli.kernels.engines.Situation`."""


class CapturedScores(Frozen):
    """Scores of a real indexer in a file, by what they are and not by where they lie."""

    path: str
    """Where they were found; names nothing."""
    digest: str
    """First 16 hex digits of a SHA-256 of scores, lengths, shape and type."""
    rows: PositiveInt
    width: PositiveInt
    dtype: DType
    lengths: tuple[NonNegativeInt, ...] | None = None
    """Valid scores of each row; None: all."""


def mean_cost(points: tuple[LengthPoint, ...], costs: Sequence[Cost]) -> Cost:
    """Of a workload's costs at its points, by their weights, as its time is."""
    weights = [point.weight / sum(each.weight for each in points) for point in points]
    pairs = list(zip(weights, costs, strict=True))
    return costs[0]._replace(
        bytes=sum(weight * each.bytes for weight, each in pairs),
        flops=sum(weight * each.flops for weight, each in pairs),
        written=sum(weight * each.written for weight, each in pairs),
    )


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
