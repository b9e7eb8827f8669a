"""What decides which kernel an engine runs: the workload, the model, the GPU, the server's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autotune_cli.kernels.base import Mode
from autotune_cli.kernels.registry import Device
from autotune_cli.kernels.workload import AnyWorkload

Attention = Literal["mha", "mla", "dsa", "dsv4"]
"""Kind of a model's attention: MHA and GQA; multi-head latent; DeepSeek sparse (``index_topk``); DeepSeek-V4's."""


@dataclass(frozen=True)
class Situation:
    """Everything that the rows of an engine's table may ask for."""

    operation: str
    gpu: str
    """``sm90`` and the like, ``amd`` or ``cpu``."""
    mode: Mode = "eager"
    """``graph``: from a CUDA graph."""
    attention: Attention = "mha"
    cuda: str = ""
    """CUDA version, such as ``13.0``; empty: unknown, which no row with a bound on it fits."""
    model_type: str = ""
    """Of the model's config.json; empty: not known."""
    sinks: bool = False
    window: bool = False
    softcap: bool = False
    group: int = 1
    """Query heads that share a KV head."""
    kv_heads: int = 1
    """On one GPU."""
    k: int = 0
    """Of a top-k."""
    packed: bool = False
    """Of a top-k: a row holds the scores of several requests, as in an extend."""
    kv_dtype: str = "bfloat16"
    prefix: int = 0
    """Cached tokens of a batch before its new ones."""
    keys: int = 0
    """All keys of a batch."""
    asymmetric: bool = False
    """Keys and values of different widths."""
    server_options: Mapping[str, str] = field(default_factory=dict)
    """Options, as ``options`` has them, without which no server would run such a workload."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The server's options without their dashes, a switch as ``true``; only those the engine's file declares."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the server."""


def situation_of(
    workload: AnyWorkload,
    device: Device,
    model_type: str = "",
    options: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Situation:
    """The situation of a workload on a device."""
    gpu = device.kind if device.capability is None else f"sm{device.capability[0]}{device.capability[1]}"
    shared = {"mode": workload.mode, "gpu": gpu, "cuda": device.cuda, "model_type": model_type}
    given = {"options": dict(options or {}), "variables": dict(variables or {})}
    return Situation(workload.operation, **workload.situation, **shared, **given)  # type: ignore[arg-type]
