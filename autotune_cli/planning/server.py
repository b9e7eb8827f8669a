"""What a server of an engine is told once, for all its steps: a TOML file of ``servers/``, validated when it is read.

A file lists knobs (an option or variable of the engine's table, with the values that are tried), rules (what can't be
combined) and what the engine can't be told, each with the versions that it holds for and its source.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

from packaging.version import Version
from pydantic import Field, ValidationError, model_validator

from autotune_cli.errors import AutotuneError, UnknownName
from autotune_cli.kernels.base import Frozen
from autotune_cli.kernels.engines.data import Engine, RowConditions, load_engine, within

_FOLDER = Path(__file__).parent / "servers"
# In what says where rules were read; commits have no dots.
_VERSION = re.compile(r"\b\d+(?:\.\w+)+")


class KnobRow(Frozen):
    """A setting of the server: one value for all its steps."""

    option: str = ""
    """Of the engine's table, without its dashes."""
    variable: str = ""
    """Instead of an option: an environment variable of the engine's table."""
    values: tuple[str, ...] = ()
    """Those that are tried beside the default; empty: all of the option's."""
    versions: str = ""
    """Of the engine that has it, such as ``>=0.5.13``; empty: all."""
    source: str

    @property
    def name(self) -> str:
        """Of the option or the variable."""
        return self.option or self.variable

    @model_validator(mode="after")
    def _is_one_of_both(self) -> KnobRow:
        if bool(self.option) == bool(self.variable):
            raise ValueError("a knob is an option or a variable")
        if self.variable and not self.values:
            raise ValueError(f"{self.variable}: no values to try")
        return self

    def written(self, value: str) -> str:
        """As it is typed: ``--page-size 64``, ``SGLANG_FLASHINFER_USE_PAGED=1``."""
        if self.variable:
            return f"{self.variable}={value}"
        return f"--{self.option}" if value == "true" else f"--{self.option} {value}"


class Rule(RowConditions):
    """Where all conditions hold for a workload that the server gets, ``requires`` must hold of its settings.

    The settings are conditions too, as ``options`` and ``variables``.
    """

    requires: dict[str, tuple[str, ...]]
    """Values by knob; ``""``: left at its default."""
    reason: str
    source: str

    def is_of(self, version: str | None) -> bool:
        """Is it a rule of the version? An unknown one is taken for the newest."""
        return not self.versions or version is None or within(version, self.versions)


class Untold(Frozen):
    """What no setting of the engine reaches."""

    backends: tuple[str, ...]
    """Of candidates: names, or beginnings of names up to a dot."""
    knobs: tuple[str, ...] = ()
    """Knobs of a candidate that the engine fixes; empty: the engine doesn't run the backend."""
    reason: str
    source: str

    def fits(self, backend: str, differing: tuple[str, ...]) -> bool:
        """Does it say why a candidate of that backend, with those knobs of its own, can't be had?"""
        named = any(backend == name or backend.startswith(f"{name}.") for name in self.backends)
        return named and (not self.knobs or bool(set(self.knobs) & set(differing)))


class Server(Frozen):
    """An engine's file."""

    engine: str
    launch: str
    """The command that starts it; ``{model}`` stands for the model, flags follow. Empty: it is a library."""
    parallel: str = ""
    """The flag for several GPUs; ``{tp}`` stands for their number."""
    cache_dtypes: dict[str, str] = Field({})
    """The flag for a type of the KV cache that is not the model's."""
    read_in: str
    """For people: the versions in which the file's rows were read."""
    together: dict[str, tuple[str, ...]] = Field({})
    """Options that stand for several knobs where these agree: ``attention-backend``."""
    apart: str = ""
    """What to know where those don't agree."""
    knob: tuple[KnobRow, ...]
    rule: tuple[Rule, ...] = ()
    untold: tuple[Untold, ...] = ()

    @property
    def table(self) -> Engine:
        """The engine's table."""
        return load_engine(self.engine)

    def knobs(self, version: str | None) -> tuple[KnobRow, ...]:
        """Those that the version has; an unknown one is taken for the newest."""
        return tuple(row for row in self.knob if not row.versions or version is None or within(version, row.versions))

    def unread(self, version: str | None) -> str:
        """What is wrong with planning for a version by rules that were read in others; empty: it lies between these."""
        read = sorted(Version(text) for text in _VERSION.findall(self.read_in))
        if version is None or not read or read[0] <= Version(version) <= read[-1]:
            return ""
        order = "older" if Version(version) < read[0] else "newer"
        return f"{self.table.title} {version} is {order} than all whose rules are known: {self.read_in}"

    def values(self, knob: KnobRow) -> tuple[str, ...]:
        """What a knob may be set to: ``""``, which leaves it alone, then the others without the default's."""
        engine = self.table
        if knob.variable:
            return ("", *knob.values)
        option = engine.options[knob.option]
        return ("", *(value for value in knob.values or option.values if value != engine.defaults[knob.option]))

    def operations(self, knob: KnobRow) -> tuple[str, ...]:
        """Those that a knob concerns; empty: all."""
        engine = self.table
        return engine.variables[knob.variable].operations if knob.variable else engine.options[knob.option].operations


@cache
def server_names() -> tuple[str, ...]:
    """Engines that can be planned for, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def load_server(name: str) -> Server:
    """An engine's file.

    Raises:
        UnknownName: there is none.
    """
    if name not in server_names():
        raise UnknownName("engine", name, server_names())
    path = _FOLDER / f"{name}.toml"
    try:
        return Server.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise AutotuneError(detail=f"{path}: {error}") from error
