"""What a kernel may be required to keep beside being right, by the words that a user types. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from autotune_cli.errors import BadField, UnknownName

Property = Literal["deterministic", "batch-invariant", "tie-break=small", "tie-break=large"]
"""``deterministic``: the same inputs give the same bits in each run, prepared anew, and from a captured graph.
``batch-invariant``: a request's output has the same bits whatever other requests are in its batch.
``tie-break``: of equal scores a selection takes those at the smallest, or largest, positions.
"""
PROPERTIES: tuple[Property, ...] = get_args(Property)
TieBreak = Literal["small", "large"]
TIE_BREAKS: dict[Property, TieBreak] = {"tie-break=small": "small", "tie-break=large": "large"}


def parse_properties(texts: Iterable[str]) -> tuple[Property, ...]:
    """The properties that the words name, each once, in the order of :data:`PROPERTIES`.

    Raises:
        UnknownName: a word that names none.
        BadField: both tie-breaks, which no kernel keeps together.
    """
    known: dict[str, Property] = {word: word for word in PROPERTIES}
    found: set[Property] = set()
    for word in (part.strip().lower() for text in texts for part in text.split(",")):
        if word not in known:
            raise UnknownName("requirement", word, PROPERTIES)
        found.add(known[word])
    if found >= TIE_BREAKS.keys():
        raise BadField("require", "of equal scores a kernel takes the smallest positions or the largest, not both")
    return tuple(word for word in PROPERTIES if word in found)
