"""From logs to a weighted suite: read, simulate, cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune_cli.kernels.base import BYTES
from autotune_cli.kernels.models import Model
from autotune_cli.kernels.models.options import parse_dtype
from autotune_cli.kernels.workload import AnyWorkload
from autotune_cli.results.schema import Traffic
from autotune_cli.traffic.formats import read_log
from autotune_cli.traffic.formats.base import Reading, Recorded
from autotune_cli.traffic.log import Log
from autotune_cli.traffic.scheduler import Scheduler
from autotune_cli.traffic.simulate import simulate
from autotune_cli.traffic.source import Source
from autotune_cli.traffic.steps import Steps


@dataclass(frozen=True)
class Served:
    """What servers did, in all logs together."""

    traffic: Traffic
    steps: Steps
    notes: tuple[str, ...]


def served(paths: Sequence[Path], scheduler: Scheduler, context: int | None = None) -> Served:
    """The steps of the servers whose logs these are: each log is one server's, simulated by itself.

    Args:
        context: keys of a request where a trace doesn't tell.

    Raises:
        BadTraffic: see :func:`~autotune_cli.traffic.formats.read_log`.
    """
    whole = Steps(scheduler.captured)
    notes: list[str] = []
    files: list[str] = []
    logs: list[Log] = []
    for path in paths:
        with Source(path) as source:
            found = read_log(source, Reading(scheduler.captured, context))
        files.append(f"{path.name} ({found.about})")
        if isinstance(found, Recorded):
            whole.merge(found.steps)
        else:
            whole.merge(simulate(found, scheduler))
            logs.append(found)
        notes += [f"{path.name}: {note}" for note in found.notes]
    requests = [request for log in logs for request in log.requests]
    words = ""
    if logs:
        words = scheduler.words([(scheduler.step_of(log.step_s), log.step_s is not None) for log in logs])
    digest = hashlib.sha256(f"{whole.digest()}\n{words}".encode()).hexdigest()[:16]
    traffic = Traffic(
        digest=digest,
        files=tuple(files),
        requests=len(requests),
        prompt_tokens=sum(request.prompt for request in requests),
        output_tokens=sum(request.output for request in requests),
        steps=whole.passes,
        scheduler=words,
    )
    return Served(traffic, whole, tuple(notes))


def layers_of(model: Model, workloads: Sequence[AnyWorkload], tp: int) -> list[int]:
    """Layers of the model that run each of the workloads of one batch shape.

    Layers with a window that is longer than the batch's context compute what full ones do: they have no workload, and
    count with the full ones. Of kinds whose number isn't known (latent attention, the selections of its indexer) 1.
    """
    kinds = list(zip(model.geometries(tp), model.layers, strict=True))
    counts: list[int] = []
    seen = 0
    for workload in workloads:
        geometry = getattr(workload, "geometry", None)
        number = sum(
            layer.count
            for known, layer in kinds
            if geometry is not None
            and (known.num_qo_heads, known.num_kv_heads, known.head_dim, known.window_left)
            == (geometry.num_qo_heads, geometry.num_kv_heads, geometry.head_dim, geometry.window_left)
        )
        seen += number
        counts.append(number or 1)
    missing = sum(layer.count for layer in model.layers) - seen
    full = [
        index
        for index, workload in enumerate(workloads)
        if getattr(getattr(workload, "geometry", None), "window_left", 0) is None
    ]
    if full and missing > 0:
        counts[full[0]] += missing
    return counts


def token_bytes(model: Model, tp: int, dtype: str | None, kv_dtype: str | None) -> int | None:
    """Bytes of a token's keys and values in all layers on one GPU; None: the number of layers isn't known."""
    if not model.layers:
        return None
    geometries = model.geometries(tp, parse_dtype("dtype", dtype), parse_dtype("kv_dtype", kv_dtype))
    return sum(
        layer.count * 2 * each.num_kv_heads * each.head_dim * BYTES[each.cache_dtype]
        for layer, each in zip(model.layers, geometries, strict=True)
    )
