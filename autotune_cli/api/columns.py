"""Columns of a frame: their names, types and values. Imports no pandas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

# pandas' names of types. Missing numbers are NaN where a float holds them; elsewhere, and for texts, pandas.NA.
TEXT, FLOAT, INTEGER, YES_OR_NO = "string", "float64", "Int64", "boolean"


Cells = Mapping[str, object]
"""Values of a row by column; None, or not there: it has none."""


class Table:
    """Rows with typed columns, which come in groups: what later rows add to a group stands behind its others.

    Args:
        groups: the columns of each group that are always there, with their types.
    """

    def __init__(self, *groups: Mapping[str, str]) -> None:
        self._groups = [dict(group) for group in groups]
        self._rows: list[dict[str, object]] = []

    def add_columns(self, group: int, types: Mapping[str, str]) -> None:
        """Columns that a group has besides; one that is there with another type becomes a text."""
        known = self._groups[group]
        for name, kind in types.items():
            known[name] = kind if known.get(name, kind) == kind else TEXT

    def add_row(self, *cells: Cells) -> None:
        """A row; of cells for one column the last counts."""
        self._rows.append({name: value for some in cells for name, value in some.items()})

    def columns(self) -> dict[str, tuple[str, list[Any]]]:
        """Type and values of each column, in their order."""
        types = {name: kind for group in self._groups for name, kind in group.items()}
        return {name: (kind, [_plain(row.get(name), kind) for row in self._rows]) for name, kind in types.items()}


def fields_of(record: BaseModel) -> Iterator[tuple[str, str, object]]:
    """Name, type and value of each field, those of records within it too."""
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from fields_of(value)
        else:
            yield name, _type_of(field.annotation), value


def as_json(values: Mapping[str, Any]) -> str:
    """A mapping as a text that tells numbers from texts, such as a candidate's knobs."""
    return json.dumps(dict(values), ensure_ascii=False)


def _plain(value: object, kind: str) -> object:
    """Lists are texts with commas between."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value) if kind == TEXT and value is not None else value


def _type_of(annotation: Any) -> str:
    """Of a pandas column that holds values of that annotation; None is left out, as every column may lack a value."""
    leaves = set(_leaves(annotation))
    if leaves == {bool}:
        return YES_OR_NO
    if leaves == {int}:
        return INTEGER
    return FLOAT if leaves and leaves <= {int, float} else TEXT


def _leaves(annotation: Any) -> Iterator[type]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _leaves(arguments[0])
    elif origin is Literal:
        yield from map(type, arguments)
    elif origin in (Union, UnionType):
        for argument in arguments:
            if argument is not NoneType:
                yield from _leaves(argument)
    else:
        yield annotation if isinstance(annotation, type) else str
