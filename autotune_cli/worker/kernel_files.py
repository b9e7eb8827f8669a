"""Running the users' files that register backends, in a worker."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from autotune_cli.kernels import own_files
from autotune_cli.kernels.registry import REGISTRY
from autotune_cli.worker.protocol import KERNEL_FILE_ERROR, Refusal, ReportPhase

# Of a message; some hold whole sources or logs of compilers.
_LONGEST_MESSAGE = 400


def load_kernel_files(paths: Sequence[str], phase: ReportPhase) -> None:
    """Run the users' files, each under a phase of its own.

    Raises:
        Refusal: see :func:`load_kernel_file`.
    """
    begin = time.time()
    if paths:
        own_files.watch(begin)
        # Built-in backends first, so that the error is of the file that takes the name of one.
        REGISTRY.discover()
    for path in paths:
        phase("load", path)
        REGISTRY.own_files.append(Path(path))
        load_kernel_file(path)


def load_kernel_file(path: str) -> None:
    """Run a user's file that registers backends.

    Raises:
        Refusal: it can't be read or raises, with the line at fault.
    """
    name = f"autotune_user_{abs(hash(path))}_{Path(path).stem}"
    # os.path rather than Path: a name that is too long is no file, not an exception.
    if not os.path.isfile(path):
        other = "not a regular file" if os.path.exists(path) else "no such file"
        raise Refusal(KERNEL_FILE_ERROR, "a folder, not a Python file" if os.path.isdir(path) else other)
    # Its own helpers lie beside it, as for any script; last, so that they hide nothing.
    sys.path.append(str(Path(path).parent))
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise Refusal(KERNEL_FILE_ERROR, "not a Python file (.py)")
    try:
        module = importlib.util.module_from_spec(specification)
        # Triton and inspect look a function's source up through its module.
        sys.modules[name] = module
        specification.loader.exec_module(module)
    except SyntaxError as error:
        elsewhere = "" if error.filename in (path, None) else f"{error.filename}, "
        raise Refusal(KERNEL_FILE_ERROR, f"{elsewhere}line {error.lineno}: {_message(error.msg)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it is, the file is at fault
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f"line {frames[-1].lineno}: " if frames else ""
        raise Refusal(KERNEL_FILE_ERROR, f"{where}{type(error).__name__}: {_message(error)}") from error


def _message(error: object) -> str:
    """What an exception says, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as fault:  # whatever __str__ raises
        return f"its message can't be shown ({type(fault).__name__})"
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
