"""A plan, or a table of the best candidates, as what an engine loads. Each target is a file of ``targets/``."""

from __future__ import annotations
