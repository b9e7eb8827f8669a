"""What users type for a distribution of lengths: a word, or a file of lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune_cli.errors import BadField
from autotune_cli.fields import Message
from autotune_cli.kernels.lengths import LengthDistribution
from autotune_cli.kernels.models.options import parse_length
from autotune_cli.reading import Unreadable, decode, parse_json, read_bytes

# Two million lengths.
_MOST_BYTES = 16 << 20
_FIELD = "lengths"


def parse_lengths(value: str | Path | None) -> LengthDistribution | None:
    """``suite``, ``uniform``, or the path of a file: a JSON list of whole numbers, or one a line. None stays None.

    Raises:
        BadField: no such file, or something in it that is no length.
    """
    if value is None:
        return None
    text = str(value).strip()
    if not text:
        raise BadField(field=_FIELD, detail="is empty")
    if text == "suite":
        return LengthDistribution("suite")
    if text == "uniform":
        return LengthDistribution("uniform")
    return LengthDistribution("file", _read(text))


def _read(path: str) -> tuple[int, ...]:
    try:
        content = decode(read_bytes(Path(path), _MOST_BYTES, "list of lengths"))
        items = _items(content)
    except Unreadable as error:
        said = Message(
            "{path}: {detail} (give {words} or a file)", path=path, detail=str(error), words="suite, uniform"
        )
        raise BadField(field=_FIELD, detail=said) from error
    if not items:
        raise BadField(field=_FIELD, detail=f"{path}: has no lengths")
    return tuple(parse_length(_FIELD, f"{path}: {place}", item) for place, item in items)


def _items(text: str) -> list[tuple[str, Any]]:
    """The items and where they stand.

    Raises:
        Unreadable: JSON that is no list.
    """
    if text.lstrip()[:1] in ("[", "{", '"'):
        document = parse_json(text)
        if not isinstance(document, list):
            raise Unreadable("the JSON is no list of numbers")
        return [(f"item {number}", item) for number, item in enumerate(document, 1)]
    lines = enumerate(text.splitlines(), 1)
    return [(f"line {number}", line) for number, line in lines if line.strip()]
