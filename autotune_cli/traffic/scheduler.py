"""What a server's scheduler goes by: the engine's rules and numbers, as data with sources, and what the user gives."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from autotune_cli.kernels.base import Frozen

_FOLDER = Path(__file__).parent / "engines"
DEFAULT_STEP_S = 0.020
"""Seconds of a decode step where neither a log nor the user tells: of an 8B model in bfloat16, which reads 16 GB of
weights, on an H100 (3.35 TB/s) or a smaller GPU, with attention and the host's time."""
TOKENS_IN_A_STEP = 256
"""New tokens that take no longer than one: reading a weight takes as long as multiplying it by so many. H100, bfloat16:
989 TFLOP/s over 3.35 TB/s are 295, H200: 206 (their data sheets)."""

Policy = Literal["prefill first", "mixed"]


class MemoryRow(Frozen):
    """What an engine takes on a GPU of some size."""

    below_mib: PositiveInt | None = None
    versions: str = ""
    """Of the engine, such as ``<0.5.17``."""
    chunk: PositiveInt
    max_running: PositiveInt | None = None
    most_captured: PositiveInt
    most_captured_from_tp4: PositiveInt | None = None
    source: str


class EngineRules(Frozen):
    """An engine's file."""

    name: str
    newest: str | None = None
    distributions: tuple[str, ...]
    policy: Policy
    max_running: PositiveInt
    max_running_source: str
    captured: tuple[tuple[PositiveInt, NonNegativeInt, PositiveInt], ...]
    """First, last and step of captured sizes; a last of 0: up to the largest."""
    captured_source: str
    captures_largest: bool = False
    cache_share: PositiveFloat
    """Of the GPU's memory that the engine takes, weights included."""
    memory: tuple[MemoryRow, ...]
    unknown: MemoryRow


@dataclass(frozen=True)
class Given:
    """What the user gives; None: the engine's."""

    max_running: int | None = None
    chunk: int | None = None
    max_tokens: int | None = None
    captured: tuple[int, ...] | None = None
    step_s: float | None = None


@dataclass(frozen=True)
class Scheduler:
    """The rules of one server."""

    engine: str
    version: str | None
    policy: Policy
    chunk: int
    """New tokens of a step, at most."""
    max_running: int
    """Requests that are decoded or prefilled at a time."""
    max_tokens: int | None
    """Of the KV cache; None: not bounded."""
    captured: tuple[int, ...]
    """Batch sizes of CUDA graphs; none: eager."""
    step_s: float | None = None
    """Seconds of a decode step; None: as the log says, or ``DEFAULT_STEP_S``."""
    is_bound_by_memory: bool = False
    """``max_tokens`` is what the GPU could hold without weights, and nobody gave it."""

    def step_of(self, measured_s: float | None) -> float:
        """Seconds of a decode step of a log that measured so much."""
        return self.step_s or measured_s or DEFAULT_STEP_S

    def words(self, steps_s: list[tuple[float, bool]]) -> str:
        """All of it in a sentence.

        Args:
            steps_s: seconds of each log's decode step, and whether the log measured it.
        """
        version = f" {self.version}" if self.version else ""
        parts = [f"{self.engine}{version}, {self.policy}, chunks of {self.chunk}, at most {self.max_running} running"]
        if self.max_tokens is not None:
            why = " (what the GPU holds without weights)" if self.is_bound_by_memory else ""
            parts.append(f"{self.max_tokens:,} tokens cached{why}")
        graphs = f"batches up to {self.captured[-1]} captured" if self.captured else "no CUDA graph"
        parts.append(graphs)
        told = ["given" if self.step_s else "measured" if measured else "assumed" for _, measured in steps_s]
        times = [f"{1e3 * step_s:.3g} ms ({word})" for (step_s, _), word in zip(steps_s, told, strict=True)]
        parts.append(f"a decode step of {' and '.join(dict.fromkeys(times))}")
        return ", ".join(parts)


def engine_names() -> tuple[str, ...]:
    """Engines whose scheduling is known."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def load_rules(name: str) -> EngineRules:
    """The rules of an engine; raises KeyError of one that is not known."""
    if name not in engine_names():
        raise KeyError(name)
    return EngineRules.model_validate(tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8")))


def scheduler_of(
    engine: str,
    given: Given,
    memory_bytes: int | None,
    tp: int = 1,
    token_bytes: int | None = None,
    graphs: bool = True,
) -> Scheduler:
    """The scheduler of an engine on a GPU.

    Args:
        engine: one of :func:`engine_names`.
        memory_bytes: of one GPU; None: not known.
        tp: GPUs that share a layer's heads.
        token_bytes: of a token's keys and values in all layers on one GPU; None: not known.
        graphs: are decode steps captured?
    """
    rules = load_rules(engine)
    version = _version(rules)
    row = _row(rules, memory_bytes, version)
    running = given.max_running or row.max_running or rules.max_running
    captured = given.captured
    if captured is None:
        most = (row.most_captured_from_tp4 if tp >= 4 else None) or row.most_captured
        captured = _captured(rules, min(most, running) if rules.captures_largest else min(most, 2 * running))
    max_tokens, is_bound = given.max_tokens, False
    if max_tokens is None and memory_bytes and token_bytes:
        max_tokens, is_bound = int(rules.cache_share * memory_bytes) // token_bytes, True
    return Scheduler(
        engine=engine,
        version=version,
        policy=rules.policy,
        chunk=given.chunk or row.chunk,
        max_running=running,
        max_tokens=max_tokens,
        captured=tuple(sorted(set(captured))) if graphs else (),
        step_s=given.step_s,
        is_bound_by_memory=is_bound,
    )


def _row(rules: EngineRules, memory_bytes: int | None, version: str | None) -> MemoryRow:
    if not memory_bytes:
        return rules.unknown
    mib = memory_bytes / 2**20
    for row in rules.memory:
        fits = row.below_mib is None or mib < row.below_mib
        if fits and (not row.versions or _is_within(version, row.versions)):
            return row
    return rules.unknown


def _is_within(version: str | None, bounds: str) -> bool:
    try:
        return version is not None and Version(version) in SpecifierSet(bounds, prereleases=True)
    except InvalidVersion:
        return False


def _captured(rules: EngineRules, most: int) -> tuple[int, ...]:
    sizes = {size for first, last, step in rules.captured for size in range(first, (last or most) + 1, step)}
    kept = {size for size in sizes if size <= most}
    return tuple(sorted(kept | ({most} if rules.captures_largest else set())))


def _version(rules: EngineRules) -> str | None:
    for name in rules.distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return rules.newest
