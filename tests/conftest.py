"""Fixtures for all tests; what they are made of is in running.py, a name that no other folder's conftest takes."""

from __future__ import annotations

import os
import signal

from running import autotune, shared, tiny, usage

__all__ = ["autotune", "shared", "tiny", "usage"]

# A shell's background job ignores Ctrl-C, and so would everything that tests start from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where other work takes cores, the threads of a torch operator wait for each other in loops, tens of milliseconds each
# time. Without a GPU all inputs are small, and one thread is enough; the largest references of GPU tests want them all.
if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
