"""Kernel names: demangled, shortened for people, turned into a pattern."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import subprocess
import sys
import time
from functools import cache

# How demanglers write a namespace without a name.
_ANONYMOUS = ("(anonymous namespace)::", "<unnamed>::")
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
# Namespaces that say nothing beside the name they precede.
_NOISE = re.compile(r"\b(?:flashinfer|cutlass|cute|std|c10|sampling|mla|hopper)::")


@cache
def demangle(name: str) -> str:
    """The C++ name of a mangled one (``_Z...``); other names, and machines without libstdc++, give the name itself.

    Back references let a name of 250 characters stand for one of a gigabyte. A name with many of them is demangled in a
    process of its own, within limits; one that is beyond them stays as it is.

    Source: ``abi::__cxa_demangle`` of the Itanium C++ ABI.
    """
    if not name.startswith("_Z") or len(name) > _LONGEST_MANGLED:
        return name
    if len(name) > _SHORT_MANGLED or len(_BACK_REFERENCE.findall(name)) > _FEW_REFERENCES:
        return _demangle_apart(name)
    text = demangle_here(name)
    return text if len(text) <= _LONGEST else name


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


def base_name(name: str) -> str:
    """``flashinfer::MergeStateKernel`` of ``void flashinfer::MergeStateKernel<8u, ...>(...)``."""
    text = _without_anonymous(name)
    cut = re.split(r"[<(]", text, maxsplit=1)[0].strip()
    return cut or text or name


def short_name(name: str, width: int = 72) -> str:
    """What tells a kernel from its neighbours, in at most ``width`` characters.

    That is its name, and the first template argument where it is a part of the algorithm (a main loop, a functor), not
    a number or a list of sizes.
    """
    base = _NOISE.sub("", base_name(name))
    head, found, arguments = _without_anonymous(name).partition("<")
    text = base
    if found and "(" not in head and re.match(r"[A-Za-z_:]*(?:Mainloop|Functor|Attention)", arguments):
        text = f"{base}<{_NOISE.sub('', arguments)}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def pattern_of(name: str) -> str:
    """A pattern for a rules file that finds this kernel with any template arguments."""
    base = base_name(name)
    escaped = re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", base)
    # A TOML literal key can hold neither a quote nor a control character, and nobody reads an invisible one.
    escaped = "".join(character if character.isprintable() else "(?s:.)" for character in escaped.replace("'", "."))
    start = r"\b" if re.match(r"\w", base) else ""
    end = r"\b" if re.search(r"\w$", base) else ""
    return f"{start}{escaped}{end}"


def _without_anonymous(name: str) -> str:
    text = name.removeprefix("void ").strip()
    for anonymous in _ANONYMOUS:
        text = text.replace(anonymous, "")
    return text
