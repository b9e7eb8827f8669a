"""Texts that name fields of a request. The engine knows a field's name; a command knows the option that sets it.

In a template ``{fields.batch}`` is the field ``batch``, and a :class:`Field` among the values is one with its value. As
it stands such a text has the fields' names (for callers in Python); a command puts its options in their place::

    >>> text = Message("narrow it with {fields.batch}")
    >>> str(text), named(text, lambda field: f"--{field.name}")
    ('narrow it with batch', 'narrow it with --batch')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field of a request."""

    name: str
    value: object = None
    """What it is set to, where the text says so; None: only the field is meant."""

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


Naming = Callable[[Field], str]


class Message(str):
    """A text whose fields can be named anew. It equals the text with the fields' own names."""

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, **values: object) -> Message:
        message = super().__new__(cls, written(template, values, str))
        message.template, message.values = template, values
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return _message, (self.template, self.values)


class _NamedFields:
    """Every attribute is the name of the field."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming

    def __getattr__(self, name: str) -> str:
        return self._naming(Field(name))


def written(template: str, values: Mapping[str, object], naming: Naming) -> str:
    """The template with its values and fields."""
    said = {name: naming(value) if isinstance(value, Field) else named(value, naming) for name, value in values.items()}
    return template.format(**said, fields=_NamedFields(naming))


def named(text: Any, naming: Naming) -> Any:
    """A :class:`Message` as plain text with its fields named so; anything else is returned as it is."""
    return written(text.template, text.values, naming) if isinstance(text, Message) else text


def joined(separator: str, texts: Iterable[str]) -> Message:
    """Texts, some of which may be messages, as one message."""
    values = {f"part{number}": text for number, text in enumerate(texts)}
    return Message(separator.replace("{", "{{").replace("}", "}}").join(f"{{{name}}}" for name in values), **values)


def _message(template: str, values: Mapping[str, object]) -> Message:
    return Message(template, **values)
