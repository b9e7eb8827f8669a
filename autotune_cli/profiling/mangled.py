"""What a mangled name says, read without a demangler: for names that are cut off, or newer than libstdc++.

Only the identifiers are read, with the brackets between them; types that are no class, and back references, are left
out. That is enough to tell which kernel it is: ``ck_tile::kentry<ck_tile::FmhaFwdKernel<...>>``.

Source: the Itanium C++ ABI, 5.1 (mangling), https://itanium-cxx-abi.github.io/cxx-abi/abi.html.
"""

from __future__ import annotations

import re

# Of nested names that are followed into each other; the deepest kernels have some 30.
_DEEPEST = 200
_LENGTH = re.compile(r"\d{1,4}")
# Literals of template arguments: Li2E is 2, Lb1E is true, LNS_4EnumE3E is an enumerator.
_LITERAL = re.compile(r"L[a-z](n?\d+)E")
_BOOLEANS = {"0": "false", "1": "true"}


def read_mangled(name: str) -> str:
    """The identifiers of a mangled name, as a demangler would nest them; the name itself if it has none.

    ``_ZN5aiter3fooIDF16bLi64EEEvPT_`` becomes ``aiter::foo<64>``.
    """
    if not name.startswith("_Z"):
        return name
    reader = _Demangler(name, 2)
    found = reader.encoding()
    return found or name


class _Demangler:
    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.depth = text, at, 0

    def encoding(self) -> str:
        """The function's own name; its parameters are left out."""
        text = self.text
        if text.startswith(("TS", "TI"), self.at):  # the name or the structure of a type: SYCL's kernels
            self.at += 2
        if text.startswith("L", self.at):  # internal linkage
            self.at += 1
        return self.nested() if text.startswith("N", self.at) else self.plain()

    def plain(self) -> str:
        found = self.identifier()
        return found + self.arguments() if found else ""

    def nested(self) -> str:
        """``N ... E``: a name with its namespaces."""
        self.at += 1
        parts: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "E":
                self.at += 1
                break
            if character.isdigit():
                found = self.identifier()
                if not found:
                    break
                parts.append(found)
            elif character == "I" and parts:
                parts[-1] += self.arguments()
            elif character == "S":
                self.substitution()
            else:  # qualifiers, constructors, operators
                self.at += 1
        return "::".join(part for part in parts if not part.startswith("_GLOBAL__N"))

    def arguments(self) -> str:
        """``I ... E``: template arguments; the classes and the numbers among them. ``J ... E`` is a pack of them, and
        ``F ... E`` the type of a function."""
        if not self.text.startswith(("I", "J", "F"), self.at):
            return ""
        if self.depth > _DEEPEST:
            self.at = len(self.text)
            return ""
        self.at += 1
        self.depth += 1
        found: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            literal = _LITERAL.match(self.text, self.at)
            if character == "E":
                self.at += 1
                break
            if literal:
                value = literal.group(1).replace("n", "-")
                found.append(_BOOLEANS.get(value, value) if literal.group(0)[1] == "b" else value)
                self.at = literal.end()
            elif character == "L":  # of a type that has a name
                self.at += 1
                kind = self.nested() if self.text.startswith("N", self.at) else self.plain()
                end = self.text.find("E", self.at)
                found.append(f"({kind}){self.text[self.at : end]}" if kind else self.text[self.at : end])
                self.at = end + 1 if end >= 0 else len(self.text)
            elif character == "N":
                found.append(self.nested())
            elif character.isdigit():
                found.append(self.plain())
            elif character == "J":
                found.append(self.arguments()[1:-1])
            elif character == "F":
                self.arguments()
            elif character == "X":  # an expression: whatever it is, it ends with an E
                self.at = len(self.text)
            elif character == "S":
                self.substitution()
            else:  # builtin types, pointers, references
                self.at += len("DF16b") if self.text.startswith("DF16b", self.at) else 1
        self.depth -= 1
        return f"<{', '.join(filter(None, found))}>"

    def identifier(self) -> str:
        length = _LENGTH.match(self.text, self.at)
        if length is None:
            self.at += 1
            return ""
        start, size = length.end(), int(length.group())
        self.at = start + size
        return self.text[start : self.at]

    def substitution(self) -> None:
        """``S_``, ``S0_``, ``St``: a name from before, which is left out."""
        match = re.compile(r"S(?:[0-9A-Z]*_|[a-z])").match(self.text, self.at)
        self.at = match.end() if match else self.at + 1
