"""FlashInfer's own autotuner, which chooses among an operation's tactics while the operation runs in its context.

``flashinfer.autotuner`` of 0.6.18: ``autotune(tune_mode, cache=path)`` loads the choices of a JSON file, measures what
these don't cover, and writes the file if it has measured anything. Later calls of the process have the choices too.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

LIBRARY = "flashinfer"

# Files that this process has looked at.
_usable: set[str] = set()


@contextlib.contextmanager
def tuned_by_flashinfer(path: str) -> Iterator[None]:
    """What runs inside, runs once with FlashInfer's tactics being tried. Never while a graph is captured.

    Args:
        path: of its choices, for this process alone. A version that keeps none in a file tunes nothing.
    """
    try:
        from flashinfer.autotuner import autotune
    except ImportError:
        yield
        return
    if "cache" not in inspect.signature(autotune).parameters:
        yield
        return
    _drop_unusable(path)
    context = autotune(True, cache=path)
    with _quiet():
        context.__enter__()
    try:
        yield
    except BaseException as error:
        context.__exit__(type(error), error, error.__traceback__)
        raise
    # A full disk is no fault of the candidate; the process keeps its choices.
    with contextlib.suppress(OSError), _quiet():
        context.__exit__(None, None, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's word that it begins and ends, which a suite's worker would print thousands of times."""
    try:
        from flashinfer.jit.core import logger
    except ImportError:
        yield
        return
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _drop_unusable(path: str) -> None:
    """Remove a file of another environment, whose choices FlashInfer doesn't use, and which it doesn't write either."""
    if path in _usable:
        return
    _usable.add(path)
    if not os.path.exists(path):
        return
    from flashinfer.autotuner import AutoTuner

    try:
        tuner: Any = AutoTuner
        usable = tuner.get().load_configs(path)
    except Exception as error:
        # FlashInfer says which of its versions wrote a file, not what it raises for one that is broken.
        print(f"FlashInfer's choices in {path} are dropped: {type(error).__name__}: {error}", file=sys.stderr)
        usable = False
    if not usable:
        with contextlib.suppress(OSError):
            os.unlink(path)
