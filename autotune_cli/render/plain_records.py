"""Records whose texts can be laid out and printed as they are."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from autotune_cli.plain_text import shown

Record = TypeVar("Record")


def shown_record(record: Record) -> Record:
    """The record with each text in it as :func:`autotune_cli.plain_text.shown` has it; the same one if none changes.

    Equal texts stay equal, so keys and what they name fit together. For printing only: what is written again must be
    the original.

    Args:
        record: a pydantic model, a data class, a tuple, list or dictionary of such, or a text.
    """
    return cast(Record, _shown(record))


def _shown(value: Any) -> Any:
    if type(value) is str:  # not an enumeration's member, which is its own name
        return shown(value)
    if isinstance(value, BaseModel):
        changed = _changes(vars(value))
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        pairs = [(_shown(key), _shown(item)) for key, item in value.items()]
        same = all(key is pair[0] and item is pair[1] for (key, item), pair in zip(value.items(), pairs, strict=True))
        return value if same else dict(pairs)
    if type(value) in (tuple, list) and value and not isinstance(value[0], int | float):
        items = [_shown(item) for item in value]
        return value if all(map(operator.is_, items, value)) else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        changed = _changes(fields)
        return dataclasses.replace(value, **changed) if changed else value
    return value


def _changes(fields: dict[str, Any]) -> dict[str, Any]:
    found = {name: _shown(field) for name, field in fields.items()}
    return {name: field for name, field in found.items() if field is not fields[name]}
