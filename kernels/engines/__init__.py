"""Which kernel a serving engine runs when nobody tunes: data with sources, read by :mod:`.resolve`.

A *baseline* is an engine with named options, such as ``sglang`` or ``sglang --attention-backend flashinfer``; the
*default* is an engine without options. Adding an engine is adding a TOML file here: see docs/engines.md.
"""

from __future__ import annotations

from autotune_cli.kernels.engines.baseline import Baseline, parse_baseline, standard_baselines, without_version
from autotune_cli.kernels.engines.data import Engine, engine_names, load_engine
from autotune_cli.kernels.engines.resolve import Resolved, resolve
from autotune_cli.kernels.engines.situation import Situation, situation_of

__all__ = [
    "Baseline",
    "Engine",
    "Resolved",
    "Situation",
    "engine_names",
    "load_engine",
    "parse_baseline",
    "resolve",
    "situation_of",
    "standard_baselines",
    "without_version",
]
