"""Did the selected kernels fire? Traces are read, split into phases, classified and judged. Needs no torch."""

from __future__ import annotations
