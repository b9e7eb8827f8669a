"""Results of two days on an H100 and an H200 of which tests state figures.

They are copies of what cache/ held on 2026-11-27: a new tuning into cache/ changes the figures there, and no test's.
"""

from __future__ import annotations

import lzma
import tempfile
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data" / "cache"
# Removed when the process ends.
_UNPACKED = tempfile.TemporaryDirectory(prefix="recorded-")


@cache
def recorded(name: str) -> Path:
    """The file of a model's results, unpacked once in a process; nothing may write to it."""
    path = Path(_UNPACKED.name) / f"{name}.json"
    path.write_bytes(lzma.decompress((DATA / f"{name}.json.xz").read_bytes()))
    return path
