"""Which variable keeps torch from starting: the search by made-up machines, and an import that really fails."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from autotune_cli.doctor.culprit import breaking_variables, torch_starts

PLAIN = {"PATH": "/bin", "HOME": "/h", "LANG": "C"}
MANY = {f"V{number}": "" for number in range(40)}


def found(
    broken: set[str], environ: Mapping[str, str], error: str = "", needed: str = ""
) -> tuple[tuple[str, ...], int]:
    """What is found where all of ``broken`` must go and ``needed`` must stay, and with how many tries."""
    tried: list[Mapping[str, str]] = []

    def starts(variables: Mapping[str, str]) -> bool:
        tried.append(variables)
        return not broken & set(variables) and (not needed or needed in variables)

    return breaking_variables(environ, error, starts), len(tried)


def test_one_variable_of_many_is_found_by_halving() -> None:
    assert found({"TORCH_LOGS"}, PLAIN | MANY | {"CUDA_HOME": "/x", "TORCH_LOGS": "?"}) == (("TORCH_LOGS",), 3)
    names, tries = found({"V33"}, PLAIN | MANY | {"CUDA_HOME": "/x"})
    assert names == ("V33",)
    assert tries <= 14


def test_a_variable_that_the_error_names_is_tried_first() -> None:
    environ = PLAIN | MANY | {"LD_LIBRARY_PATH": "/needed"}
    assert found({"V7"}, environ, "ValueError: V7=x is no level", needed="LD_LIBRARY_PATH") == (("V7",), 1)


def test_two_that_must_go_together_are_both_named() -> None:
    names, _ = found({"LD_PRELOAD", "PYTHONPATH"}, PLAIN | {"LD_PRELOAD": "a", "CUDA_HOME": "b", "PYTHONPATH": "c"})
    assert {"LD_PRELOAD", "PYTHONPATH"} <= set(names)


@pytest.mark.parametrize("environ", [PLAIN, PLAIN | MANY])
def test_no_variable_is_blamed_for_a_torch_that_never_starts(environ: dict[str, str]) -> None:
    assert found({"PATH"}, environ)[0] == ()


def test_an_import_that_fails(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('half a torch')")
    assert not torch_starts(os.environ | {"PYTHONPATH": str(tmp_path)})
    (tmp_path / "torch.py").write_text("")
    assert torch_starts(os.environ | {"PYTHONPATH": str(tmp_path)})
