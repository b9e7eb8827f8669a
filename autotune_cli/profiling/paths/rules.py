"""What a path says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autotune_cli.profiling.path import PhasePlan
from autotune_cli.profiling.request import PathRequest, PhaseName
from autotune_cli.sglang.padding import PadMode

PADDED_MODES = ("extend", "mixed")
"""Modes of SGLang that are padded and run between the pieces of a graph."""


@dataclass(frozen=True)
class PathRules:
    """A path that the field ``backend`` names."""

    plan: Callable[[PhaseName, PathRequest], PhasePlan]
    """What a phase runs; refuses with BadField what the path doesn't have."""
    phases: tuple[PhaseName, ...]
    """Those that are run if the user names none."""
    pad_modes: Mapping[PhaseName, tuple[PadMode, ...]]
    """Of each phase that runs in pieces, the usual one first."""
    why_not: Callable[[PhaseName, PathRequest], str] = lambda phase, request: ""
    """Why a phase can't be run safely; empty: it can."""
    has_sinks: bool = False
    """Do its kernels take attention sinks?"""
    has_trees: bool = False
    """Does it verify trees of drafts?"""

    def pads(self, request: PathRequest) -> Mapping[PhaseName, tuple[PadMode, ...]]:
        """``pad_modes``, where the mode has phases in pieces at all."""
        return self.pad_modes if request.mode in PADDED_MODES else {}
