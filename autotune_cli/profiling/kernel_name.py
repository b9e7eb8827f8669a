"""A kernel's name in its parts: namespaces, name, template arguments. Rules look at each of them apart.

What profilers print is a C++ name with its return type and its parameters, a mangled one, or the plain name of an
assembled or compiled kernel, with the suffixes of Triton and ROCm; any of them may be cut off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property

from autotune_cli.profiling.names import demangle, without_anonymous

# Kernels that only call the class they are a template of; its name says what runs.
_WRAPPER = re.compile(r"device_kernel(?:_sm\d+)?|Kernel2?|enable_sm\w+|kentry\w*|MhaName")
_MOST_WRAPPERS = 8
# What is read of a name, and of its last part; the longest of CUTLASS have some 10,000 and 100 characters.
_LONGEST, _LONGEST_BASE = 1 << 16, 1 << 11
# SYCL names a kernel by its type, ROCm by its descriptor, compilers tell copies of one function apart.
_BEFORE = re.compile(r"\A(?:typeinfo name for |void |static |std::enable_if<.*?>::type )+")
_AFTER = re.compile(r"(?:\.kd|\s*\[clone [^\]]*\]|\.(?:constprop|isra|part|cold)\.?\d*|\[abi:\w+\]|\.\.\.|…)+$")
# Triton up to 2.1 adds how each argument was specialised: _0d1d2de3c.
_SPECIALISED = re.compile(r"_\d+[dce]+\d[0-9dcep]*$")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
# Words that are written in one or in two.
_JOINED = (("top k", "topk"), ("split kv", "splitkv"), ("split k", "splitk"), ("block table", "blocktable"))
_CLASS = re.compile(r"(?!(?:true|false|bool|int|unsigned|long|short|char|float|double)\b)[A-Za-z_]")
# A copy or a fill that stands among the kernels.
_COPY = re.compile(r"Mem(?:cpy|set)\b[^(]*")
_OPENING, _CLOSING = "<([{", ">)]}"
# Namespaces that say nothing beside the name they precede.
_NOISE = re.compile(r"\b(?:flashinfer|cutlass|cute|std|c10|sampling|mla|hopper)::")


@dataclass(frozen=True)
class KernelName:
    """A name without its return type and its parameters."""

    whole: str
    """As demangled."""
    space: str
    """Namespaces and classes around it, joined by ``::``, without their arguments."""
    base: str
    """The last part of the name, wrappers such as ``cutlass::device_kernel`` taken off."""
    arguments: tuple[str, ...] = ()
    """Its template arguments; the last one may be cut off."""

    @property
    def first(self) -> str:
        """The first template argument that is a class."""
        return _first_class(self.arguments)

    @cached_property
    def args(self) -> str:
        return ", ".join(self.arguments)

    @property
    def qualified(self) -> str:
        return f"{self.space}::{self.base}" if self.space else self.base

    @cached_property
    def words(self) -> str:
        """Of the base: `` paged attn decode v 2 ``."""
        return words_of(self.base)

    @cached_property
    def all_words(self) -> str:
        """Of the name, its namespaces and its template arguments."""
        return words_of(f"{self.space} {self.base} {self.args}")


def words_of(text: str) -> str:
    """A name's words in lower case, with spaces between and around: ``SplitKVKernel`` is `` splitkv kernel ``."""
    words = f" {' '.join(_WORD.findall(text)).lower()} "
    for apart, joined in _JOINED:
        words = words.replace(f" {apart} ", f" {joined} ")
    return words


@cache
def parse(name: str) -> KernelName:
    """The parts of a name as a profiler gives it."""
    text = demangle(_AFTER.sub("", name.strip()))[:_LONGEST]
    copy = _COPY.match(text)
    if copy:
        return KernelName(text, "", copy.group().strip())
    space, base, arguments = _split(_AFTER.sub("", _BEFORE.sub("", without_anonymous(text))))
    for _ in range(_MOST_WRAPPERS):
        inner = _first_class(arguments)
        if not inner or not _WRAPPER.fullmatch(base):
            break
        space, base, arguments = _split(inner)
    return KernelName(text, space, _SPECIALISED.sub("", base[:_LONGEST_BASE]), arguments)


def _first_class(arguments: tuple[str, ...]) -> str:
    return next((argument for argument in arguments if _CLASS.match(argument)), "")


def _split(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Namespaces, name and template arguments of a function or a class."""
    parts: list[str] = []
    begin = at = 0
    opened = -1
    depth = 0
    arguments = ""
    while at < len(text):
        character = text[at]
        if character in _OPENING:
            if depth == 0 and character == "(" and not text.endswith("operator", 0, at):
                break
            if depth == 0 and character == "<":
                opened = at
            depth += 1
        elif character in _CLOSING and not text.endswith("-", 0, at):
            depth = max(0, depth - 1)
            if depth == 0 and opened >= 0:
                arguments = text[opened + 1 : at]
        elif depth == 0 and text.startswith("::", at):
            parts.append(text[begin : opened if opened >= begin else at].strip())
            begin, opened, arguments = at + 2, -1, ""
            at += 1
        elif depth == 0 and character == " " and text[at + 1 : at + 2] not in ("", "(", "<"):
            # What stood before is a return type.
            parts, begin, opened, arguments = [], at + 1, -1, ""
        at += 1
    cut_off = depth > 0 and opened >= begin
    base = text[begin : opened if opened >= begin else at].strip()
    return "::".join(filter(None, parts)), base, _arguments(text[opened + 1 :] if cut_off else arguments)


def _arguments(text: str) -> tuple[str, ...]:
    found: list[str] = []
    begin = depth = 0
    for at, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING and not text.endswith("-", 0, at):
            depth -= 1
        elif character == "," and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
    found.append(text[begin:].strip())
    return tuple(filter(None, found))


def base_name(name: str) -> str:
    """``flashinfer::MergeStateKernel`` of ``void flashinfer::MergeStateKernel<8u, ...>(...)``."""
    return parse(name).qualified or name


def short_name(name: str, width: int = 72) -> str:
    """What tells a kernel from its neighbours, in at most ``width`` characters.

    That is its name, and the first template argument where it is a part of the algorithm (a main loop, a functor), not
    a number or a list of sizes.
    """
    parsed = parse(name)
    text = _NOISE.sub("", parsed.qualified) or name
    if re.match(r"[A-Za-z_:]*(?:Mainloop|Functor|Attention)", parsed.args):
        text = f"{text}<{_NOISE.sub('', parsed.args)}"
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
