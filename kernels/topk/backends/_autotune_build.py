"""Compiles our own CUDA kernels with nvcc, once for each source, GPU architecture and torch. Registers no backend.

They use nothing of torch but the CUDA that it comes with: the library is loaded by :mod:`ctypes` and gets addresses.
That spares torch's headers, which take longer to compile than the kernels.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import source_hash

# Tells the process that builds, which sees no GPU, what to compile for: 90.
ARCHITECTURE = "AUTOTUNE_CUDA_ARCH"
FOLDER = "AUTOTUNE_BUILD_DIR"
INSTALL = "set CUDA_HOME to a CUDA toolkit, or pip install 'nvidia-cuda-nvcc' 'nvidia-cuda-cccl'"
FLAGS = ("-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-cudart", "static")


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where compiled kernels are kept: ``AUTOTUNE_BUILD_DIR``, or ``kernel-autotune`` in the user's cache folder."""
    if environ.get(FOLDER):
        return Path(environ[FOLDER])
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "kernel-autotune"


def library_path(source: Path, architecture: int, environ: Mapping[str, str] = os.environ) -> Path:
    """The library of a ``.cu`` file for compute capability ``architecture`` (90 for 9.0), compiled or not.

    Its name holds all that it depends on: the source and its headers, the flags, and the torch that is installed, whose
    version names its CUDA (``2.11.0+cu130``).
    """
    sources = [*sorted(source.parent.glob(f"{source.stem}*.cu*")), Path(__file__)]
    name = f"{source.stem}-{source_hash(sources)}-sm{architecture}.so"
    return folder(environ) / f"torch-{_torch()}" / name


def nvcc(environ: Mapping[str, str] = os.environ) -> str | None:
    """The compiler that is there, or None."""
    return next((path for path in _places(environ) if path is not None and os.access(path, os.X_OK)), None)


def _places(environ: Mapping[str, str]) -> Iterator[str | None]:
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if environ.get(variable):
            yield str(Path(environ[variable]) / "bin/nvcc")
    yield shutil.which("nvcc", path=environ.get("PATH"))
    yield "/usr/local/cuda/bin/nvcc"
    # The wheels of CUDA 13 and of 12.
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from (str(Path(place) / inner) for inner in ("cu13/bin/nvcc", "cuda_nvcc/bin/nvcc"))


def why_not(source: Path, architecture: int) -> str | None:
    """Why the library can't be had, with what mends it, or None."""
    if library_path(source, architecture).exists() or nvcc() is not None:
        return None
    return f"it is compiled on first use and there is no nvcc: {INSTALL}"


def compile_to(path: Path, source: Path, architecture: int) -> None:
    """Compile a source; the library appears whole or not at all, whoever else compiles it at the same time.

    Raises:
        RuntimeError: no compiler, or what it complains of.
    """
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError(why_not(source, architecture) or "there is no nvcc")
    path.parent.mkdir(parents=True, exist_ok=True)
    target = f"arch=compute_{architecture},code=sm_{architecture}"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as scratch:
        made = Path(scratch) / path.name
        command = [compiler, *FLAGS, "-gencode", target, "-o", str(made), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"nvcc failed:\n{done.stdout}{done.stderr}")
        made.replace(path)


@functools.cache
def load(path: Path) -> ctypes.CDLL:
    """The library, once in a process."""
    return ctypes.CDLL(str(path))


def architecture() -> int:
    """The compute capability of the GPU, 90 for 9.0, or what the process that builds is told."""
    told = os.environ.get(ARCHITECTURE)
    if told:
        return int(told)
    import torch

    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


def module(source: Path, *, label: str, seconds: float, gigabytes: float) -> Module:
    """The library of a source as a module of the build stage."""
    target = architecture()
    path = library_path(source, target)

    def build() -> object:
        if not path.exists():
            compile_to(path, source, target)
        # The process that builds has no driver, which loading doesn't need.
        return load(path)

    return Module(
        name=path.stem,
        build=build,
        is_compiled=path.exists,
        label=label,
        seconds=seconds,
        gigabytes=gigabytes,
        variables={ARCHITECTURE: str(target)},
    )


@functools.cache
def _torch() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "none"
