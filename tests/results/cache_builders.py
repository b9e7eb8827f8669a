"""A cache in a folder, for tests."""

from __future__ import annotations

import os
from pathlib import Path

from autotune_cli.results.cache import CacheStore
from autotune_cli.results.schema import RunFile


def store(root: Path, name: str = "llama") -> CacheStore:
    return CacheStore(root, name)


def listing(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root / "cache") if not name.endswith(".lock"))


def loaded(root: Path) -> RunFile:
    run, notes = store(root).load()
    assert notes == []
    assert run is not None
    return run
