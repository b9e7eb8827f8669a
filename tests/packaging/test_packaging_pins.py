"""constraints.txt pins everything that CI installs, at versions that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

packaging = pytest.importorskip("packaging", reason="the package packaging is not installed")
from packaging.requirements import Requirement  # noqa: E402
from packaging.utils import canonicalize_name  # noqa: E402

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PINS: dict[str, str] = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}


def test_torch_is_the_cpu_build_of_ci() -> None:
    assert PINS["torch"] == "2.13.0"


def test_constraints_are_pins_of_releases() -> None:
    assert len(PINS) == len(LINES)
    # A local version (2.13.0+cpu) would bind to one index's file.
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())


def test_each_requirement_of_ci_is_pinned_to_a_version_it_allows() -> None:
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["cpu"], *extras["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), text


def test_what_the_makefile_installs_by_name_is_pinned() -> None:
    text = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^\t\$\(PIP\) -c constraints.txt (.*?)(?:2>.*)?$", text, flags=re.MULTILINE)
    named = {word for line in lines for word in line.split() if re.fullmatch(r"[a-z][a-z0-9-]+", word)}
    assert {"setuptools", "flashinfer-python", "triton"} <= named
    assert {canonicalize_name(name) for name in named} <= set(PINS)


def test_no_gpu_extra_is_bound_by_the_pins() -> None:
    extras = PROJECT["optional-dependencies"]
    names = {extra: {Requirement(text).name for text in texts} for extra, texts in extras.items()}
    assert "sglang-kernel" in names["cuda"]
    assert "flashinfer-python" in names["cuda"]
    # One is the other's successor under the same import name.
    assert all(not {"sglang-kernel", "sgl-kernel"} <= each for each in names.values())
    recipe = (ROOT / "Makefile").read_text().split("$(STAMPS)/installed-cuda:")[1].split("\n\n")[0]
    assert "constraints" not in recipe


def test_torch_comes_with_an_extra_and_never_by_itself() -> None:
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not names & {"torch", "pandas", "triton", "scipy", "matplotlib"}
    for extra, texts in PROJECT["optional-dependencies"].items():
        brings = any(Requirement(text).name == "torch" for text in texts)
        assert brings == (extra.startswith("cuda") or extra == "cpu"), extra


def test_a_machine_without_a_gpu_gets_the_cpu_build() -> None:
    """Without ``+cpu`` or uv's ``--torch-backend`` plain PyPI gives Linux the CUDA build, pinned or not."""
    text = (ROOT / "Makefile").read_text()
    assert "TORCH := torch==$(shell sed -n 's/^torch==//p' constraints.txt)\n" in text
    first, _, second = text.split("$(STAMPS)/installed-cpu:")[1].split("@echo", 1)[1].partition(" || ")
    assert "'$(TORCH)+cpu'" in first
    assert "uv pip install --quiet --python $(PY) --torch-backend cpu -c constraints.txt '$(TORCH)'" in second
