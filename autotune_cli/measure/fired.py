"""Which kernels a launch fires, with their launch shapes."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch._C._autograd import DeviceType
from torch.autograd import profiler

from autotune_cli.results.schema import Kernel

_MOST_SHAPES = 16
# A trace of a vetting has less than a megabyte.
_MEMORY, _ROOM = Path("/dev/shm"), 64 << 20
_NO_KERNELS = ("Memcpy", "Memset")
_DEVICE_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")


def fired_on_cpu(launch: Callable[[], Any]) -> tuple[Kernel, ...]:
    """The outermost torch operators of one launch, in order."""
    # torch.profiler.profile records the same through this class, but first imports TorchInductor (a second).
    with profiler.profile(use_kineto=True) as session:
        launch()
    outermost = [event for event in session.function_events or () if event.cpu_parent is None]
    return collapse(Kernel(name=event.name) for event in outermost)


@functools.cache
def shapes_told() -> Any:
    """The option of torch's profiler (since 2.10) by which its events tell grid and block; None: there is none."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        return _ExperimentalConfig(expose_kineto_event_metadata=True)
    except TypeError:
        return None


def kernels_of(session: profiler.profile) -> Iterator[Kernel]:
    """The device activities of a profiler session in the order of their start, as many as are asked for.

    Where the session's events don't tell grid and block, they are read from the trace that it exports, which takes
    3 ms.
    """
    results: Any = session.kineto_results
    events = [event for event in results.events() if event.device_type() == DeviceType.CUDA]
    events.sort(key=lambda event: event.start_ns())
    if not all(_shape(event) or event.name().startswith(_NO_KERNELS) for event in events[:1]):
        yield from _traced(session)
        return
    for event in events:
        yield Kernel(name=event.name(), us=event.duration_ns() / 1e3, **_shape(event))


def _shape(event: Any) -> dict[str, Any]:
    """``grid`` and ``block`` of an event of the profiler; empty where it doesn't tell them."""
    try:
        told = json.loads(f"{{{event.metadata_json()}}}")
    except (AttributeError, ValueError):
        return {}
    return {name: told[name] for name in ("grid", "block") if name in told}


def _traced(session: profiler.profile) -> Iterator[Kernel]:
    # A name that nobody guesses, and no file made ahead, which takes 2 ms: torch puts one of its own in the place.
    path = _folder() / f"autotune-{secrets.token_hex(16)}.json"
    try:
        session.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    finally:
        path.unlink(missing_ok=True)
    found = [event for event in events if event.get("cat") in _DEVICE_CATEGORIES]
    found.sort(key=lambda event: float(event["ts"]))
    for event in found:
        yield _kernel(event)


@functools.cache
def _folder() -> Path:
    """Where traces are written: in memory where there is room, as a file on a slow disk takes milliseconds."""
    try:
        has_room = shutil.disk_usage(_MEMORY).free > _ROOM and os.access(_MEMORY, os.W_OK)
    except OSError:
        has_room = False
    return _MEMORY if has_room else Path(tempfile.gettempdir())


def collapse(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Each kernel and launch shape once, with its count, in the order of first launch.

    A candidate that makes a call for every request launches hundreds of shapes: beyond ``_MOST_SHAPES`` it is told by
    the kernels' names alone.
    """
    exact = _merge(kernels, lambda kernel: (kernel.name, kernel.grid, kernel.block))
    if len(exact) <= _MOST_SHAPES:
        return exact
    return _merge((kernel.model_copy(update={"grid": None, "block": None}) for kernel in exact), lambda k: k.name)


def _merge(kernels: Iterable[Kernel], same: Callable[[Kernel], object]) -> tuple[Kernel, ...]:
    merged: dict[object, Kernel] = {}
    for kernel in kernels:
        known = merged.get(same(kernel))
        if known is None:
            merged[same(kernel)] = kernel
        else:
            us = None if known.us is None or kernel.us is None else known.us + kernel.us
            merged[same(kernel)] = known.model_copy(update={"count": known.count + kernel.count, "us": us})
    return tuple(merged.values())


def _kernel(event: dict[str, Any]) -> Kernel:
    arguments = event.get("args", {})
    return Kernel(
        name=event["name"], grid=arguments.get("grid"), block=arguments.get("block"), us=float(event.get("dur", 0.0))
    )
