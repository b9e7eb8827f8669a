"""Traces of torch's profiler and of Nsight Systems."""

from __future__ import annotations
