"""Metadata of files: views of typed fields, records of values, and what travels with a job."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, StrictBool, model_validator

from schemas.base import Value, WireValue
from schemas.errors import FieldInvalid
from schemas.times import MAX_EPOCH_MS, parse_rfc3339, rfc3339

FieldType = Literal["string", "integer", "number", "boolean", "datetime"]
Scalar = str | int | float | bool
FIELD_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
PLAIN = r"^[^\x00-\x1f\x7f]+$"
MAX_FIELDS = 64
MAX_ENUM = 200
MAX_TEXT = 4_096
MAX_VALUES_BYTES = 16 * 1024
MAX_MARKERS = 500
MAX_MARKER_TEXT = 500
MAX_CARRIED = 200
# Beyond it a number is not the same in every JSON reader.
_MOST_INTEGER = 2**53
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class MetadataField(WireValue):
    """One field of a metadata view; `enum` are the only texts it may hold."""

    name: str = Field(pattern=FIELD_NAME)
    type: FieldType = "string"
    required: StrictBool = False
    enum: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=MAX_ENUM)

    @model_validator(mode="after")
    def _lists_texts(self) -> MetadataField:
        if self.enum is None:
            return self
        if self.type != "string":
            raise ValueError(f"{self.name}: only a string can be one of a list")
        if any(not 0 < len(word) <= 200 or _UNSPEAKABLE.search(word) for word in self.enum):
            raise ValueError(f"{self.name}: a word of a list has 1 to 200 plain characters")
        if len(set(self.enum)) != len(self.enum):
            raise ValueError(f"{self.name}: a word stands twice in the list")
        return self


class MetadataView(WireValue):
    """A set of fields kept for a file; `timed` where each record is of a stretch of it."""

    id: str
    name: str
    timed: bool = False
    fields: tuple[MetadataField, ...]

    def field(self, name: str) -> MetadataField | None:
        """The field of a name, if there is one."""
        return next((field for field in self.fields if field.name == name), None)


class MetadataRecord(WireValue):
    """Values of one view, for a whole file or a stretch of it.

    `start_ms` counts from the media's first moment; of a channel, it is epoch milliseconds.
    """

    id: str
    view: str
    values: dict[str, Any]
    start_ms: int | None = None
    end_ms: int | None = None


class OwnView(MetadataView):
    """A view as its tenant keeps it."""

    tenant_id: str
    version: int
    created_ms: int
    updated_ms: int


class KeptRecord(MetadataRecord):
    """A record as the catalogue keeps it: of a file, under its connector's fingerprint."""

    tenant_id: str
    fingerprint: str
    file_id: str
    version: int
    created_ms: int
    updated_ms: int


class Marker(Value):
    """A timed record as editors see it; its times are those of the media it stands in."""

    view: str = Field(max_length=200)
    name: str = Field(max_length=MAX_MARKER_TEXT)
    comment: str = Field(default="", max_length=MAX_MARKER_TEXT)
    start_ms: int = Field(ge=0, le=MAX_EPOCH_MS)
    end_ms: int = Field(ge=0, le=MAX_EPOCH_MS)
    part: int = Field(default=0, ge=0)


class Carried(Value):
    """What is known of a command's source when it is accepted, and goes into what it makes.

    `markers` are in wall clock; `part` is the range of an export they stand in.
    """

    metadata: dict[str, str] = Field(default={}, max_length=MAX_CARRIED)
    markers: tuple[Marker, ...] = Field(default=(), max_length=MAX_MARKERS)


NOTHING_CARRIED = Carried()


class Fault(NamedTuple):
    """What is wrong with one field of a record."""

    field: str
    message: str


def _field(name: str, kind: FieldType = "string", **more: Any) -> MetadataField:
    return MetadataField(name=name, type=kind, **more)


DUBLIN_CORE = MetadataView(
    id="dublin-core",
    name="Dublin Core",
    fields=(
        *(_field(name) for name in ("title", "creator", "subject", "description", "publisher")),
        *(_field(name) for name in ("contributor", "type", "format", "identifier", "source")),
        _field("date", "datetime"),
        *(_field(name) for name in ("language", "relation", "coverage", "rights")),
    ),
)
NEWS_CLIP = MetadataView(
    id="news-clip",
    name="News clip",
    fields=(
        _field("headline", required=True),
        *(_field(name) for name in ("slug", "summary", "byline", "location", "desk", "source")),
        _field("recordedAt", "datetime"),
        _field("embargoUntil", "datetime"),
        _field("priority", "integer"),
        _field("breaking", "boolean"),
        _field("status", enum=("draft", "ready", "approved", "published", "killed")),
        _field("usage", enum=("unrestricted", "restricted", "once", "internal")),
    ),
)
SPORT_LOG = MetadataView(
    id="sport-log",
    name="Sport log",
    timed=True,
    fields=(
        _field(
            "event",
            required=True,
            enum=(
                *("kick-off", "goal", "own-goal", "penalty", "shot", "save", "corner", "foul"),
                *("yellow-card", "red-card", "substitution", "offside", "injury", "review"),
                *("interview", "highlight", "half-time", "full-time", "other"),
            ),
        ),
        *(_field(name) for name in ("sport", "competition", "team", "player", "score", "comment")),
        _field("minute", "integer"),
        _field("rating", "integer"),
    ),
)
BUILT_IN: Mapping[str, MetadataView] = {
    view.id: view for view in (DUBLIN_CORE, NEWS_CLIP, SPORT_LOG)
}


def checked(
    view: MetadataView, values: Mapping[str, object]
) -> tuple[dict[str, Scalar], tuple[Fault, ...]]:
    """The values as they are kept, and what is wrong with each field that is wrong."""
    faults = [Fault(name, "there is no such field") for name in values if view.field(name) is None]
    kept: dict[str, Scalar] = {}
    for field in view.fields:
        value = values.get(field.name)
        try:
            if value is not None:
                kept[field.name] = _read(field, value)
            elif field.required:
                faults.append(Fault(field.name, "is required"))
        except FieldInvalid as error:
            faults.append(Fault(field.name, error.message))
    size = sum(len(str(value).encode(errors="replace")) for value in kept.values())
    if size > MAX_VALUES_BYTES:
        faults.append(Fault("", f"the values are {size} bytes, above {MAX_VALUES_BYTES}"))
    return kept, tuple(faults)


def _read(field: MetadataField, value: object) -> Scalar:
    match field.type, value:
        case "string", str():
            return _text(field, value)
        case "boolean", bool():
            return value
        case "integer", int() if not isinstance(value, bool):
            return _number(value)
        case "number", int() | float() if not isinstance(value, bool):
            return _number(value)
        case "datetime", str():
            return rfc3339(parse_rfc3339(value))
    raise FieldInvalid(f"is no {field.type}")


def _text(field: MetadataField, value: str) -> str:
    if len(value) > MAX_TEXT:
        raise FieldInvalid(f"has {len(value)} characters, above {MAX_TEXT}")
    if _UNSPEAKABLE.search(value):
        raise FieldInvalid("has characters that cannot be shown")
    if field.enum is not None and value not in field.enum:
        raise FieldInvalid(f"is none of {', '.join(field.enum)}"[:300])
    return value


def _number(value: float) -> float:
    if not math.isfinite(value) or abs(value) > _MOST_INTEGER:
        raise FieldInvalid(f"is further from zero than {_MOST_INTEGER}")
    return value


def spelled(value: Scalar) -> str:
    """A value as text: what is searched, shown in markers and written into files.

    >>> spelled(True), spelled(3.0), spelled(2.5), spelled("Goal")
    ('true', '3', '2.5', 'Goal')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
