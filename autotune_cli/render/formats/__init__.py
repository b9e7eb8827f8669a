"""The formats in which commands print results: each is a file of this folder (docs/contributing.md, "Adding an output
format"), found by the kind of result and the file's name. Asking what formats there are imports no renderer.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from autotune_cli.errors import MissingPackage, UnknownName
from autotune_cli.fields import Field
from autotune_cli.render.formats.base import FormatInfo, Page, Renderer, later

__all__ = [
    "KINDS",
    "Format",
    "FormatInfo",
    "Page",
    "Renderer",
    "check_packages",
    "find_format",
    "format_names",
    "later",
]

KINDS = (
    "run",
    "diff",
    "profile",
    "listing",
    "kernels",
    "check",
    "results",
    "doctor",
    "agree",
    "verify",
    "suite",
    "plan",
)
"""Results of tune and show, of diff, of profile with a verdict and without one, of kernels without --check and with it,
of list, doctor, agree and verify, of tune --dry-run, of plan. The view of each, which is what its renderers take, is in
``render/<kind>_formats.py``."""
_NO_FORMAT = "base"


@dataclass(frozen=True)
class Format:
    """One way to write one kind of result."""

    name: str
    render: Renderer
    about: FormatInfo

    def check_packages(self) -> None:
        """Are the packages there that it needs? They are looked for, and not imported.

        Raises:
            MissingPackage: no.
        """
        check_packages("format", self.name, self.about.needs, self.about.fix)


def check_packages(field: str, name: str, needs: Sequence[str], fix: str) -> None:
    """Are the packages there that a value of an option needs? They are looked for, and not imported.

    Args:
        field: the option's; ``name`` its value.
        fix: the command that brings them.

    Raises:
        MissingPackage: no.
    """
    for package in needs:
        found = None
        with contextlib.suppress(ImportError, ValueError):  # a hook that forbids it; a module put in its place
            found = importlib.util.find_spec(package)
        if found is None:
            raise MissingPackage(what=Field(field, name), package=package, fix=fix)


def find_format(kind: str, name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownName: results of this kind don't have it.
    """
    about = _formats().get(name)
    if about is None or kind not in about.renderers:
        raise UnknownName("format", name, format_names(kind))
    return Format(name, about.renderers[kind], about)


def format_names(kind: str) -> tuple[str, ...]:
    """The default first."""
    return tuple(name for name, about in _formats().items() if kind in about.renderers)


@cache
def _formats() -> Mapping[str, FormatInfo]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != _NO_FORMAT]
    found: dict[str, FormatInfo] = {name: importlib.import_module(f"{__name__}.{name}").ABOUT for name in names}
    return dict(sorted(found.items(), key=lambda item: (item[1].rank, item[0])))
