"""Refuses an environment whose times would mean nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from autotune_cli.errors import BadVariable, SlowBuild

_BUILDS = "makes FlashInfer build unoptimised kernels"
_ALSO = " and delete what was built under it (~/.cache/flashinfer)"
_TRUE = ("1", "true", "on", "yes", "y")
_ON_A_GPU = {
    "TRITON_INTERPRET": "runs Triton kernels in Python",
    "DISABLE_PTXAS_OPT": "makes Triton build unoptimised kernels",
    "CUDA_LAUNCH_BLOCKING": "waits for the GPU after every launch",
}
# In FlashInfer's jit/core.py (0.6.18, 0.7.2): "1" turns on -O0 and --device-debug; VERBOSE only if DEBUG isn't set.
_UNOPTIMISED = re.compile(r"(?:^|\s)(?:-O0|-G|--device-debug|-Xptxas[= ]-?-?(?:O|opt-level=?)0)(?=\s|$)")


def refuse_slow_builds(environ: Mapping[str, str], device_kind: str) -> None:
    """Raise if a variable makes kernels slower than they are in production.

    Raises:
        SlowBuild: names the variable.
        BadVariable: so does this; a bound on compilers that bounds nothing.
    """
    debug = environ.get("FLASHINFER_JIT_DEBUG")
    if debug == "1":
        raise SlowBuild(variable="FLASHINFER_JIT_DEBUG", value=debug, effect=_BUILDS, also=_ALSO)
    if debug is None and environ.get("FLASHINFER_JIT_VERBOSE") == "1":
        raise SlowBuild(variable="FLASHINFER_JIT_VERBOSE", value="1", effect=_BUILDS, also=_ALSO)
    for name in ("FLASHINFER_EXTRA_CUDAFLAGS", "NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS"):
        if _UNOPTIMISED.search(environ.get(name, "")):
            raise SlowBuild(variable=name, value=environ[name], effect=_BUILDS, also=_ALSO)
    if device_kind != "cuda":
        return
    most_compilers(environ)
    for name, effect in _ON_A_GPU.items():
        if environ.get(name, "0").lower() in _TRUE:
            raise SlowBuild(variable=name, value=environ[name], effect=effect, also="")


def most_compilers(environ: Mapping[str, str]) -> int | None:
    """``MAX_JOBS``: how many compilers the user allows at a time; None: as many as there are cores.

    Raises:
        BadVariable: no whole number above zero. torch and FlashInfer pass such a value over in silence.
    """
    text = environ.get("MAX_JOBS", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise BadVariable(variable="MAX_JOBS", value=text, detail="is no whole number above zero")
    return int(text)
