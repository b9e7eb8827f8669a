"""From a frozen dataclass of options to the function that Typer makes a command of.

A field of the dataclass is an option: its annotation holds ``typer.Option(...)`` (or an alias of ``options.shared``
that does), a :class:`Kind` where its text is more than a text or a plain number, and :class:`Said` where an alias is
told otherwise in this command. Typer sees texts; the command sees values.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

from typer.models import ParameterInfo

_OPTIONS = "autotune_cli.commands.options"


@runtime_checkable
class Kind(Protocol):
    """What an option takes."""

    def value(self, field: str, text: str) -> Any:
        """The value of a text. Raises an :class:`~autotune_cli.errors.AutotuneError` that names ``field``."""

    def text(self, value: Any) -> str:
        """What would have to be typed for the value: ``--help`` shows it as the default."""


@dataclass(frozen=True)
class Said:
    """What this command says of an option that others have too; None: as the option says itself."""

    panel: str | None = None
    help: str | None = None
    metavar: str | None = None


def options_of(function: Callable[..., None]) -> type[Any]:
    """The dataclass that a command's function takes.

    It stands in the function's file, or, so that ``--help`` needn't read it, in the file of that name in ``options/``.
    """
    (annotation,) = (text for name, text in function.__annotations__.items() if name != "return")
    if isinstance(annotation, type):
        return annotation
    module = sys.modules[function.__module__]
    if not hasattr(module, annotation):
        module = import_module(f"{_OPTIONS}.{function.__module__.rpartition('.')[2]}")
    found: type[Any] = getattr(module, annotation)
    return found


def declared(function: Callable[..., None]) -> Callable[..., None]:
    """A function with one parameter an option, as Typer wants it, which calls ``function`` with the dataclass."""
    options = options_of(function)
    hints = get_type_hints(options, include_extras=True)
    parameters = [_parameter(field, hints[field.name]) for field in dataclasses.fields(options)]

    def command(**values: Any) -> None:
        function(options(**values))

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def in_panel(options: type[Any], panel: str) -> tuple[str, ...]:
    """The fields whose options stand under this heading of ``--help``."""
    hints = get_type_hints(options, include_extras=True)
    infos = {field.name: _info(get_args(hints[field.name])) for field in dataclasses.fields(options)}
    return tuple(name for name, info in infos.items() if getattr(info, "rich_help_panel", None) == panel)


def _info(extras: tuple[Any, ...]) -> ParameterInfo:
    """What an annotation declares, as this command says it."""
    # Not the alias's own: other commands use it too.
    (info,) = (copy(extra) for extra in extras if isinstance(extra, ParameterInfo))
    for said in (extra for extra in extras if isinstance(extra, Said)):
        info.help = said.help or info.help
        info.metavar = said.metavar or info.metavar
        info.rich_help_panel = said.panel or info.rich_help_panel
    return info


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{field.name} is no option: its annotation holds no typer.Option")
    kind_of_value, *extras = get_args(hint)
    info = _info(tuple(extras))
    default: Any = field.default
    # What follows "typer.Option(" in an annotation is its first name, which Typer calls its default there.
    if kind_of_value is not bool and not info.param_decls and not isinstance(info.default, str):
        # Typer 0.27 makes --MODE of an option called mode with the metavar MODE.
        info.param_decls = (f"--{field.name.replace('_', '-')}",)
    for kind in (extra for extra in extras if isinstance(extra, Kind)):
        # With a parser of its own the type is of no interest to Typer, but it must be one it knows.
        kind_of_value = str if default is not None else str | None
        default = None if default is None else kind.text(default)
        info.parser = _parser(kind, field.name)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind_of_value, info]
    )


def _parser(kind: Kind, field: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return kind.value(field, text)

    return parse
