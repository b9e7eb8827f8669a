"""What only a process with torch can tell: jobs of a worker (:mod:`autotune_cli.worker.device`), picklable.

A job that has nothing to complain of returns an empty text: None is what stands for an iterator's end.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune_cli.results.schema import Conditions

# Long enough for the clocks to settle under load, short enough to wait for.
_LOAD_S = 0.6
_SIDE = 4096
_SOME = 1 << 20


@dataclass(frozen=True)
class GpuSeen:
    """The GPU as torch sees it."""

    cuda: str | None
    """That torch was built with; None: a build for CPUs."""
    name: str | None
    """None: torch can't use it, see ``error``."""
    error: str = ""
    architectures: tuple[str, ...] = ()
    """``sm_90``: what torch has kernels for."""
    capability: tuple[int, int] = (0, 0)

    @property
    def is_built_for_it(self) -> bool:
        """Binaries run on newer GPUs of the same major number, PTX (``compute_``) on all newer ones."""
        for text in self.architectures:
            kind, _, digits = text.rstrip("af").partition("_")
            if not digits.isdigit():
                continue
            has = int(digits[:-1]), int(digits[-1])
            if kind == "sm" and has[0] == self.capability[0] and has <= self.capability:
                return True
            if kind == "compute" and has <= self.capability:
                return True
        return not self.architectures


@dataclass(frozen=True)
class LookAtGpu:
    """Make a context on the first visible GPU."""

    def __call__(self, context: object) -> GpuSeen:
        import torch

        cuda = torch.version.cuda
        try:
            torch.cuda.init()
            name = torch.cuda.get_device_name(0)
            torch.zeros(1, device="cuda").item()
            capability = torch.cuda.get_device_capability(0)
            return GpuSeen(cuda, name, "", tuple(torch.cuda.get_arch_list()), capability)
        except (RuntimeError, AssertionError) as error:
            return GpuSeen(cuda, None, _line(error))


@dataclass(frozen=True)
class TryImport:
    """Load a library as a candidate does. One that ends the process is told by its end."""

    module: str

    def __call__(self, context: object) -> str:
        """Why it can't be loaded; empty: it can."""
        try:
            importlib.import_module(self.module)
        except (Exception, SystemExit) as error:
            return _line(error)
        return ""


@dataclass(frozen=True)
class TryCupti:
    """Time a kernel by CUPTI, as a tuning does."""

    def __call__(self, context: object) -> str:
        """Why it doesn't work; empty: it does."""
        import torch

        from autotune_cli.measure.timers import MeasurementError, make_timer

        values = torch.ones(_SOME, device="cuda")
        try:
            make_timer("cupti", "cuda", "warm").inspect(values.sum, 3)
        except (MeasurementError, RuntimeError) as error:
            return _line(error)
        return ""


@dataclass(frozen=True)
class UnderLoad:
    """Keep the GPU busy for a moment and read its clocks meanwhile."""

    seconds: float = _LOAD_S

    def __call__(self, context: object) -> tuple[Conditions, float | None]:
        """The reading, and the highest SM clock in MHz."""
        import torch

        from autotune_cli.measure.conditions import Gpu

        gpu = Gpu(str(torch.cuda.get_device_properties(0).uuid))
        a, b = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.float16) for _ in range(2))
        return busy(lambda: a @ b, torch.cuda.synchronize, lambda: gpu.conditions(0), self.seconds), (
            gpu.max_sm_clock_mhz()
        )


def busy(
    call: Callable[[], Any], wait: Callable[[], None], read: Callable[[], Conditions], seconds: float
) -> Conditions:
    """What ``read`` says at the end of so many seconds of calls, while some are still on their way."""
    end = time.monotonic() + seconds
    while True:
        for _ in range(20):
            call()
        if time.monotonic() >= end:
            break
        wait()
    # Calls return before the GPU has done them: it works now.
    reading = read()
    wait()
    return reading


def _line(error: BaseException) -> str:
    """The message's first line with something in it, after the kind of exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
