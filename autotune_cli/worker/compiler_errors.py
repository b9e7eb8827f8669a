"""The one line of a failed build's output that says what is wrong. Imports nothing heavy."""

from __future__ import annotations

import re

_LONGEST = 300
# nvcc and its parts ("file.cu(12): error: ..."), gcc and clang ("file.cpp:3:10: fatal error: ..."), linkers, shells and
# ninja itself. In this order: ninja's summary and "1 error detected" follow what they sum up.
_LINES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:^|[\s:)])(?:fatal )?error(?: #?[\w-]+)?\s*:",
        r"\bnvcc fatal\b|\bptxas fatal\b|\bdied due to signal\b",
        r"undefined reference|cannot find -l|collect2:|\bld: ",
        r"\b(?:command )?not found\b|no such file or directory|no space left on device",
        r"^ninja: (?!entering|warning|build stopped)",
    )
)
# What is said of a compiler that the kernel killed, which it does for lack of memory: nvcc of its parts, gcc, ninja's
# shell.
_KILLED = re.compile(r"died due to signal 9|\bKilled\b|terminated by signal 9|signal SIGKILL")
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:'\"()]+/)+(?=[^\s/:'\"()]+)")


def reason_of(error: BaseException) -> str:
    """One line on an exception of a build, at most 300 characters: the compiler's first error, if it shows one."""
    text = f"{type(error).__name__}: {error}".strip()
    line = compiler_error(text)
    return (line if line is not None else text.splitlines()[0])[:_LONGEST]


def compiler_error(text: str) -> str | None:
    """The first line that names an error in the output of compilers, without folders; None if there is none.

    Text of one line is no output of compilers.
    """
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) < 2:
        return None
    # The commands that ninja repeats may hold any word.
    candidates = [line for line in lines[1:] if line and len(line) < 2000 and not line.startswith(("FAILED:", "["))]
    for pattern in _LINES:
        for line in candidates:
            if pattern.search(line):
                return _FOLDERS.sub("", line)
    return None


def was_killed(text: str) -> bool:
    """Does a compiler's output say that it was killed?"""
    return _KILLED.search(text) is not None
