"""What a target of ``autotune export`` is, and how it is found: a file of ``targets/`` with an ``ABOUT``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from autotune_cli.errors import EXIT_NOT_COMPARABLE, AutotuneError, UnknownName
from autotune_cli.planning.plan import Request, plan_of
from autotune_cli.planning.records import Plan
from autotune_cli.results.schema import RunFile

_PACKAGE = f"{__name__.rpartition('.')[0]}.targets"


class NothingToExport(AutotuneError):
    """A result that has nothing of what a target takes."""

    template = "nothing to export to {target}: {detail}"
    exit_code = EXIT_NOT_COMPARABLE


@dataclass(frozen=True)
class Exported:
    """What a target comes to."""

    files: Mapping[str, str | bytes]
    """By path below the folder; of a target that is one file, that file, by any name."""
    notes: tuple[str, ...] = ()
    """For people, such as how it is loaded and what it leaves out."""


@dataclass(frozen=True)
class Material:
    """What there is to export: the results of one device, and the plan that is made of them when it is asked for."""

    run: RunFile
    request: Request

    @cached_property
    def plan(self) -> Plan:
        """One server's settings.

        Raises as :func:`~autotune_cli.planning.plan.plan_of`.
        """
        return plan_of(self.run, self.request)


@dataclass(frozen=True)
class Target:
    """The ``ABOUT`` of a target's file."""

    about: str
    """One line for ``--help``."""
    make: Callable[[Material], Exported]
    engine: str | None = None
    """Whose server is planned; None: that of the result's default baseline."""
    extension: str = ""
    """Of its file, with the dot; empty: it is a folder."""
    binary: bool = False
    is_program: bool = False
    """Is its file run by its name?"""
    needs: tuple[str, ...] = ()
    """Packages that the base install lacks."""
    fix: str = ""
    """The command that brings them."""
    name: str = field(default="", compare=False)

    @property
    def is_folder(self) -> bool:
        """Is it several files?"""
        return not self.extension


@cache
def target_names() -> tuple[str, ...]:
    """The targets' names, sorted."""
    package = importlib.import_module(_PACKAGE)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UnknownName: there is none.
    """
    wanted = name.strip().lower()
    if wanted not in target_names():
        raise UnknownName("target", name, target_names())
    about: Target = importlib.import_module(f"{_PACKAGE}.{wanted}").ABOUT
    return about
