"""Which family a kernel belongs to: rules are data (``rules.toml``), the first that matches decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from autotune_cli.errors import nearest
from autotune_cli.profiling.errors import BadRules
from autotune_cli.profiling.names import demangle, pattern_of
from autotune_cli.profiling.patterns import BadPattern, Patience, TooSlow, compile_pattern, shown
from autotune_cli.reading import Unreadable, decode, parse_toml, read_bytes

Family = Literal["paged", "split_merge", "ragged", "merge", "dense", "topk", "index", "benign", "unknown"]
Role = Literal["", "matmul", "softmax", "elementwise"]

FAMILIES: tuple[Family, ...] = get_args(Family)
# ``unknown`` is what no rule matches; a rule can't say it.
_KNOWN: tuple[str, ...] = tuple(family for family in FAMILIES if family != "unknown")
_ROLES: tuple[str, ...] = get_args(Role)
# A file of our own rules has 20 kB and 70 of them.
_MOST_BYTES, _MOST_RULES = 2**20, 1000
# These read keys and values; a phase without any of them has nothing to judge.
ATTENTION: frozenset[Family] = frozenset({"paged", "ragged", "dense"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rules file."""

    pattern: re.Pattern[str]
    family: Family
    library: str
    reason: str
    role: Role = ""
    path: str = ""
    """The file that it is in."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kernel is."""

    family: Family
    library: str = ""
    reason: str = ""
    role: Role = ""


UNKNOWN = Kind("unknown", reason="no rule matches")


class Classifier:
    """Families of kernels by name. Extra rules come before the ones of this project."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._seen: dict[str, Kind] = {}
        self._patience = Patience()
        self._tried: Rule | None = None

    def __call__(self, name: str) -> Kind:
        """The kind of a kernel; mangled names are demangled first.

        Raises:
            BadRules: a rule takes too long on the name.
        """
        kind = self._seen.get(name)
        if kind is None:
            kind = self._seen[name] = self._find(demangle(name))
        return kind

    def _find(self, name: str) -> Kind:
        try:
            return self._patience.run(lambda: self._first(name))
        except (TooSlow, MemoryError):
            rule = self._tried
            assert rule is not None
            detail = f"rule {shown(rule.pattern.pattern)}: takes too long on the kernel name {shown(name)}"
            raise BadRules(path=rule.path, detail=detail) from None

    def _first(self, name: str) -> Kind:
        for rule in self.rules:
            self._tried = rule
            if rule.pattern.search(name):
                return Kind(rule.family, rule.library, rule.reason, rule.role)
        return UNKNOWN


def load_classifier(extra: Sequence[Path] = ()) -> Classifier:
    """The project's rules after those of ``extra``, in the order given.

    Raises:
        BadRules: a file that can't be read, an unknown family, a pattern that is no regular expression, nested
            or sized beyond reason.
    """
    rules: list[Rule] = []
    for path in extra:
        try:
            text = decode(read_bytes(path, _MOST_BYTES, "rules file"))
        except Unreadable as error:
            raise BadRules(path=path, detail=f"can't be read: {error}") from None
        rules += parse_rules(text, str(path))
    return Classifier((*rules, *_own_rules()))


@cache
def _own_rules() -> tuple[Rule, ...]:
    text = resources.files("autotune_cli.profiling").joinpath("rules.toml").read_text(encoding="utf-8")
    return tuple(parse_rules(text, "rules.toml"))


def parse_rules(text: str, path: str) -> list[Rule]:
    """The rules of a file's text, in its order.

    Raises:
        BadRules: names the file and the line's pattern.
    """
    try:
        document = parse_toml(text)
    except Unreadable as error:
        raise BadRules(path=path, detail=error) from None
    if len(document) > _MOST_RULES:
        raise BadRules(path=path, detail=f"{len(document):,} rules, at most {_MOST_RULES:,} are read")
    return [_rule(pattern, values, path) for pattern, values in document.items()]


def _rule(pattern: str, values: Any, path: str) -> Rule:
    where = f"rule {shown(pattern)}"
    if not isinstance(values, Mapping):
        raise BadRules(path=path, detail=f"{where}: not of the form {example_line()}")
    strange = sorted(set(values) - {"family", "library", "reason", "role"})
    if strange:
        raise BadRules(path=path, detail=f"{where}: unknown key {shown(strange[0])}")
    for key, value in values.items():
        if not isinstance(value, str):
            raise BadRules(path=path, detail=f"{where}: {key} must be text")
    family, role = values.get("family"), values.get("role", "")
    if family not in _KNOWN:
        hint = nearest(str(family), _KNOWN)
        said = family if family is None else shown(family)
        raise BadRules(path=path, detail=f"{where}: family {said} is none of {', '.join(_KNOWN)}{hint}")
    if role not in _ROLES:
        raise BadRules(path=path, detail=f"{where}: role {shown(role)} is none of {', '.join(filter(None, _ROLES))}")
    try:
        compiled = compile_pattern(pattern)
    except BadPattern as error:
        raise BadRules(path=path, detail=f"{where}: {error}") from None
    return Rule(compiled, family, values.get("library", ""), values.get("reason", ""), role, path)


def example_line() -> str:
    return '\'pattern\' = { family = "benign", library = "mine", reason = "why" }'


def line_to_paste(name: str) -> str:
    """The line for a rules file that declares this kernel benign, for the user to check and to reason."""
    return f'\'{pattern_of(demangle(name))}\' = {{ family = "benign", library = "?", reason = "?" }}'
