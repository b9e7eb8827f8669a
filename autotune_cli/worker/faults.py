"""What an exception in a worker means for the candidate, and for the worker."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

import autotune_cli
from autotune_cli import kernels
from autotune_cli.results.schema import Status
from autotune_cli.worker.compiler_errors import reason_of

# After one of these the CUDA context is gone for good: every later call fails.
_STICKY = (
    "illegal memory access",
    "misaligned address",
    "illegal instruction",
    "unspecified launch failure",
    "device-side assert",
    "hardware stack error",
    "invalid program counter",
    "an illegal address space",
)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_LONGEST = 300
# Frames in here are not the user's: this program and the standard library.
_NOT_THEIRS = (
    Path(str(autotune_cli.__file__)).resolve().parent,
    Path(str(kernels.__file__)).resolve().parent,
    Path(sysconfig.get_paths()["stdlib"]).resolve(),
)


@dataclass(frozen=True)
class Fault:
    status: Status
    reason: str
    fatal: bool = False
    """The worker must be replaced."""


def fault_of(error: BaseException) -> Fault:
    """The status of a candidate that raised ``error``."""
    text = f"{type(error).__name__}: {error}".strip()
    lowered = text.lower()
    first = text.splitlines()[0][:_LONGEST] if text else type(error).__name__
    if "ninja" in lowered:
        # A build when the candidate's turn came: pages of compilers' output.
        first = reason_of(error)
    if isinstance(error, SystemExit):
        return Fault("crashed", f"it calls exit({error.code!r})")
    if any(words in lowered for words in _STICKY):
        words = next(words for words in _STICKY if words in lowered)
        return Fault("crashed", f"{words} ({first})", fatal=True)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in lowered for words in _OUT_OF_MEMORY):
        return Fault("out_of_memory", first)
    return Fault("error", first + _place(error))


def _place(error: BaseException) -> str:
    """``, in File "mine.py", line 12 in run``: the innermost frame that is neither ours nor an installed library's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not _is_installed(path.resolve()):
            return f', in File "{path.name}", line {frame.lineno} in {frame.name}'
    return ""


def _is_installed(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _NOT_THEIRS)


def is_healthy(device: str) -> bool:
    """Can this process still compute? Frees what a failed candidate left behind."""
    if device != "cuda":
        return True
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return float(torch.ones(8, device="cuda").sum()) == 8.0
    except Exception:  # any failure at all means: replace the process; the fault itself is already recorded
        return False
