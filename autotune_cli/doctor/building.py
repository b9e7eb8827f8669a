"""What compiles kernels when they are first used, and where they are kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autotune_cli.doctor.findings import Finding, State
from autotune_cli.errors import AutotuneError
from autotune_cli.measure.installed import installed_version
from autotune_cli.worker.temporary import temporary_folder

_BUILDING, _FOLDERS = "building", "folders"
_GIB = 1 << 30
# Not measured, on the safe side: modules of a suite with their objects, Triton's kernels, files of compilers at work.
ROOM_BYTES = 2 * _GIB
_NVCC_S = 30.0


def compiler_findings(
    environ: Mapping[str, str], cuda: str | None, driver_cuda: str | None, site: Path | None = None
) -> Iterator[Finding]:
    """nvcc, as FlashInfer finds it, and ninja.

    Args:
        cuda: that torch was built with, ``13.0``; None: unknown.
        driver_cuda: the newest that the driver runs.
        site: folder of installed packages; None: this Python's.
    """
    nvcc = find_nvcc(environ)
    has_modules = installed_version("flashinfer-jit-cache") is not None
    if nvcc is None:
        text = "not found: neither in CUDA_HOME nor on the path nor in /usr/local/cuda"
        if has_modules:
            yield Finding(_BUILDING, "nvcc", State.NOTE, f"{text}; modules that were shipped compiled need none")
        else:
            text += ", so what FlashInfer has not compiled yet is an error of its candidates"
            state = State.PROBLEM if installed_version("flashinfer-python") else State.NOTE
            yield Finding(_BUILDING, "nvcc", state, text, _get_nvcc(cuda, site))
    else:
        yield _of_nvcc(nvcc, cuda, driver_cuda)
    if shutil.which("ninja", path=environ.get("PATH")) is None and installed_version("ninja") is None:
        text = "not found; FlashInfer compiles with it"
        yield Finding(_BUILDING, "ninja", State.WARNING, text, "pip install ninja")


def find_nvcc(environ: Mapping[str, str]) -> Path | None:
    """The compiler that FlashInfer takes (``get_cuda_path`` of its ``jit/cpp_ext.py``, 0.6.10 to 0.7.2)."""
    home = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
    if not home:
        on_path = shutil.which("nvcc", path=environ.get("PATH"))
        if on_path is not None:
            return Path(on_path)
        home = "/usr/local/cuda"
    nvcc = Path(home, "bin", "nvcc")
    return nvcc if os.access(nvcc, os.X_OK) else None


def _get_nvcc(cuda: str | None, site: Path | None) -> str:
    """How to get it: pip's nvcc lies where nobody looks for it."""
    folder = site or Path(os.__file__).parent / "site-packages"
    there = sorted((folder / "nvidia").glob("cu*/bin/nvcc"))
    if there:
        return f"export CUDA_HOME={there[-1].parent.parent}"
    return f"install the CUDA toolkit{f' {cuda}' if cuda else ''} and set CUDA_HOME to its folder"


def _of_nvcc(nvcc: Path, cuda: str | None, driver_cuda: str | None) -> Finding:
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=_NVCC_S, check=False)
        match = re.search(r"release (\d+\.\d+)", done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            _BUILDING, "nvcc", State.PROBLEM, f"{nvcc} doesn't run: {error}", "install the CUDA toolkit anew"
        )
    if match is None:
        text = f"{nvcc} --version tells no version (exit code {done.returncode})"
        return Finding(_BUILDING, "nvcc", State.WARNING, text, "install the CUDA toolkit anew")
    version = match[1]
    where = f"{version} ({nvcc})"
    major = version.partition(".")[0]
    for what, other in (("torch was built with", cuda), ("the driver runs up to", driver_cuda)):
        if other and other.partition(".")[0] != major and (what.startswith("torch") or int(major) > float(other)):
            text = f"{where}; {what} CUDA {other}"
            fix = f"set CUDA_HOME to a toolkit of CUDA {other.partition('.')[0]}"
            return Finding(_BUILDING, "nvcc", State.WARNING, text, fix)
    return Finding(_BUILDING, "nvcc", State.OK, where)


def folder_findings(environ: Mapping[str, str], root: Path, is_gpu: bool) -> Iterator[Finding]:
    """Folders that are written: results, temporary files and, on a GPU, compiled kernels.

    Args:
        root: of ``cache/`` and ``runs/``.
    """
    yield _of_folder("results", root.absolute(), "name another by AUTOTUNE_ROOT", may_hold_code=False)
    try:
        temporary = Path(temporary_folder())
    except AutotuneError as error:
        yield Finding(_FOLDERS, "temporary", State.PROBLEM, str(error), "export TMPDIR=/a/folder/with/room")
    else:
        yield _of_folder("temporary", temporary, "export TMPDIR=/a/folder/with/room", may_hold_code=False)
    if not is_gpu:
        return
    home = Path(environ.get("HOME") or Path.home())
    # jit/env.py of FlashInfer 0.6.10 to 0.7.2; knobs.py of Triton 3.4 to 3.7.
    base = environ.get("FLASHINFER_WORKSPACE_BASE") or home
    fix = "export FLASHINFER_WORKSPACE_BASE=/a/folder/with/room"
    yield _of_folder("FlashInfer JIT", Path(base, ".cache", "flashinfer"), fix)
    triton = environ.get("TRITON_CACHE_DIR") or Path(environ.get("TRITON_HOME") or home, ".triton", "cache")
    yield _of_folder("Triton JIT", Path(triton), "export TRITON_CACHE_DIR=/a/folder/with/room")


def _of_folder(name: str, folder: Path, fix: str, may_hold_code: bool = True) -> Finding:
    """Can it be written, is there room, and, for compiled kernels, may its files be loaded? Nothing stays behind."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"there is room")
        disk = os.statvfs(there)
    except OSError as error:
        return Finding(_FOLDERS, name, State.PROBLEM, f"{folder}: {(error.strerror or str(error)).lower()}", fix)
    free = disk.f_bavail * disk.f_frsize
    text = f"{folder}, {free / _GIB:.1f} GiB free"
    if may_hold_code and disk.f_flag & os.ST_NOEXEC:
        return Finding(_FOLDERS, name, State.PROBLEM, f"{text}; mounted noexec, so nothing in it can be loaded", fix)
    if free < ROOM_BYTES:
        return Finding(_FOLDERS, name, State.WARNING, f"{text}: a first run may need {ROOM_BYTES // _GIB} GiB", fix)
    return Finding(_FOLDERS, name, State.OK, text)
