"""Timers: each is a file of this folder that says all there is to know of it (docs/contributing.md, "Adding a timer").

Importing this, and asking what timers there are, loads no torch; making one does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from autotune_cli.errors import UnknownName
from autotune_cli.measure.timers.base import MeasurementError, Sample, Timer, TimerInfo

__all__ = [
    "MeasurementError",
    "Sample",
    "Timer",
    "TimerInfo",
    "check_timer",
    "default_timer",
    "header_words",
    "in_words",
    "known_timers",
    "make_timer",
]

_NO_TIMER = "base"


@cache
def known_timers() -> Mapping[str, TimerInfo]:
    """What the files of this folder say of their timers, by name, the lowest rank first."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != _NO_TIMER]
    found: list[TimerInfo] = [importlib.import_module(f"{__name__}.{name}").ABOUT for name in names]
    found.sort(key=lambda about: (about.rank, about.name))
    return MappingProxyType({about.name: about for about in found})


def default_timer(device: str) -> str:
    """The name of the most trustworthy timer of ``cuda`` or ``cpu``."""
    return _of_device(device)[0]


def check_timer(name: str, device: str) -> None:
    """Does ``cuda`` or ``cpu`` have this timer?

    Raises:
        UnknownName: no.
    """
    known = _of_device(device)
    if name not in known:
        raise UnknownName("timer", name, known)


def make_timer(name: str, device: str, l2: str = "cold") -> Timer:
    """A timer for this process.

    Raises:
        UnknownName: no such timer on this device.
    """
    check_timer(name, device)
    timer: Timer = importlib.import_module(f"{__name__}.{name}").make(l2)
    return timer


def header_words(name: str) -> str:
    """A timer in the header of a result; its name where that is of another version of this program."""
    about = known_timers().get(name)
    return name if about is None else about.header


def in_words() -> str:
    """``cupti, events (GPU) or cpu_clock``: the names of all."""
    gpu = [name for name, about in known_timers().items() if "cuda" in about.devices]
    others = [name for name in known_timers() if name not in gpu]
    return f"{', '.join(gpu)} (GPU) or {', '.join(others)}"


def _of_device(device: str) -> list[str]:
    return [name for name, about in known_timers().items() if device in about.devices]
