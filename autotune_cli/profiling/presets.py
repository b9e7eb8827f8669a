"""Presets: what a server with a known attention backend must show, as files of expectations and rules."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import get_args

from autotune_cli.errors import UnknownName
from autotune_cli.profiling.families import PathShape
from autotune_cli.profiling.rules import Rule, parse_project
from autotune_cli.reading import parse_toml

_FOLDER = resources.files("autotune_cli.profiling").joinpath("presets")


@dataclass(frozen=True, slots=True)
class Preset:
    """One file of ``presets/``."""

    name: str
    about: str
    """One line for people."""
    shape: PathShape
    libraries: tuple[str, ...]
    """Attention must be of one of these."""
    expects: tuple[str, ...]
    """Regular expressions: a kernel must have fired."""
    rules: tuple[Rule, ...]
    """They come before the project's and behind a user's."""


def preset_names() -> tuple[str, ...]:
    """All presets, by name."""
    files = (file.name for file in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        UnknownName: there is none.
    """
    if name not in preset_names():
        raise UnknownName("preset", name, preset_names())
    text = _FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8")
    values = parse_toml(text)
    shape: PathShape = next(shape for shape in get_args(PathShape) if shape == values["shape"])
    rules = parse_project(text, f"presets/{name}.toml", "preset")
    return Preset(name, values["about"], shape, tuple(values["libraries"]), tuple(values["expect"]), tuple(rules))
