"""Fixtures for all tests; what they are made of is in running.py, a name that no other folder's conftest takes."""

from __future__ import annotations

from running import autotune, shared, tiny, usage

__all__ = ["autotune", "shared", "tiny", "usage"]
