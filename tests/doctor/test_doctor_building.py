"""Compilers and folders."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotune_cli.doctor import building
from autotune_cli.doctor.building import ROOM_BYTES, compiler_findings, find_nvcc, folder_findings
from autotune_cli.doctor.findings import Finding, State

NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.1'\n"


def toolkit(folder: Path, version: str = "13.0", script: str = NVCC) -> Path:
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(script.format(version=version))
    nvcc.chmod(0o755)
    return nvcc


def found(environ: dict[str, str], **more: object) -> dict[str, Finding]:
    given: dict[str, object] = {"cuda": "13.0", "driver_cuda": "13.0"} | more
    return {finding.name: finding for finding in compiler_findings(environ, **given)}  # type: ignore[arg-type]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of installed packages."""
    here = {"flashinfer-python": "0.6.18", "ninja": "1.13"}
    monkeypatch.setattr(building, "installed_version", here.get)
    return here


def test_nvcc_is_the_one_that_flashinfer_takes(tmp_path: Path) -> None:
    home, path = toolkit(tmp_path / "home"), toolkit(tmp_path / "path")
    on_path = {"PATH": str(path.parent)}
    assert find_nvcc(on_path) == path
    assert find_nvcc(on_path | {"CUDA_PATH": str(tmp_path / "home")}) == home
    assert find_nvcc(on_path | {"CUDA_HOME": str(tmp_path / "empty"), "CUDA_PATH": str(tmp_path / "home")}) is None


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("version", "cuda", "driver", "state", "words"),
    [
        ("13.0", "13.0", "13.0", State.OK, "13.0 ("),
        ("13.1", "13.0", "13.0", State.OK, "13.1 ("),
        ("12.8", "13.0", "13.0", State.WARNING, "torch was built with CUDA 13.0"),
        ("13.0", None, "12.8", State.WARNING, "the driver runs up to CUDA 12.8"),
        ("12.8", "12.8", "13.0", State.OK, "12.8 ("),
        ("12.8", None, None, State.OK, "12.8 ("),
    ],
)
def test_a_compiler_of_another_cuda(
    tmp_path: Path, version: str, cuda: str | None, driver: str | None, state: State, words: str
) -> None:
    toolkit(tmp_path, version)
    finding = found({"CUDA_HOME": str(tmp_path)}, cuda=cuda, driver_cuda=driver)["nvcc"]
    assert finding.state == state
    assert words in finding.text


@pytest.mark.usefixtures("packages")
def test_a_compiler_that_does_not_run(tmp_path: Path) -> None:
    toolkit(tmp_path / "a", script="#!/no/such/program\n")
    assert found({"CUDA_HOME": str(tmp_path / "a")})["nvcc"].state == State.PROBLEM
    toolkit(tmp_path / "b", script="#!/bin/sh\nexit 3\n")
    assert "exit code 3" in found({"CUDA_HOME": str(tmp_path / "b")})["nvcc"].text


def test_no_compiler(packages: dict[str, str], tmp_path: Path) -> None:
    environ = {"CUDA_HOME": str(tmp_path), "PATH": str(tmp_path)}
    missing = found(environ)["nvcc"]
    assert (missing.state, missing.fix) == (
        State.PROBLEM,
        "install the CUDA toolkit 13.0 and set CUDA_HOME to its folder",
    )
    there = toolkit(tmp_path / "site" / "nvidia" / "cu13")
    assert found(environ, site=tmp_path / "site")["nvcc"].fix == f"export CUDA_HOME={there.parent.parent}"
    packages["flashinfer-jit-cache"] = "0.6.18+cu130"
    assert found(environ)["nvcc"].state == State.NOTE
    del packages["ninja"]
    assert found(environ)["ninja"].fix == "pip install ninja"


def folders(environ: dict[str, str], root: Path, is_gpu: bool = True) -> dict[str, Finding]:
    return {finding.name: finding for finding in folder_findings(environ, root, is_gpu)}


def test_folders_where_libraries_keep_what_they_compile(tmp_path: Path) -> None:
    seen = folders({"HOME": str(tmp_path)}, tmp_path)
    assert {finding.state for finding in seen.values()} == {State.OK}
    assert seen["FlashInfer JIT"].text.startswith(f"{tmp_path}/.cache/flashinfer, ")
    assert seen["Triton JIT"].text.startswith(f"{tmp_path}/.triton/cache, ")
    assert not list(tmp_path.iterdir())
    other = {"HOME": "/none", "FLASHINFER_WORKSPACE_BASE": f"{tmp_path}/f", "TRITON_CACHE_DIR": f"{tmp_path}/t"}
    seen = folders(other, tmp_path)
    assert f"{tmp_path}/f/.cache/flashinfer" in seen["FlashInfer JIT"].text
    assert f"{tmp_path}/t," in seen["Triton JIT"].text
    assert set(folders(other, tmp_path, is_gpu=False)) == {"results", "temporary"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = folders({"HOME": str(tmp_path / "file")}, tmp_path / "file" / "root")
    for name in ("results", "FlashInfer JIT", "Triton JIT"):
        assert seen[name].state == State.PROBLEM
        assert seen[name].fix


def test_a_disk_that_is_nearly_full_or_holds_no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(free: int, flags: int) -> dict[str, Finding]:
        disk = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_flag=flags)
        monkeypatch.setattr(building.os, "statvfs", lambda folder: disk)
        return folders({"HOME": str(tmp_path)}, tmp_path)

    seen = mounted(ROOM_BYTES - 4096, 0)
    assert {finding.state for finding in seen.values()} == {State.WARNING}
    assert "2.0 GiB free: a first run may need 2 GiB" in seen["results"].text
    seen = mounted(ROOM_BYTES, os.ST_NOEXEC)
    assert (seen["Triton JIT"].state, seen["results"].state) == (State.PROBLEM, State.OK)
    assert "noexec" in seen["Triton JIT"].text
