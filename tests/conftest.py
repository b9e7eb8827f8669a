"""Fixtures for all tests; what they are made of is in running.py, a name that no other folder's conftest takes."""

from __future__ import annotations

import signal

from running import autotune, shared, tiny, usage

__all__ = ["autotune", "shared", "tiny", "usage"]

# A shell's background job ignores Ctrl-C, and so would everything that tests start from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
