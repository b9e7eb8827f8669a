"""The table of an engine: a TOML file beside this one, validated when it is read.

A file holds the engine's name and version, the options that a baseline may name, and two lists of rows: ``backend``
(which of the engine's backends takes a situation) and ``run`` (which candidate stands for what that backend launches).
In both the first row whose conditions all hold counts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field, ValidationError

from autotune_cli.errors import AutotuneError, UnknownName
from autotune_cli.kernels.base import Frozen, Mode
from autotune_cli.kernels.engines.situation import Situation

_FOLDER = Path(__file__).parent
_TRUE, _FALSE = ("true", "1", "yes", "y"), ("false", "0", "no", "n")
_EMPTY = "''"


class RowConditions(Frozen):
    """When a row applies; what is left out is not asked for."""

    operations: tuple[str, ...] = ()
    """Names, or beginnings of names up to a dot: ``attention`` is each of its operations."""
    attention: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """``model_type`` of the config.json."""
    modes: tuple[Mode, ...] = ()
    gpus: tuple[str, ...] = ()
    cuda: str = ""
    """Bounds such as ``>=12.3``."""
    versions: str = ""
    """Of the engine, such as ``>=0.5.16``."""
    kv_dtypes: tuple[str, ...] = ()
    sinks: bool | None = None
    window: bool | None = None
    softcap: bool | None = None
    asymmetric: bool | None = None
    group_at_least: int = 0
    kv_heads: tuple[int, ...] = ()
    k: tuple[int, ...] = ()
    packed: bool | None = None
    prefix_at_least: int = 0
    prefix_below: int | None = None
    keys_at_least: int = 0
    options: dict[str, tuple[str, ...]] = Field({})
    """Any of the values; an option that isn't given has the value of the file's ``options``."""
    variables: dict[str, tuple[str, ...]] = Field({})
    """Any of the values, as :meth:`Variable.read` gives them; ``""``: not set."""

    def hold(self, situation: Situation, version: str | None, defaults: Mapping[str, str]) -> bool:
        """Do all of them hold? An unknown version is taken for the newest, which every bound from below admits."""
        s = situation
        return (
            _names(self.operations, s.operation)
            and _member(self.attention, s.attention)
            and _member(self.models, s.model_type)
            and _member(self.modes, s.mode)
            and _member(self.gpus, s.gpu)
            and _member(self.kv_dtypes, s.kv_dtype)
            and _member(self.kv_heads, s.kv_heads)
            and _member(self.k, s.k)
            and self.packed in (None, s.packed)
            and self.sinks in (None, s.sinks)
            and self.window in (None, s.window)
            and self.softcap in (None, s.softcap)
            and self.asymmetric in (None, s.asymmetric)
            and s.group >= self.group_at_least
            and s.prefix >= self.prefix_at_least
            and (self.prefix_below is None or s.prefix < self.prefix_below)
            and s.keys >= self.keys_at_least
            and (not self.cuda or within(s.cuda, self.cuda))
            and (not self.versions or version is None or within(version, self.versions))
            and all(s.options.get(name, defaults.get(name, "")) in values for name, values in self.options.items())
            and all(s.variables.get(name, "").lower() in values for name, values in self.variables.items())
        )


class BackendRow(RowConditions):
    """``name``: the engine's word for the backend that takes the situation."""

    name: str
    source: str


class RunRow(RowConditions):
    """What a backend of the engine launches."""

    backend: str | tuple[str, ...]
    """One, or several that launch the same."""
    candidate: str = ""
    """Key of a candidate; ``{name}`` stands for an option's value. Empty: ``why_none`` says why there is none."""
    why_none: str = ""
    stand_in: str = ""
    """What the candidate is where it is not the engine's own kernel: said wherever the baseline is named."""
    source: str

    @property
    def backends(self) -> tuple[str, ...]:
        """Those whose row it is."""
        return (self.backend,) if isinstance(self.backend, str) else self.backend


class Option(Frozen):
    """An option of the server that changes which kernel runs."""

    values: tuple[str, ...] = ()
    """Empty: a whole number above zero."""
    default: str = ""
    """What the server takes when it isn't given; empty: it decides by its table."""
    switch: bool = False
    operations: tuple[str, ...] = ()
    """Operations that it concerns; empty: all."""
    names_backend: bool = False
    """Does its value name the backend, past the table (``--attention-backend``)?"""


class Variable(Frozen):
    """An environment variable of the server that changes which kernel runs."""

    operations: tuple[str, ...]
    """Operations that it concerns."""
    switch: bool | None = None
    """A truth value, and what it is unless the variable says otherwise; None: any text."""
    older_name: str = ""
    """Of the same variable, which counts where this one isn't set."""
    older_versions: str = ""
    """Of the engine, in which the older name is read."""

    def read(self, text: str | None) -> str:
        """As the engine reads it: ``true`` or ``false`` of a switch; else the text in lower case, ``""`` where it is
        not set and ``''`` (two marks) where it is empty.

        Source: SGLang's ``environ.py``, ``EnvBool.parse`` and ``EnvField.get``, which takes a switch's default for any
        other text, with a warning; blanks are not taken off.
        """
        text = None if text is None else text.lower()
        if self.switch is None:
            return "" if text is None else text or _EMPTY
        told = True if text in _TRUE else False if text in _FALSE else self.switch
        return "true" if told else "false"


class Engine(Frozen):
    """An engine's table."""

    name: str
    title: str
    distributions: tuple[str, ...]
    """Packages whose version is the engine's."""
    newest: str | None = None
    """The newest version in which the rows were read."""
    read_in: str
    """For people: in which versions the rows were read."""
    options: dict[str, Option] = Field({})
    variables: dict[str, Variable] = Field({})
    """Environment variables that a baseline may name."""
    beside: dict[str, tuple[str, ...]] = Field({})
    """Baselines that are measured beside the engine's default, by kind of device."""
    backend: tuple[BackendRow, ...]
    run: tuple[RunRow, ...]

    @cached_property
    def defaults(self) -> Mapping[str, str]:
        """Values of the options that aren't given."""
        return {name: "false" if option.switch else option.default for name, option in self.options.items()}

    @cached_property
    def run_of(self) -> Mapping[str, tuple[RunRow, ...]]:
        """``run`` by backend, in the order of the file."""
        backends = {name for row in self.run for name in row.backends}
        return {name: tuple(row for row in self.run if name in row.backends) for name in backends}

    def variables_read(self, given: Mapping[str, str], version: str | None) -> dict[str, str]:
        """What the engine makes of its variables in an environment; those that it doesn't know are left out."""
        found = {}
        for name, variable in self.variables.items():
            text = given.get(name)
            if text is None and variable.older_name and (version is None or within(version, variable.older_versions)):
                text = given.get(variable.older_name)
            found[name] = variable.read(text)
        return found


@lru_cache(maxsize=1024)
def within(version: str, bounds: str) -> bool:
    """Does a version lie within bounds such as ``>=0.5.10,<0.5.16``? False for what is no version."""
    try:
        return SpecifierSet(bounds).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


@cache
def engine_names() -> tuple[str, ...]:
    """The known engines' names, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def load_engine(name: str) -> Engine:
    """An engine's table.

    Raises:
        UnknownName: there is no such engine.
    """
    if name not in engine_names():
        raise UnknownName("engine", name, engine_names())
    path = _FOLDER / f"{name}.toml"
    try:
        return Engine.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise AutotuneError(detail=f"{path}: {error}") from error


def _member(values: tuple[object, ...], value: object) -> bool:
    return not values or value in values


def _names(names: tuple[str, ...], operation: str) -> bool:
    return not names or any(operation == name or operation.startswith(f"{name}.") for name in names)
