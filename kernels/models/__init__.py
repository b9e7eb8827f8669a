"""Geometries of real models, and the suites of workloads made from them. Imports no torch."""

from __future__ import annotations

from autotune_cli.kernels.models.catalog import load_model, model_names
from autotune_cli.kernels.models.config import read_config
from autotune_cli.kernels.models.model import LatentLayers, LayerKind, Model
from autotune_cli.kernels.models.suite import CPU_MODEL, Suite, build_suite, choose_model

__all__ = [
    "CPU_MODEL",
    "LatentLayers",
    "LayerKind",
    "Model",
    "Suite",
    "build_suite",
    "choose_model",
    "load_model",
    "model_names",
    "read_config",
]
