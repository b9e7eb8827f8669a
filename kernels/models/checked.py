"""Reading fields of a config.json one at a time, with strict types: a wrong one is a BadConfig line that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from autotune_cli.errors import BadConfig
from autotune_cli.kernels.models.known import defaults_of

# Larger numbers are a mistake in the file (window, positions).
MOST = 100_000_000
# Nor has any model so many heads, layers or elements in a head: the largest known are 128, 126 and 576.
MOST_SIZE = 10_000
# A whole file says how large its model is; a nested part that transformers wrote may leave even that to its class.
_NESTED_ONLY = {"num_attention_heads", "hidden_size", "num_hidden_layers", "max_position_embeddings"}
# What pydantic finds wrong, in the words of a message that begins with the field's name.
_WORDS = {
    "int_type": "must be a whole number, not {}",
    "float_type": "must be a number, not {}",
    "bool_type": "must be true or false, not {}",
}
_RANGE = ("greater_than_equal", "less_than_equal")


def _whole(value: Any) -> Any:
    """json.dumps of a computed size may leave 8.0 or 1e5."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _on(value: Any) -> Any:
    """Zero and false mean off: None."""
    return None if value is False or (isinstance(value, int | float) and value == 0) else value


def _positive(value: Any) -> Any:
    value = _on(value)
    # Also for a JSON integer that is larger than any float, and for NaN.
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value <= MOST:
        raise PydanticCustomError("positive", "is {shown}, but must be positive", {"shown": shown(value)})
    return value


def _layers(value: Any) -> Any:
    if not 0 < len(value) <= MOST_SIZE:
        raise PydanticCustomError(
            "layers", "has {count} entries, which no model has layers", {"count": str(len(value))}
        )
    return [0 if item in (0, None) else item for item in value]


def _flag(item: Any) -> Any:
    return int(item) if isinstance(item, bool) else item


def _some(numbers: list[int]) -> list[int]:
    if not any(numbers):
        raise PydanticCustomError("none", "has no number above zero")
    return numbers


def _or(message: str) -> WrapValidator:
    """One message for whatever is wrong."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise PydanticCustomError("other", message) from error  # type: ignore[arg-type]

    return WrapValidator(check)


Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MOST)]
"""A positive whole number."""
Size = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MOST_SIZE)]
"""Heads, layers, or elements of a head."""
Width = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=100 * MOST_SIZE)]
"""Elements of a hidden state."""
Switch = Annotated[Count | None, BeforeValidator(_on)]
"""A positive whole number; zero and false mean off: None."""
Positive = Annotated[float | None, BeforeValidator(_positive)]
"""A finite positive number; zero and false mean off: None."""
Layers = Annotated[
    list[Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MOST_SIZE)]],
    BeforeValidator(_layers),
    AfterValidator(_some),
]
"""A number for each layer, where zero is a layer without attention."""
PerLayer = Annotated[
    Annotated[Size, Tag("one")] | Annotated[Layers, Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, list) else "one"),
]
"""One number, or one a layer."""
Names = Annotated[list[str], Field(min_length=1), _or("must be a list of names")]
_Flag = Annotated[int, BeforeValidator(_flag), Field(ge=0, le=MOST)]
Numbers = Annotated[list[_Flag], _or("must be a list of whole numbers")]
"""Whole numbers from 0 on: layers, or flags of layers."""


def called(*names: str) -> Any:
    """A field that may be absent, under any of these names; the first one that is there counts."""
    return Field(default=None, validation_alias=AliasChoices(*names))


class Read(BaseModel):
    """Fields of a config.json or of a part of it, each checked when it is read.

    One that nobody reads may hold anything: only what is known to matter can be wrong. Absent and null are None.
    """

    model_config = ConfigDict(strict=True, validate_assignment=True)

    _where: str = PrivateAttr()
    _values: Mapping[str, Any] = PrivateAttr()
    _prefix: str = PrivateAttr()
    _model_type: str = PrivateAttr()
    _defaulted: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, where: str, values: Mapping[str, Any], prefix: str = "", model_type: str | None = None) -> Self:
        """The fields of ``values``, none of them read yet.

        Args:
            where: leads each message: a path or a catalogue file.
            prefix: leads the fields' names in messages (``text_config.``).
            model_type: the file's, or what the part that encloses it implies; its class's defaults count for absent
                fields, and ``defaulted`` says which were taken.
        """
        made = cls.model_construct()
        # Nothing is read yet: see __getattr__.
        made.__dict__.clear()
        made._where, made._values, made._prefix = where, values, prefix
        made._model_type = made.text("model_type") if model_type is None else model_type
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return self._checked(name) if name in type(self).model_fields else super().__getattr__(name)

    def _checked(self, canonical: str) -> Any:
        """The field's value, or its class's default; raises :class:`BadConfig`."""
        value = self.value(canonical)
        if value is None:
            return None
        try:
            setattr(self, canonical, value)
        except ValidationError as error:
            raise self.bad(self.name_of(canonical), _said(error)) from error
        return self.__dict__.pop(canonical)

    @property
    def where(self) -> str:
        return self._where

    @property
    def values(self) -> Mapping[str, Any]:
        """As they stand in the file."""
        return self._values

    @property
    def prefix(self) -> str:
        return self._prefix

    @property
    def model_type(self) -> str:
        return self._model_type

    @property
    def defaulted(self) -> dict[str, Any]:
        """Values that were read and aren't the file's but its class's."""
        return self._defaulted

    @classmethod
    def names_of(cls, canonical: str) -> tuple[str, ...]:
        """What files may call a field."""
        known = cls.model_fields.get(canonical)
        alias = None if known is None else known.validation_alias
        return tuple(str(name) for name in alias.choices) if isinstance(alias, AliasChoices) else (canonical,)

    def bad(self, name: str, detail: str) -> BadConfig:
        return BadConfig(path=self._where, detail=f"{self._prefix}{name} {detail}")

    def missing(self, canonical: str) -> BadConfig:
        name, *others = self.names_of(canonical)
        more = f", and so are its other names ({', '.join(others[:3])} ...)" if others else ""
        return self.bad(name, f"is missing{more}")

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def name_of(self, canonical: str) -> str:
        """What the file calls a field; its canonical name where it has none."""
        names = self.names_of(canonical)
        return next((name for name in names if self.has(name)), names[0])

    def value(self, canonical: str) -> Any:
        """As it stands under any of its names, or its class's default; None: neither. Null is the file's own answer."""
        name = self.name_of(canonical)
        if self.has(name):
            return self._values[name]
        default = defaults_of(self._model_type).values.get(canonical)
        given = any(alias in self._values for alias in self.names_of(canonical))
        if default is None or given or (canonical in _NESTED_ONLY and not self._prefix):
            return None
        self._defaulted[canonical] = default
        return default

    def text(self, name: str) -> str:
        value = self._values.get(name)
        return value if isinstance(value, str) else ""


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] in _RANGE:
        return f"is {shown(_whole(first['input']))}, which no model has"
    words = _WORDS.get(first["type"])
    return first["msg"] if words is None else words.format(shown(first["input"]))


def shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
