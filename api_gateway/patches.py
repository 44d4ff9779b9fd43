"""JSON merge patches: which fields null removes, and which are there to stay."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class _Stays:
    """Refuses null, and leaves it out of the document."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_given, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        nullable: Any = schema
        return handler(nullable["schema"]["schema"])


def _given(value: T | None) -> T:
    if value is None:
        raise ValueError("cannot be removed; leave it out to keep it")
    return value


# A field that may be left out of a patch, and is None then; null itself would remove it.
Lasting = Annotated[T | None, _Stays()]
