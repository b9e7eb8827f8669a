"""What users type to narrow a suite, turned into checked values. Accepts text (``1,8``) or sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast, get_args

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.fields import Field, Message
from autotune_cli.kernels.base import ALL_DISTRIBUTIONS, DISTRIBUTIONS, Distribution, DType, Mode, Spread
from autotune_cli.kernels.family import SuiteModel, families, family, short_names
from autotune_cli.kernels.workload import OPERATIONS

MOST = 10_000_000
"""The largest batch or context taken (tokens): ten times the longest contexts served today."""

SHORT_DTYPES: dict[str, DType] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "fp8": "float8_e4m3fn",
    "fp8_e4m3": "float8_e4m3fn",  # SGLang's name for it in --kv-cache-dtype
}
DTYPES: tuple[DType, ...] = get_args(DType)
SPREADS: tuple[Spread, ...] = get_args(Spread)

Numbers = str | int | Iterable[int | str] | None
Names = str | Iterable[str] | None


def parse_numbers(field: str, value: Numbers) -> tuple[int, ...] | None:
    """Whole numbers from 1 to :data:`MOST`, repeats dropped; None stays None (not given).

    Raises:
        BadField: anything else; the message names ``field``.
    """
    if value is None:
        return None
    items: Sequence[int | str]
    if isinstance(value, int):
        items = (value,)
    elif isinstance(value, str):
        items = value.split(",")
    else:
        items = [part for item in value for part in (item.split(",") if isinstance(item, str) else (item,))]
    if not items:
        raise BadField(field=field, detail="is empty")
    return tuple(dict.fromkeys(_number(field, item) for item in items))


def parse_length(field: str, place: str, item: object) -> int:
    """A whole number from 1 to :data:`MOST` out of a file.

    Args:
        place: where it stands, for the message.

    Raises:
        BadField: anything else.
    """
    return _number(field, item, f"{place}: ", "")


def _number(field: str, item: object, where: str = "", hint: str = " (give numbers like 1,8,64)") -> int:
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise BadField(field=field, detail=f"{where}{item!r:.40} is no whole number")
    text = str(item).strip()
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise BadField(field=field, detail=f"{where}{text[:40]!r} is no whole number{hint}")
    # int() refuses text of more than 4300 digits.
    if len(text) > 100 or int(text) > MOST:
        raise BadField(field=field, detail=f"{where}{text[:40]} is above {MOST}")
    if int(text) < 1:
        raise BadField(field=field, detail=f"{where}{text} is below 1")
    return int(text)


def parse_operations(value: Names) -> tuple[str, ...]:
    """Operations by full or short name, in the program's order; None: all but those that are only on request.

    Raises:
        UnknownName: a name that is none of them.
    """
    names = _names("op", value)
    if names is None:
        return tuple(operation for operation in OPERATIONS if operation in family(operation).usual)
    chosen: set[str] = set()
    short = short_names()
    for name in names:
        known = short.get(name, (name,))
        if not set(known) <= set(OPERATIONS):
            raise UnknownName("operation", name, (*OPERATIONS, *short))
        chosen.update(known)
    return tuple(operation for operation in OPERATIONS if operation in chosen)


def operations_for(model: SuiteModel, value: Names) -> tuple[str, ...]:
    """As :func:`parse_operations`; for an operation that wasn't named itself, what a server of the model runs.

    Raises:
        UnknownName: a name that is none of them.
    """
    short = short_names()
    typed = {name for name in _names("op", value) or () if name not in families()}
    named = {operation for name in typed for operation in short.get(name, (name,))}
    chosen = {each if each in named else family(each).run_for(model, each) for each in parse_operations(value)}
    return tuple(operation for operation in OPERATIONS if operation in chosen)


def parse_modes(value: Names, device_kind: str) -> tuple[Mode, ...] | None:
    """Deployment modes; None: the default of each operation.

    Raises:
        UnknownName: a name that is none of them.
        BadField: ``graph`` on a CPU.
    """
    names = _names("mode", value)
    if names is None:
        return None
    chosen: list[Mode] = []
    for name in names:
        if name not in ("eager", "graph", "both"):
            raise UnknownName("mode", name, ("eager", "graph", "both"))
        chosen += cast("list[Mode]", ["eager", "graph"] if name == "both" else [name])
    if device_kind == "cpu" and "graph" in chosen:
        raise BadField(field="mode", detail="a graph is CUDA's; on a CPU there is only eager")
    return tuple(dict.fromkeys(chosen))


def parse_dtype(field: str, value: str | None) -> DType | None:
    """A dtype by torch's name or a short one (bf16, fp8 ...).

    Raises:
        UnknownName: a name that is none of them; the message names ``field``.
    """
    if value is None:
        return None
    name = value.strip().lower().removeprefix("torch.")
    name = SHORT_DTYPES.get(name, name)
    if name not in DTYPES:
        raise UnknownName(Message("dtype for {field}", field=Field(field)), value, (*DTYPES, *SHORT_DTYPES))
    return name


def parse_spread(value: str | None) -> Spread | None:
    """How lengths in a batch differ; None: as the grid has it.

    Raises:
        UnknownName: a name that is none of them.
    """
    if value is None:
        return None
    name = value.strip().lower()
    if name not in SPREADS:
        raise UnknownName("spread", value, SPREADS)
    return name


def parse_q_dtype(value: str | None, dtype: DType, kv_dtype: DType | None, device_kind: str) -> DType | None:
    """What queries of ``dtype`` are rounded to over a cache of ``kv_dtype``; None: they stay as they are.

    Not given: float8_e4m3fn over a cache of that dtype on a GPU, as SGLang's fa3, its default on Hopper, casts them
    (flashattention_backend.py, 0.5.10 to 0.5.23).

    Raises:
        UnknownName: no dtype.
        BadField: a dtype that queries aren't rounded to, or not over such a cache.
    """
    asked = parse_dtype("q_dtype", value)
    fp8: DType = "float8_e4m3fn"
    if asked is None:
        return fp8 if device_kind == "cuda" and kv_dtype == fp8 and dtype in ("bfloat16", "float16") else None
    if asked == fp8:
        if kv_dtype != fp8 or dtype == fp8:
            raise BadField(
                field="q_dtype",
                detail=Message("{fp8} is what {fields.dtype} is rounded to over {fields.kv_dtype} {fp8}", fp8=fp8),
            )
        return fp8
    if asked != dtype:
        raise BadField(
            field="q_dtype",
            detail=Message("queries are {dtype}, or {fp8}; {fields.dtype} changes the first", dtype=dtype, fp8=fp8),
        )
    return None


def parse_scores(value: Names) -> tuple[Distribution, ...]:
    """Distributions of top-k scores; None: the usual ones, ``all``: every one. Timing is on the first.

    Raises:
        UnknownName: a name that is none of them.
    """
    names = _names("scores", value)
    if names is None:
        return DISTRIBUTIONS
    if names == ["all"]:
        return ALL_DISTRIBUTIONS
    for name in names:
        if name not in ALL_DISTRIBUTIONS:
            raise UnknownName("distribution of scores", name, ALL_DISTRIBUTIONS)
    return cast("tuple[Distribution, ...]", tuple(dict.fromkeys(names)))


def _names(field: str, value: Names) -> list[str] | None:
    if value is None:
        return None
    items = [value] if isinstance(value, str) else list(value)
    names = [part.strip().lower() for item in items for part in item.split(",") if part.strip()]
    if not names:
        raise BadField(field=field, detail="is empty")
    return names


def check_tp(tp: object) -> int:
    """Tensor parallelism: GPUs that share a layer's heads.

    Raises:
        BadField: not one whole number from 1 on.
    """
    numbers = parse_numbers("tp", tp if isinstance(tp, int | str) else str(tp))
    if numbers is None or len(numbers) != 1:
        raise BadField(field="tp", detail=f"{tp!r} is not one number")
    return numbers[0]
