"""Fixtures for all tests; what they are made of is in running.py, a name that no other folder's conftest takes."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from preloaded import known_ceilings, preloaded_workers
from running import autotune, shared, tiny, usage

__all__ = ["autotune", "known_ceilings", "preloaded_workers", "shared", "tiny", "usage"]

# A shell's background job ignores Ctrl-C, one of nohup a hang-up, and so would everything that tests start from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Where other work takes cores, the threads of a torch operator wait for each other in loops, tens of milliseconds each
# time. Without a GPU all inputs are small, and one thread is enough; the largest references of GPU tests want them all.
if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection() -> None:
    """Ten thousand tests are made, and nothing of them is garbage yet."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected lives to the end: it is not looked through again each time that some test makes garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs of the program first, as they take longest: of two processes none is left with a long file at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("tuning", "commands", "worker"))
