"""What a backend lacks is found out without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autotune_cli.kernels.registry import Backend


def missing(*requires: str) -> str | None:
    return Backend("attention.decode", name="made", requires=requires).missing()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_nested_modules_are_found_and_their_parents_not_imported(folder: Path) -> None:
    """flash-attn 2 imports its CUDA library with its package, and fails where that doesn't fit torch."""
    nested = folder / "madelib" / "cute"
    nested.mkdir(parents=True)
    (folder / "madelib" / "__init__.py").write_text("raise ImportError('heavy')\n")
    (folder / "madelib" / "plain.py").touch()
    assert missing("madelib") is None
    assert missing("madelib.cute") is None
    assert missing("madelib.cute.interface") == "madelib.cute.interface"
    (nested / "__init__.py").write_text("raise ImportError('heavy')\n")
    (nested / "interface.py").touch()
    assert missing("madelib.cute.interface") is None
    assert missing("madelib.plain.deeper") == "madelib.plain.deeper"
    assert missing("madelib", "madelib.other", "nomadelib") == "madelib.other"
    assert missing("nomadelib.cute") == "nomadelib.cute"
    assert not any(name.split(".")[0] == "madelib" for name in sys.modules)


def test_a_namespace_package_has_nested_modules_too(folder: Path) -> None:
    """flash-attn-4 alone: flash_attn without an __init__.py."""
    (folder / "madespace" / "cute").mkdir(parents=True)
    assert missing("madespace.cute.cache_utils") == "madespace.cute.cache_utils"
    (folder / "madespace" / "cute" / "cache_utils.py").touch()
    assert missing("madespace.cute.cache_utils") is None
    assert missing() is None


def test_a_function_is_looked_for_in_the_source(folder: Path) -> None:
    """sglang-kernel 0.4.10 has dropped functions of a module that is still there."""
    (folder / "madelib" / "cute").mkdir(parents=True)
    (folder / "madelib" / "__init__.py").write_text("raise ImportError('heavy')\ndef here(): ...\n")
    (folder / "madelib" / "plain.py").write_text("# def gone(): ...\ndef here(a, b): ...\n")
    (folder / "madelib" / "cute" / "__init__.py").write_text("def here(): ...\n")
    (folder / "madelib" / "compiled.abi3.so").touch()
    (folder / "madefile.py").write_text("def here(): ...\n")
    for module in ("madelib", "madefile", "madelib.plain", "madelib.cute", "madelib.compiled"):
        assert missing(f"{module}:here") is None
    for module in ("madelib", "madefile", "madelib.plain", "madelib.cute", "madelib.nothing"):
        assert missing(f"{module}:gone") == f"{module}:gone"
    assert missing("madelib.plain:her") == "madelib.plain:her"
    assert not any(name.split(".")[0] == "madelib" for name in sys.modules)
