"""What an environment records of libraries and variables."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

from autotune_cli.measure.environment import library_versions
from autotune_cli.measure.installed import NOT_INSTALLED, relevant_variables


def test_libraries_by_the_first_distribution_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"sgl-kernel": "0.3.21", "flash-attn-4": "4.0.0b36", "nvidia-cutlass-dsl": "4.8.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert library_versions() == {
        "torch": torch.__version__,
        "triton": NOT_INSTALLED,
        "flashinfer": NOT_INSTALLED,
        "sgl_kernel": "0.3.21",
        "flash_attn.cute": "4.0.0b36",
        "cutlass_dsl": "4.8.1",
    }
    # Where there is no FlashAttention-4, results are kept from before it was known.
    installed.clear()
    assert set(library_versions()) == {"torch", "triton", "flashinfer", "sgl_kernel"}


def test_variables_that_change_kernels() -> None:
    names = ("FLASH_ATTENTION_CLC", "CUTE_DSL_ARCH", "FLASHINFER_X")
    harmless = (
        "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR",
        "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED",
        "TRITON_CACHE_DIR",
        "HOME",
    )
    assert set(relevant_variables(dict.fromkeys((*names, *harmless), "1"))) == set(names)
