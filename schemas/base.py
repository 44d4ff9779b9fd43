"""The base of every value: frozen, closed, and free of NaN and infinity."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """An immutable value that refuses unknown fields; checked once on the way in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WireValue(Value):
    """A value whose JSON form is camelCase, as clients see it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
