"""Timers by name. Importing this loads no torch; making one does."""

from __future__ import annotations

import importlib

from autotune_cli.errors import UnknownName
from autotune_cli.measure.timers.base import MeasurementError, Sample, Timer

__all__ = ["TIMERS", "MeasurementError", "Sample", "Timer", "check_timer", "default_timer", "make_timer"]

# The first that fits the device is the default; the others must be asked for.
TIMERS: dict[str, tuple[str, ...]] = {"cupti": ("cuda",), "events": ("cuda",), "cpu_clock": ("cpu",)}


def default_timer(device: str) -> str:
    """The name of the most trustworthy timer of ``cuda`` or ``cpu``."""
    return next(name for name, devices in TIMERS.items() if device in devices)


def check_timer(name: str, device: str) -> None:
    """Does ``cuda`` or ``cpu`` have this timer?

    Raises:
        UnknownName: no.
    """
    known = [timer for timer, devices in TIMERS.items() if device in devices]
    if name not in known:
        raise UnknownName("timer", name, known)


def make_timer(name: str, device: str, l2: str = "cold") -> Timer:
    """A timer for this process.

    Raises:
        UnknownName: no such timer on this device.
    """
    check_timer(name, device)
    module = importlib.import_module(f"{__name__}.{name}")
    timer: Timer = module.make(l2)
    return timer
