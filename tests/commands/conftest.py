"""Fixtures for the tests beside this file."""

from __future__ import annotations

from made_worker import worker

__all__ = ["worker"]
