"""What all records of the result file are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema


def _stop_at_the_first(schema: Any) -> None:
    """Have every list and object in a schema stop at its first wrong element. Otherwise pydantic keeps an error, half a
    kilobyte, for each: a file of 2 MB took 1.6 GB. (``fail_fast`` of pydantic-core: of lists from 2.20 on, of objects
    some versions later; an older one takes no notice.)
    """
    if isinstance(schema, dict):
        if schema.get("type") in ("tuple", "list", "dict"):
            schema["fail_fast"] = True
        for value in schema.values():
            _stop_at_the_first(value)
    elif isinstance(schema, list):
        for value in schema:
            _stop_at_the_first(value)


class Record(BaseModel):
    """Base of everything in the file: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _stop_at_the_first(schema)
        return schema
