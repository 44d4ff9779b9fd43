"""Values every part of the client uses, and how answers become values."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from client.errors import Unreadable
from schemas import events, jobs
from schemas.base import WireValue
from schemas.errors import FieldInvalid
from schemas.times import parse_rfc3339, rfc3339

Moment = int | str | datetime
_MOST_ROUNDS = 8


class Told(WireValue):
    """What the service tells; what a newer one adds is left out."""

    model_config = ConfigDict(extra="ignore")


class Resource(Told):
    """Something that can be changed; `etag` goes into `if_match` of the change."""

    etag: str | None = Field(default=None, exclude=True)


class Job(jobs.Job):
    """A job, with the fileIds of what it works on; a newer service may have more kinds."""

    kind: str  # type: ignore[assignment]  # wider than ours on purpose
    file_id: str | None = None
    requested_file_id: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in jobs.FINAL


class Event(events.Event):
    """A change of a job; a newer service may have more types."""

    type: str  # type: ignore[assignment]  # wider than ours on purpose


class Unset(Enum):
    """The one value that says: leave this as it is."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
Given = Literal[Unset.UNSET]
M = TypeVar("M", bound=BaseModel)


def read(model: type[M], data: Any) -> M:
    """The value in an answer, without what this client does not know.

    >>> read(jobs.JobError, {"code": "c", "message": "m", "retryable": True, "new": 1}).code
    'c'
    """
    for _ in range(_MOST_ROUNDS):
        try:
            return model.model_validate(data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            unknown = [one["loc"] for one in found if one["type"] == "extra_forbidden"]
            if not unknown:
                raise Unreadable(_named(model, found)) from None
            data = _without(data, unknown)
    raise Unreadable(f"the answer holds too much that is unknown to be a {model.__name__}")


def _named(model: type[BaseModel], found: Sequence[Any]) -> str:
    where = ", ".join("/".join(map(str, one["loc"])) or "the whole" for one in found[:3])
    return f"the answer is no {model.__name__}: {where}"


def _without(data: Any, places: Sequence[tuple[int | str, ...]]) -> Any:
    """A copy that lacks these places; words of a place that name a union's branch are passed."""
    rest = copy.deepcopy(data)
    for place in places:
        inside = rest
        for word in place[:-1]:
            inside = _below(inside, word)
        if isinstance(inside, dict):
            inside.pop(place[-1], None)
    return rest


def _below(inside: Any, word: int | str) -> Any:
    if isinstance(inside, dict) and word in inside:
        return inside[word]
    if isinstance(inside, list) and isinstance(word, int):
        return inside[word]
    return inside


def present(**values: Any) -> dict[str, Any]:
    """The body of a request: camelCase, without what is None."""
    return {to_camel(name): wire(value) for name, value in values.items() if value is not None}


def given(**values: Any) -> dict[str, Any]:
    """The body of a change: camelCase, without what is left as it is; None takes a value away."""
    return {to_camel(name): wire(value) for name, value in values.items() if value is not UNSET}


def wire(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case datetime():
            return rfc3339(epoch_ms(value))
        case str():
            return value
        case Mapping():
            return {name: wire(one) for name, one in value.items()}
        case Sequence() | frozenset() | set():
            return [wire(one) for one in value]
    return value


def epoch_ms(moment: Moment) -> int:
    """A moment as epoch milliseconds: of those, of RFC 3339, or of a datetime with its zone.

    >>> epoch_ms("2022-02-04T06:44:06Z")
    1643957046000
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise FieldInvalid(f"{moment.isoformat()} has no time zone", code="range_invalid")
        return round(moment.timestamp() * 1000)
    return parse_rfc3339(moment) if isinstance(moment, str) else moment


def instant(moment: Moment | None) -> str | None:
    """A moment as RFC 3339, where there is one."""
    return None if moment is None else rfc3339(epoch_ms(moment))
