"""Packages that fit each other or don't, by the metadata of made-up installations."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from autotune_cli.doctor.findings import Finding, State
from autotune_cli.doctor.packages import package_findings, toolkit_findings


class Site:
    """A folder of installed packages, the only one there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self, name: str, version: str, requires: Iterable[str] = ()) -> None:
        folder = self._folder / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (folder / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")

    def found(self, is_gpu: bool = True) -> dict[str, Finding]:
        return {finding.name: finding for finding in package_findings(is_gpu)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return Site(tmp_path)


def test_packages_that_fit(site: Site) -> None:
    site.install(
        "torch", "2.11.0+cu130", ["triton==3.6.0; platform_system == 'Linux'", "sympy", "nothing; extra == 'x'"]
    )
    site.install("triton", "3.6.0")
    site.install("flashinfer-python", "0.6.18.post1", ["torch", "nvidia-cudnn-frontend>=1.13"])
    site.install("nvidia-cudnn-frontend", "1.18.0")
    site.install("flashinfer_jit_cache", "0.6.18.post1+cu130")
    found = site.found()
    assert {finding.state for finding in found.values()} == {State.OK}
    assert "flashinfer-jit-cache" in found


def test_versions_that_a_package_does_not_take(site: Site) -> None:
    site.install("torch", "2.11.0", ["triton==3.6.0"])
    site.install("triton", "3.7.1")
    site.install("sglang", "0.5.9", ["flashinfer_python==0.6.11", "torch==2.9.1", "nvidia-cutlass-dsl>=4"])
    site.install("flashinfer-python", "0.6.18")
    found = site.found()
    assert found["torch"].text == "2.11.0 asks for triton==3.6.0 (here 3.7.1)"
    assert found["torch"].fix == "pip install 'triton==3.6.0'"
    assert "flashinfer_python==0.6.11 (here 0.6.18), torch==2.9.1 (here 2.11.0)" in found["sglang"].text
    assert "nvidia-cutlass-dsl>=4 (not installed)" in found["sglang"].text
    assert {finding.state for finding in found.values()} == {State.WARNING}
    # Without a GPU nothing but torch's own packages is run.
    assert set(site.found(is_gpu=False)) == {"torch"}


@pytest.mark.parametrize(
    ("name", "version"), [("flashinfer-cubin", "0.6.13"), ("flashinfer-jit-cache", "0.6.11+cu130")]
)
def test_flashinfer_refuses_its_packages_of_another_version(site: Site, name: str, version: str) -> None:
    site.install("flashinfer-python", "0.6.18")
    site.install(name, version)
    finding = site.found()[name]
    assert finding.state == State.PROBLEM
    assert f"{version} beside FlashInfer 0.6.18" in finding.text
    assert f"pip uninstall -y {name}" in finding.fix


def test_two_packages_with_one_module(site: Site) -> None:
    site.install("sgl-kernel", "0.3.21")
    site.install("sglang-kernel", "0.4.5")
    finding = site.found()["sgl_kernel"]
    assert finding.state == State.PROBLEM
    assert finding.fix == "pip uninstall -y sglang-kernel sgl-kernel && pip install sglang-kernel"


@pytest.mark.parametrize(("version", "is_wrong"), [("12.6.2", True), ("12.8.0", False), ("13.0.3", False)])
def test_an_old_cuda_python_beside_its_parts(site: Site, version: str, is_wrong: bool) -> None:
    site.install("cuda-python", version)
    site.install("cuda-bindings", "13.0.3")
    assert ("cuda-python" in site.found()) == is_wrong


def test_parts_of_a_toolkit_of_another_version(site: Site) -> None:
    site.install("nvidia-cuda-runtime", "13.0.96")
    site.install("nvidia-cuda-nvcc", "13.1.115")
    site.install("nvidia-cuda-nvrtc-cu12", "12.8.93")
    (finding,) = toolkit_findings("13.0")
    assert finding.state == State.WARNING
    assert finding.text.startswith("nvcc 13.1.115, runtime 13.0.96, nvrtc-cu12 12.8.93; torch was built with CUDA 13.0")
    assert finding.fix == "pip install 'nvidia-cuda-nvcc==13.0.*'"
    (same,) = toolkit_findings("13.1")
    assert "runtime is not" in same.text
    assert [each.state for each in toolkit_findings(None)] == [State.OK]


def test_nothing_is_installed(site: Site) -> None:
    assert [finding.text for finding in site.found().values()] == ["no kernel library is installed"]
    assert not list(toolkit_findings("13.0"))
