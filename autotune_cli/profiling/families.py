"""The families that kernels are of, a row each; which kernels are in one is said by the rules (``rules/``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PathShape = Literal["paged", "ragged", "pair", "ragged or pair", "cascade", "attention", "topk", "any"]
"""What must be seen: paged attention alone; ragged attention alone (no prefix); ragged and paged attention with one
merge each (prefix); one of these two; two paged calls with one merge each, beside single ones (trees of drafts);
attention of any layout; a selection of keys; anything (only expected and forbidden names count)."""

FamilyName = str
"""The name of a row."""


@dataclass(frozen=True, slots=True)
class KernelFamily:
    """What is known of a family."""

    name: FamilyName
    """In rules, in JSON and in CSV."""
    word: str
    """In tables and sentences."""
    attention: bool = False
    """Do its kernels read keys and values? A phase without any such kernel has nothing to judge."""
    forbidden_in: tuple[PathShape, ...] = ()
    """The shapes in which one of its kernels is a violation."""
    of_library: bool = False
    """Must its kernels be of a preset's libraries?"""
    alarming: bool = False
    """Is its row red in the table of a phase that failed?"""


# Tables and JSON list families in this order.
_ROWS = (
    KernelFamily("paged", "paged", attention=True, forbidden_in=("ragged", "topk"), of_library=True),
    KernelFamily("split_merge", "split-KV merge"),
    KernelFamily(
        "ragged", "ragged", attention=True, forbidden_in=("paged", "cascade", "topk"), of_library=True, alarming=True
    ),
    KernelFamily("merge", "cascade merge", forbidden_in=("paged", "ragged", "topk"), of_library=True, alarming=True),
    KernelFamily(
        "dense",
        "dense",
        attention=True,
        forbidden_in=("paged", "ragged", "pair", "ragged or pair", "cascade", "topk"),
        of_library=True,
        alarming=True,
    ),
    # Attention of a layout that its name doesn't tell.
    KernelFamily("undecided", "undecided", attention=True, forbidden_in=("topk",), of_library=True),
    KernelFamily("topk", "top-k"),
    KernelFamily("index", "index"),
    KernelFamily("benign", "benign"),
    # What no rule matches; a rule can't say it.
    KernelFamily("unknown", "unknown", alarming=True),
)
BY_NAME = {row.name: row for row in _ROWS}
FAMILIES: tuple[FamilyName, ...] = tuple(BY_NAME)
KNOWN: tuple[FamilyName, ...] = tuple(name for name in FAMILIES if name != "unknown")
ATTENTION = frozenset(row.name for row in _ROWS if row.attention)
ALARMING_WORDS = frozenset(row.word for row in _ROWS if row.alarming)
WORDS = {row.name: row.word for row in _ROWS}
