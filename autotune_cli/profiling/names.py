"""Kernel names, demangled."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import subprocess
import sys
import time
from functools import cache

# How demanglers write a namespace without a name.
_ANONYMOUS = ("(anonymous namespace)::", "<unnamed>::", "`anonymous namespace'::", "{anonymous}::")
# What a back reference may repeat is at most 3^(their number / 3) times as long: 24 of them in 2 kB give 13 MB.
_BACK_REFERENCE = re.compile(r"[ST][0-9A-Z]*_")
_FEW_REFERENCES, _SHORT_MANGLED, _LONGEST_MANGLED = 24, 2048, 1 << 17
# The longest demangled names, of CUTLASS kernels, have some 10,000 characters.
_LONGEST = 1 << 17
# Seconds that one name may take in a process of its own, and all of them together.
_PATIENCE_S = 2.0
_apart = {"left": 5.0}
_APART = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
text = runpy.run_path(sys.argv[1])["demangle_here"](sys.stdin.buffer.read().decode())
if len(text) <= int(sys.argv[2]):
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
"""


@cache
def demangle(name: str) -> str:
    """The C++ name of a mangled one (``_Z...``); other names give the name itself.

    Back references let a name of 250 characters stand for one of a gigabyte. A name with many of them is demangled in a
    process of its own, within limits. Of one that is beyond them, of one that is cut off, and on machines without
    libstdc++, only the identifiers are read.

    Source: ``abi::__cxa_demangle`` of the Itanium C++ ABI.
    """
    if not name.startswith("_Z") or len(name) > _LONGEST_MANGLED:
        return name
    # ROCm names a kernel's descriptor. Older demanglers know no bfloat16, but decimal floats, which no GPU has.
    mangled = name.removesuffix(".kd").replace("DF16b", "De")
    if len(name) > _SHORT_MANGLED or len(_BACK_REFERENCE.findall(name)) > _FEW_REFERENCES:
        text = _demangle_apart(mangled)
    else:
        text = demangle_here(mangled)
    if text == mangled or len(text) > _LONGEST:
        # Not on top: the process apart runs this file without the package.
        from autotune_cli.profiling.mangled import read_mangled

        return read_mangled(name)
    return text.replace("decimal128", "__bf16")


def demangle_here(name: str) -> str:
    """:func:`demangle` without limits."""
    demangler = _demangler()
    if demangler is None:
        return name
    status = ctypes.c_int()
    pointer = demangler(name.encode("utf-8", "replace"), None, None, ctypes.byref(status))
    if not pointer:
        return name
    text = ctypes.string_at(pointer).decode(errors="replace")
    # The library hands over memory of malloc.
    ctypes.CDLL(None).free(ctypes.c_void_p(pointer))
    return text


def _demangle_apart(name: str) -> str:
    if _apart["left"] <= 0.0:
        return name
    start = time.monotonic()
    try:
        # Isolated and without site packages: it starts in 20 ms.
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _APART, __file__, str(_LONGEST)],
            input=name.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return name
    finally:
        _apart["left"] -= time.monotonic() - start
    return done.stdout.decode(errors="replace") if done.returncode == 0 and done.stdout else name


@cache
def _demangler() -> ctypes._NamedFuncPointer | None:
    for library in (ctypes.util.find_library("stdc++"), "libstdc++.so.6"):
        if library is None:
            continue
        try:
            function = ctypes.CDLL(library).__cxa_demangle
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        return function
    return None


def without_anonymous(name: str) -> str:
    """A name without ``void`` and without the namespaces that have no name."""
    text = name.removeprefix("void ").strip()
    for anonymous in _ANONYMOUS:
        text = text.replace(anonymous, "")
    return text
