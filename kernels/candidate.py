"""Candidates: backends with fixed knobs, what they are planned for, and one that is ready to run. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Knob = bool | int | float | str | None


@dataclass(frozen=True)
class Device:
    """What candidates are planned for. ``capability`` is CUDA's (9, 0) for an H200; None on a CPU."""

    kind: str
    name: str
    capability: tuple[int, int] | None = None
    multiprocessors: int = 0
    memory_bytes: int = 0
    l2_bytes: int = 0
    cuda: str = ""
    """CUDA version of torch, such as ``13.0``; empty on a CPU."""


@dataclass(frozen=True)
class Candidate:
    """A backend with fixed knobs."""

    backend: str
    knobs: tuple[tuple[str, Knob], ...] = ()

    @property
    def key(self) -> str:
        """``flashinfer.decode(path=fa3,page_size=16)``; stable across runs."""
        inner = ",".join(f"{name}={_text(value)}" for name, value in self.knobs)
        return f"{self.backend}({inner})" if inner else self.backend

    @property
    def label(self) -> str:
        """Short text for tables: ``flashinfer.decode fa3 page 16``; knobs left at None are not shown."""
        parts = [self.backend]
        for name, value in self.knobs:
            word = name.removesuffix("_size").replace("_", " ")
            if value is None:
                continue
            if isinstance(value, bool):
                parts.append(word if value else f"{word} off")
            else:
                parts.append(value if isinstance(value, str) else f"{word} {value:g}")
        return " ".join(parts)

    def matches(self, knobs: Iterable[tuple[str, Knob]]) -> bool:
        """Has it all of these knobs? A text stands for the value that a key shows so: ``"16"`` for 16."""
        own = {name: _text(value) for name, value in self.knobs}
        return all(own.get(name) == _text(value) for name, value in knobs)


def _text(value: Knob) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def parse_key(key: str) -> tuple[str, tuple[tuple[str, Knob], ...]]:
    """Backend and knobs of a candidate's key, the inverse of :attr:`Candidate.key`."""
    backend, _, inner = key.partition("(")
    pairs = [part.partition("=") for part in inner.removesuffix(")").split(",") if part]
    return backend.strip(), tuple((name.strip(), _value(text.strip())) for name, _, text in pairs)


def _value(text: str) -> Knob:
    words: dict[str, Knob] = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class LaunchPlan:
    """How a library spread a batch over the GPU, as far as it says."""

    split: bool
    """Are the keys of a request shared out among several work items, whose results are then merged?"""
    work_items: int
    """The grid, in what one block computes at a time; in a captured graph padded to the most that it has room for."""
    tile: int | None = None
    """Queries of a work item; None: the library doesn't say."""
    buffers: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the tensors that the library was given to keep, by the names of its arguments."""
    masked: bool = False
    """Under a custom mask. FlashInfer packs its bits while it plans, and waits for the device to learn their number."""

    def __str__(self) -> str:
        """``KV split, 12 work items of 64 queries``."""
        queries = "" if self.tile is None else f" of {self.tile} queries"
        return f"{'KV split' if self.split else 'KV not split'}, {self.work_items} work items{queries}"


def _says_nothing() -> tuple[LaunchPlan, ...]:
    return ()


@dataclass
class Prepared:
    """A candidate ready to be launched.

    ``run`` launches the kernels on the current stream and returns the output: a tensor, or ``(out, lse)`` with the
    base-2 log-sum-exp. It is called many times, may be captured into a CUDA graph, and must not synchronise.
    ``plan`` is the host work of a new batch (FlashInfer's ``plan``), timed apart. ``describe`` tells what was planned
    last, one plan for each of the library's calls in ``run``; empty where the library doesn't say.

    ``refill`` is given the problem of the same batch at other lengths, none of them longer: it fills what that batch
    needs into the tensors that ``run`` reads (a captured graph holds their addresses), and plans. None: ``run`` holds
    for the lengths that it was prepared for only. ``frozen`` says in words what all replays of a capture have in
    common, whatever their lengths, beside what ``describe`` tells.
    """

    run: Callable[[], Any]
    plan: Callable[[], None] | None = None
    describe: Callable[[], tuple[LaunchPlan, ...]] = _says_nothing
    refill: Callable[[Any], None] | None = None
    frozen: str = ""
