"""Programme guides as values: stations, programmes, and the documents they are read from."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from schemas.base import Value, WireValue
from schemas.times import TimeRange

MAX_STATIONS = 20_000
MAX_REFRESHED = 500
MAX_OFFSET_MS = 24 * 3600 * 1000


class Station(WireValue):
    """A station of a programme guide; `country` is ISO 3166 alpha-2, `names` are all it has."""

    station_id: str = Field(min_length=1, max_length=255)
    name: str
    call_sign: str | None = None
    logo: str | None = None
    xmltv_id: str | None = None
    country: str | None = None
    number: str | None = None
    names: tuple[str, ...] = ()


class Programme(WireValue):
    """An entry of a programme guide, in epoch milliseconds; what a guide leaves out is absent.

    `end_estimated`: the guide names no end, so the next programme's start, or a guess, stands in.
    """

    programme_id: str
    title: str
    start_ms: int
    end_ms: int
    subtitle: str | None = None
    description: str | None = None
    categories: tuple[str, ...] = ()
    episode: str | None = None
    season_number: int | None = None
    episode_number: int | None = None
    year: int | None = None
    rating: str | None = None
    icon: str | None = None
    language: str | None = None
    is_new: bool = False
    is_live: bool = False
    is_repeat: bool = False
    end_estimated: bool = False

    @property
    def range(self) -> TimeRange:
        """The time it is on."""
        return TimeRange(start_ms=self.start_ms, end_ms=self.end_ms)


class Airing(NamedTuple):
    """A programme as a feed states it, before anything is repaired.

    `clump` is (place, of how many) where several programmes share one slot; `details` are further
    fields of `Programme`.
    """

    station_id: str
    start_ms: int
    end_ms: int | None
    title: str
    clump: tuple[int, int] | None = None
    details: dict[str, Any] = {}


class GuideWanted(Value):
    """What of a guide is wanted; a system with a document for everything may bring more.

    `known` are the validators of what is held already, as the last `GuideDocument` gave them.
    """

    stations: tuple[str, ...] = Field(default=(), max_length=MAX_REFRESHED)
    range: TimeRange
    known: dict[str, str] = {}


class GuideFile(Value):
    """One file a connector has brought: its name in the folder, and what it is of the guide."""

    name: str
    role: Literal["document", "lineup", "schedules", "programs"] = "document"


class GuideDocument(Value):
    """A guide as a system publishes it: files, and what the operator says of their times.

    `zone` (an IANA name) is that of times without an offset, with `ignore_offsets` of all times.
    `validators` name what was brought or is unchanged, to be handed back as `GuideWanted.known`.
    """

    format: Literal["xmltv", "schedulesdirect"]
    files: tuple[GuideFile, ...]
    zone: str | None = None
    ignore_offsets: bool = False
    country: str | None = None
    language: str | None = None
    validators: dict[str, str] = {}


class StationDay(Value):
    """What a station shows from programmes that begin on one UTC day (`2026-03-29`), by start."""

    station_id: str
    day: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    programmes: tuple[Programme, ...]


class Repairs(WireValue):
    """How often a feed had to be put right."""

    missing_ends: int = 0
    overlaps: int = 0
    duplicates: int = 0
    clumps: int = 0
    unreadable: int = 0

    def plus(self, other: Repairs) -> Repairs:
        """Both together."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Repairs(**{name: mine[name] + theirs[name] for name in mine})


class GuideFailure(WireValue):
    """Why the newest refresh of a guide failed."""

    code: str
    message: str
    at_ms: int


class GuideState(WireValue):
    """What is held of a guide: when it was fetched, and of which stations the programmes are."""

    fetched_ms: int
    stations: int
    covered: tuple[str, ...]
    programmes: int
    repairs: Repairs = Repairs()


class StationMapping(WireValue):
    """Which station of which guide a channel is; `offset_ms` is added to the guide's times."""

    connector_id: str
    channel_id: str
    epg_connector_id: str
    station_id: str
    offset_ms: int = 0
    version: int = 1
    updated_ms: int = 0
