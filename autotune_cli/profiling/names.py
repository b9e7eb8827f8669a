"""Kernel names: demangled, shortened for people, turned into a pattern."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from functools import cache

# How demanglers write a namespace without a name.
_ANONYMOUS = ("(anonymous namespace)::", "<unnamed>::")
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
