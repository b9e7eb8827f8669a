"""A baseline as people name it: an engine and the options of its server, ``sglang --attention-backend flashinfer``.

Who serves with a kernel that no engine has names its candidate: ``mine.decode(block=64)``.
"""

from __future__ import annotations

import importlib.metadata
import shlex
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from autotune_cli.errors import BadField, UnknownName
from autotune_cli.fields import Field
from autotune_cli.kernels.engines.data import Engine, Option, engine_names, load_engine

VersionFrom = Literal["installed", "newest known"]


@dataclass(frozen=True)
class Baseline:
    """An engine in a version, with named options; or, without an engine, a candidate."""

    engine: str
    """Empty: ``candidate`` is what runs."""
    options: tuple[tuple[str, str], ...] = ()
    """Without their dashes, in the order of the engine's file; a switch as ``true``."""
    version: str | None = None
    """None: not known."""
    version_from: VersionFrom = "newest known"
    named: tuple[tuple[str, str], ...] = ()
    """Environment variables that its name sets, sorted; they are in ``variables`` too."""
    variables: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The environment that the server would see."""
    candidate: str = ""
    """Key of a candidate, or the name of its backend."""

    @property
    def name(self) -> str:
        """The words that people type: ``SGLANG_FLASHINFER_USE_PAGED=1 sglang --attention-backend flashinfer``."""
        words = [*(f"{variable}={value}" for variable, value in self.named), self.engine or self.candidate]
        for option, value in self.options:
            words.append(f"--{option}" if value == "true" else f"--{option} {value}")
        return " ".join(words)


def parse_baseline(text: str, variables: dict[str, str] | None = None) -> Baseline:
    """A baseline from its name; options, and variables before the engine, are those that the engine's file declares.

    What begins with no engine's name but looks like a candidate's (``library.kernel``) is taken for one.

    Args:
        variables: the environment that the server would see.

    Raises:
        UnknownName: no such engine, option, value or variable.
        BadField: an option without its value, or text that no shell would take.
    """
    found = without_version(text)
    if not found.engine:
        return found
    version, source = _version(load_engine(found.engine))
    seen = {**(variables or {}), **dict(found.named)}
    return replace(found, version=version, version_from=source, variables=tuple(sorted(seen.items())))


@lru_cache(maxsize=4096)
def without_version(text: str) -> Baseline:
    """As :func:`parse_baseline`, but no package is asked for its version, and no variables are seen but the named."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadField(field="baseline", detail=f"{text!r}: {error}") from error
    named: dict[str, str] = {}
    while words and "=" in words[0] and words[0].partition("=")[0].isidentifier():
        variable, _, value = words.pop(0).partition("=")
        named[variable] = value
    if not words:
        raise BadField(field="baseline", detail=f"names no engine (known: {', '.join(engine_names())})")
    if words[0] not in engine_names() and "." in words[0] and not named:
        return Baseline("", version_from="installed", candidate=text.strip())
    engine = load_engine(words[0])
    for variable in named:
        if variable not in engine.variables:
            raise UnknownName(f"variable of {engine.name}", variable, engine.variables)
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in engine.options:
            raise UnknownName(f"option of {engine.name}", word, [f"--{known}" for known in engine.options])
        option = engine.options[name]
        if option.switch:
            value = value or "true"
        elif not equals:
            value = next(rest, "")
        given[name] = _checked(engine, name, option, value)
    # An option given its default's value is no option.
    kept = tuple((name, given[name]) for name, usual in engine.defaults.items() if given.get(name, usual) != usual)
    variables = tuple(sorted(named.items()))
    return Baseline(engine.name, kept, named=variables, variables=variables)


def standard_baselines(engine: str, device_kind: str, variables: dict[str, str] | None = None) -> tuple[Baseline, ...]:
    """An engine's default, then what its file wants to see beside it on such a device.

    Raises:
        UnknownName: no such engine.
    """
    names = [engine, *load_engine(engine).beside.get(device_kind, ())]
    return tuple(parse_baseline(name, variables) for name in dict.fromkeys(names))


def _checked(engine: Engine, name: str, option: Option, value: str) -> str:
    label = Field("baseline", f"{engine.name} --{name}")
    if option.switch:
        if value not in ("true", "false"):
            raise BadField(field=label, detail="takes no value")
        return value
    if not value:
        raise BadField(field=label, detail="needs a value")
    if option.values:
        if value not in option.values:
            raise UnknownName(f"value of {engine.name} --{name}", value, option.values)
        return value
    if not value.isdecimal() or len(value) > 9 or int(value) < 1:
        raise BadField(field=label, detail=f"{value[:40]!r} is no whole number above zero")
    return str(int(value))


def _version(engine: Engine) -> tuple[str | None, VersionFrom]:
    for distribution in engine.distributions:
        try:
            return importlib.metadata.version(distribution), "installed"
        except importlib.metadata.PackageNotFoundError:
            continue
    return engine.newest, "newest known"
