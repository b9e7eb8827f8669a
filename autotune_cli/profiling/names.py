"""Kernel names: demangled, shortened for people, turned into a pattern."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from functools import cache

_ANONYMOUS = ("(anonymous namespace)::", "<unnamed>::", "_GLOBAL__N_")
# Namespaces that say nothing beside the name they precede.
_NOISE = re.compile(r"\b(?:flashinfer|cutlass|cute|std|c10|sampling|mla|hopper)::")


@cache
def demangle(name: str) -> str:
    """The C++ name of a mangled one (``_Z...``); other names, and machines without libstdc++, give the name itself.

    Source: ``abi::__cxa_demangle`` of the Itanium C++ ABI.
    """
    if not name.startswith("_Z"):
        return name
    demangler = _demangler()
    if demangler is None:
        return name
    status = ctypes.c_int()
    pointer = demangler(name.encode(), None, None, ctypes.byref(status))
    if not pointer:
        return name
    text = ctypes.string_at(pointer).decode(errors="replace")
    # The library hands over memory of malloc.
    ctypes.CDLL(None).free(ctypes.c_void_p(pointer))
    return text


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
    text = name.removeprefix("void ").strip()
    for anonymous in _ANONYMOUS[:2]:
        text = text.replace(anonymous, "")
    cut = re.split(r"[<(]", text, maxsplit=1)[0].strip()
    return cut or text or name


def short_name(name: str, width: int = 72) -> str:
    """What tells a kernel from its neighbours, in at most ``width`` characters."""
    text = name.removeprefix("void ").strip()
    for anonymous in _ANONYMOUS[:2]:
        text = text.replace(anonymous, "")
    text = _NOISE.sub("", text)
    # Arguments repeat the template's; without a template there is nothing else to cut.
    head = text.find("<")
    call = text.find("(") if head < 0 else -1
    if call > 0:
        text = text[:call]
    return text if len(text) <= width else f"{text[: width - 1]}…"


def pattern_of(name: str) -> str:
    """A pattern for a rules file that finds this kernel with any template arguments."""
    base = base_name(name)
    # A TOML literal key can't hold a quote.
    escaped = re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", base).replace("'", ".")
    return f"{chr(92) + 'b' if re.match(r'\w', base) else ''}{escaped}{chr(92) + 'b' if re.search(r'\w$', base) else ''}"
