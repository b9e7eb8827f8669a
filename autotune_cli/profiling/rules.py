"""Rules on kernel names: read from TOML, fitted to a name's parts.

The project's own rules lie in ``rules/``, one file a project, each with its source and version. They come in three
tiers: rules for named kernels, of which no two fit one name, so that their order means nothing; rules on the words that
attention kernels are called by; and rules for the everyday rest, which say nothing of a name with such a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from autotune_cli.errors import nearest
from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.families import KNOWN, FamilyName
from autotune_cli.profiling.kernel_name import KernelName
from autotune_cli.profiling.patterns import BadPattern, compile_pattern, quoted
from autotune_cli.reading import Unreadable, parse_toml

Role = Literal["", "matmul", "softmax", "elementwise"]
Tier = Literal["own", "preset", "named", "words", "everyday"]

TIERS: tuple[Tier, ...] = get_args(Tier)
_ROLES: tuple[str, ...] = get_args(Role)
# A file of our own rules has 20 kB and 70 of them.
MOST_BYTES, _MOST_RULES = 2**20, 1000
# What a rule of the project looks at, in the order of their cost.
_PARTS = ("base", "space", "first", "args", "words")
_TEXTS = frozenset({"family", "library", "reason", "role", "source", *_PARTS})


@dataclass(frozen=True, slots=True)
class Rule:
    """What a kernel is, if its name fits."""

    family: FamilyName
    library: str = ""
    reason: str = ""
    role: Role = ""
    path: str = ""
    """The file that it is in."""
    tier: Tier = "own"
    source: str = ""
    """Where the name was read, and in which version."""
    pattern: re.Pattern[str] | None = None
    """Of a user's rule: found anywhere in the whole name."""
    parts: tuple[tuple[str, re.Pattern[str]], ...] = ()
    """Of the project's rules: ``base`` must fit the whole base name; ``space``, ``first``, ``args`` and ``words`` are
    found in that part of a :class:`KernelName`."""

    def fits(self, name: KernelName) -> bool:
        if self.pattern is not None:
            return self.pattern.search(name.whole) is not None
        for part, pattern in self.parts:
            text = getattr(name, part)
            if (pattern.fullmatch(text) if part == "base" else pattern.search(text)) is None:
                return False
        return True

    @property
    def shown(self) -> str:
        """For a message."""
        return quoted(self.pattern.pattern if self.pattern else self.parts[0][1].pattern)


def parse_rules(text: str, path: str) -> list[Rule]:
    """The rules of a user's file, in its order: each key is a pattern for the whole name.

    Raises:
        BadRules: names the file and the line's pattern.
    """
    document = _document(text, path)
    if len(document) > _MOST_RULES:
        raise BadRules(path=path, detail=f"{len(document):,} rules, at most {_MOST_RULES:,} are read")
    rules = []
    for key, values in document.items():
        where = f"rule {quoted(key)}"
        if not isinstance(values, Mapping):
            raise BadRules(path=path, detail=f"{where}: not of the form {example_line()}")
        strange = sorted(set(values) - {"family", "library", "reason", "role"})
        if strange:
            raise BadRules(path=path, detail=f"{where}: unknown key {quoted(strange[0])}")
        kind = _kind(values, path, where)
        rules.append(Rule(**kind, path=path, pattern=_compiled(key, path, where)))
    return rules


def parse_project(text: str, path: str, tier: Tier) -> list[Rule]:
    """The rules of a file in ``rules/``: ``[[rule]]`` tables below what holds for all of them.

    Raises:
        BadRules: names the file and the rule.
    """
    document = _document(text, path)
    common = {key: document.get(key, "") for key in ("library", "source")}
    rules = []
    for number, values in enumerate(document.get("rule", [])):
        where = f"rule {number + 1}"
        strange = sorted(set(values) - _TEXTS)
        if strange:
            raise BadRules(path=path, detail=f"{where}: unknown key {quoted(strange[0])}")
        parts = tuple((part, _compiled(values[part], path, where)) for part in _PARTS if part in values)
        if not parts:
            raise BadRules(path=path, detail=f"{where}: none of {', '.join(_PARTS)}")
        kind = _kind({**common, **values}, path, where)
        source = values.get("source", common["source"])
        rules.append(Rule(**kind, path=path, tier=tier, source=source, parts=parts))
    return rules


@cache
def project_rules() -> tuple[Rule, ...]:
    """All rules of the project, tier by tier."""
    folder = resources.files("autotune_cli.profiling").joinpath("rules")
    found: list[Rule] = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            tier: Tier = {"words.toml": "words", "everyday.toml": "everyday"}.get(file.name, "named")  # type: ignore[assignment]
            found += parse_project(file.read_text(encoding="utf-8"), f"rules/{file.name}", tier)
    return in_tiers(found)


def in_tiers(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules by tier; within a tier they keep their order."""
    return tuple(sorted(rules, key=lambda rule: TIERS.index(rule.tier)))


def example_line() -> str:
    return '\'pattern\' = { family = "benign", library = "mine", reason = "why" }'


def _document(text: str, path: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except Unreadable as error:
        raise BadRules(path=path, detail=error) from None


def _kind(values: Mapping[str, Any], path: str, where: str) -> dict[str, Any]:
    """FamilyName, library, reason and role of a rule."""
    for key, value in values.items():
        if not isinstance(value, str):
            raise BadRules(path=path, detail=f"{where}: {key} must be text")
    family, role = values.get("family"), values.get("role", "")
    if family not in KNOWN:
        hint = nearest(str(family), KNOWN)
        said = family if family is None else quoted(family)
        raise BadRules(path=path, detail=f"{where}: family {said} is none of {', '.join(KNOWN)}{hint}")
    if role not in _ROLES:
        raise BadRules(path=path, detail=f"{where}: role {quoted(role)} is none of {', '.join(filter(None, _ROLES))}")
    return {
        "family": family,
        "library": values.get("library", ""),
        "reason": values.get("reason", ""),
        "role": role,
    }


def _compiled(pattern: str, path: str, where: str) -> re.Pattern[str]:
    try:
        return compile_pattern(pattern)
    except BadPattern as error:
        raise BadRules(path=path, detail=f"{where}: {error}") from None
