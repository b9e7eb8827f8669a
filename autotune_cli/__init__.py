"""autotune: the fastest correct attention and top-k kernels for LLM serving on this GPU."""

from __future__ import annotations

__version__ = "0.1.0"
