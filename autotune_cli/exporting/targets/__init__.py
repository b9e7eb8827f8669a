"""The targets of ``autotune export``, a file each."""

from __future__ import annotations
