"""OpenTimelineIO documents -> timelines: tolerant of what editors write, strict about the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn
from urllib.parse import unquote

from pipelines.overlay import Lane, merged, shifted, trimmed
from schemas.errors import FieldInvalid
from schemas.timelines import Edit, Marker, MediaRef, Timeline, Warned

SCHEME = "cuttingroom://connectors/"
MAX_TRACKS = 100
MAX_ITEMS = 5_000
MAX_MARKERS = 2_000
MAX_WARNINGS = 100
MAX_NAME = 1_024
MAX_RATE = 1_000_000
MAX_VALUE = 10**15
MAX_LENGTH_S = 7 * 24 * 3600
DEFAULT_RATE = Fraction(25)
_SCHEMA = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,60})\.(\d{1,4})", re.ASCII)
# The newest version of each schema that is known; the names in lower case are those of old days.
_KNOWN = {
    "Timeline": 1, "SerializableCollection": 1, "Stack": 1, "Track": 1, "Sequence": 1, "Clip": 2,
    "Gap": 1, "Filler": 1, "Transition": 1, "Marker": 2, "RationalTime": 1, "TimeRange": 1,
    "ExternalReference": 1, "MissingReference": 1, "GeneratorReference": 1,
    "ImageSequenceReference": 1,
}  # fmt: skip
# What editors add of their own stands in `metadata`: another field at the top is a mistake.
_ROOTS = {
    "Timeline": {"OTIO_SCHEMA", "name", "metadata", "global_start_time", "tracks"},
    "SerializableCollection": {"OTIO_SCHEMA", "name", "metadata", "children"},
}
_SPEEDS = {"LinearTimeWarp", "FreezeFrame", "TimeEffect"}
Node = dict[str, Any]


class TimelineRefused(FieldInvalid):
    """A document that cannot be used; `pointer` is the place in it."""

    code = "timeline_invalid"

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer or 'the document'}: {message}")
        self.pointer, self.reason = pointer, message


def read(document: object) -> Timeline:
    """The timeline a document holds; raises TimelineRefused with the place of what is wrong."""
    return _Reader().timeline(document)


# --- single values


def schema_of(node: object, pointer: str) -> str:
    """The name of a node's schema; one that is newer than is known is refused."""
    if not isinstance(node, dict):
        raise TimelineRefused(pointer, "not an OpenTimelineIO object")
    spelled = node.get("OTIO_SCHEMA")
    match = _SCHEMA.fullmatch(spelled) if isinstance(spelled, str) else None
    if match is None:
        raise TimelineRefused(f"{pointer}/OTIO_SCHEMA", "name a schema and its version: Clip.2")
    name, version = match[1], int(match[2])
    if version > _KNOWN.get(name, version):
        raise TimelineRefused(
            f"{pointer}/OTIO_SCHEMA",
            f"{spelled} is newer than what is known, {name}.{_KNOWN[name]}",
        )
    return name


def broadcast_rate(rate: float) -> Fraction:
    """A rate as it is meant: 29.97, 23.98 and their like are of the thousand-and-one kind.

    >>> broadcast_rate(29.97), broadcast_rate(25.0), broadcast_rate(23.98)
    (Fraction(30000, 1001), Fraction(25, 1), Fraction(24000, 1001))
    """
    exact = Fraction(rate).limit_denominator(10_000)
    if exact.denominator == 1:
        return exact
    slow = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return slow if abs(slow - exact) < Fraction(1, 150) else exact


@dataclass(frozen=True, slots=True)
class Time:
    """A time in seconds, and the rate it was counted at."""

    seconds: Fraction
    rate: Fraction


def rational(node: object, pointer: str) -> Time:
    """A RationalTime."""
    if schema_of(node, pointer) != "RationalTime" or not isinstance(node, dict):
        raise TimelineRefused(pointer, "not a RationalTime")
    value, rate = (_number(node.get(name), f"{pointer}/{name}") for name in ("value", "rate"))
    if not 0 < rate <= MAX_RATE:
        raise TimelineRefused(f"{pointer}/rate", f"a rate lies above 0, up to {MAX_RATE}")
    if abs(value) > MAX_VALUE:
        raise TimelineRefused(f"{pointer}/value", "a time so large cannot be counted")
    counted = broadcast_rate(rate)
    return Time(Fraction(value).limit_denominator(10**6) / counted, counted)


def _number(value: object, pointer: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TimelineRefused(pointer, "not a number")
    if isinstance(value, int) and abs(value) > MAX_VALUE:
        raise TimelineRefused(pointer, "a number so large cannot be counted")
    # Parsed JSON may hold an infinity where a number was spelled with too great an exponent.
    if value != value or value in {float("inf"), float("-inf")}:
        raise TimelineRefused(pointer, "not a finite number")
    return float(value)


@dataclass(frozen=True, slots=True)
class Span:
    """A TimeRange in seconds."""

    start: Fraction
    duration: Fraction
    rate: Fraction


def time_range(node: object, pointer: str) -> Span | None:
    """A TimeRange, or None where there is none."""
    if node is None:
        return None
    if schema_of(node, pointer) != "TimeRange" or not isinstance(node, dict):
        raise TimelineRefused(pointer, "not a TimeRange")
    start = rational(node.get("start_time"), f"{pointer}/start_time")
    duration = rational(node.get("duration"), f"{pointer}/duration")
    if duration.seconds < 0:
        raise TimelineRefused(f"{pointer}/duration", "a duration is never negative")
    if duration.seconds > MAX_LENGTH_S:
        raise TimelineRefused(f"{pointer}/duration", f"longer than {MAX_LENGTH_S // 86400} days")
    return Span(start.seconds, duration.seconds, duration.rate)


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    # Half a surrogate pair is no character: nothing could write it down.
    return value[:MAX_NAME].encode("utf-8", "replace").decode("utf-8")


def _listed(node: Node, name: str, pointer: str) -> Iterator[tuple[str, Any]]:
    found = node.get(name)
    if found is None:
        return
    if not isinstance(found, list):
        raise TimelineRefused(f"{pointer}/{name}", "not a list")
    for number, each in enumerate(found):
        yield f"{pointer}/{name}/{number}", each


# --- what a clip shows


def media_of(clip: Node, reference: Node | None, pointer: str, where: str) -> MediaRef | None:
    """The connector and file a clip names: in its metadata, its reference's, or an address."""
    for node, place in ((clip, pointer), (reference, where)):
        named = _metadata(node)
        if named is not None and ("connectorId" in named or "fileId" in named):
            return _named(named, f"{place}/metadata/cuttingroom")
    url = _text((reference or {}).get("target_url"))
    return _addressed(url, f"{where}/target_url") if url.startswith("cuttingroom:") else None


def _metadata(node: Node | None) -> Node | None:
    metadata = (node or {}).get("metadata")
    found = metadata.get("cuttingroom") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else None


def _named(named: Node, pointer: str) -> MediaRef:
    connector = _name(named, "connectorId", pointer, 200)
    has = [name for name in ("fileId", "channelId") if named.get(name) is not None]
    if len(has) != 1:
        raise TimelineRefused(pointer, "name a connectorId and one of fileId, channelId")
    if has == ["fileId"]:
        return MediaRef(connector_id=connector, file_id=_name(named, "fileId", pointer, 1024))
    start = named.get("startMs")
    if start is not None and (type(start) is not int or not 0 <= start < 10**14):
        raise TimelineRefused(f"{pointer}/startMs", "epoch milliseconds are a whole number")
    channel = _name(named, "channelId", pointer, 255)
    return MediaRef(connector_id=connector, channel_id=channel, start_ms=start)


def _name(named: Node, name: str, pointer: str, most: int) -> str:
    value = named.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise TimelineRefused(f"{pointer}/{name}", f"a text of 1 to {most} printable characters")
    return value


def _addressed(url: str, pointer: str) -> MediaRef:
    connector, kind, name = "", "", ""
    if url.startswith(SCHEME):
        connector, _, rest = url.removeprefix(SCHEME).partition("/")
        kind, _, name = rest.partition("/")
    key = {"files": "fileId", "channels": "channelId"}.get(kind)
    if key is None:
        raise TimelineRefused(pointer, f"an address is {SCHEME}{{id}}/files/{{fileId}}")
    named = {"connectorId": unquote(connector), key: unquote(name)}
    try:
        return _named(named, "")
    except TimelineRefused as error:
        raise TimelineRefused(pointer, f"{error.pointer[1:]}: {error.reason}") from None


# --- the whole


@dataclass(slots=True)
class _Reader:
    """Goes through one document, counting what it holds and noting what will not be seen."""

    tracks: int = 0
    items: int = 0
    clips: int = 0
    markers: int = 0
    loose_markers: int = 0
    connectors: dict[str, str] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)

    def timeline(self, document: object) -> Timeline:
        """The one timeline of a document."""
        node, pointer = self._only_timeline(document)
        stack, where = node.get("tracks"), f"{pointer}/tracks"
        if schema_of(stack, where) != "Stack" or not isinstance(stack, dict):
            raise TimelineRefused(where, "a timeline's tracks are a Stack")
        begin = node.get("global_start_time")
        start = None if begin is None else rational(begin, f"{pointer}/global_start_time")
        seen = self._stack(stack, where, "video").edits
        heard = self._sounds(stack, where)
        kind, edits = ("video", seen) if seen else ("audio", [])
        if kind == "audio" and heard:
            edits, heard = heard[0].edits, heard[1:]
        self._judge_sounds(edits, heard, kind)
        if edits and edits[-1].end > MAX_LENGTH_S:
            raise TimelineRefused(where, f"longer than {MAX_LENGTH_S // 86400} days")
        return Timeline(
            name=_text(node.get("name")) or "untitled",
            kind="video" if kind == "video" else "audio",
            rate=_usual_rate(edits, start),
            start=None if start is None else start.seconds,
            edits=tuple(edits),
            sounds=tuple(tuple(lane.edits) for lane in heard),
            tracks=self.tracks,
            clips=self.clips,
            loose_markers=self.loose_markers,
            connectors=self.connectors,
            warnings=tuple(self.warnings),
        )

    def _only_timeline(self, document: object) -> tuple[Node, str]:
        kind = schema_of(document, "")
        if isinstance(document, dict) and kind in _ROOTS:
            _check_fields(document, _ROOTS[kind])
        if kind == "Timeline" and isinstance(document, dict):
            return document, ""
        if kind != "SerializableCollection" or not isinstance(document, dict):
            raise TimelineRefused("", f"a {kind} is no Timeline, nor a collection that holds one")
        found = [
            (each, where)
            for where, each in _listed(document, "children", "")
            if schema_of(each, where) == "Timeline"
        ]
        if len(found) != 1:
            raise TimelineRefused(
                "/children", f"the collection holds {len(found)} timelines, not 1"
            )
        return found[0]

    # --- compositions

    def _stack(self, stack: Node, pointer: str, kind: str) -> Lane:
        """What is seen of a stack: tracks above hide those below where they show anything."""
        lanes = []
        for where, child in _listed(stack, "children", pointer):
            if kind == self._kind_of(child, where):
                lanes.append(self._child_lane(child, where, kind))
            elif self._kind_of(child, where) == "other":
                self._count_track()
                self._warn("track_dropped", "a track that is neither video nor audio", where)
        full = [lane for lane in lanes if lane.edits]
        if len(full) > 1 and kind == "video":
            self._warn(
                "layers_flattened",
                f"{len(full)} tracks of video are seen as one: upper ones hide what is below",
                pointer,
            )
        if kind == "video":
            self._note_markers(stack, pointer)
        return self._cut_down(merged(lanes), stack, pointer)

    def _sounds(self, stack: Node, pointer: str) -> list[Lane]:
        """The tracks of sound of a stack, each for itself."""
        lanes = [
            self._child_lane(child, where, "audio")
            for where, child in _listed(stack, "children", pointer)
            if self._kind_of(child, where) == "audio"
        ]
        return [lane for lane in lanes if lane.edits]

    def _kind_of(self, node: object, pointer: str) -> str:
        """Which kind a child of a stack is of."""
        schema = schema_of(node, pointer)
        if schema in {"Track", "Sequence"} and isinstance(node, dict):
            kind = node.get("kind")
            return {"Video": "video", "Audio": "audio", None: "video", "": "video"}.get(
                kind if isinstance(kind, str) else None, "other"
            )
        return "video"

    def _child_lane(self, node: Node, pointer: str, kind: str) -> Lane:
        if not _enabled(node):
            self._warn("disabled_dropped", "a track that is switched off", pointer)
            return Lane()
        if schema_of(node, pointer) in {"Track", "Sequence"}:
            return self._track(node, pointer, kind)
        lane = Lane()
        self._item(lane, node, pointer, kind)
        return lane

    def _track(self, track: Node, pointer: str, kind: str) -> Lane:
        """The items of a track, one after the other."""
        self._count_track()
        lane = Lane()
        for where, item in _listed(track, "children", pointer):
            self._item(lane, item, where, kind)
        self._note_effects(track, pointer)
        self._note_markers(track, pointer)
        return self._cut_down(lane, track, pointer)

    def _cut_down(self, lane: Lane, node: Node, pointer: str) -> Lane:
        span = time_range(node.get("source_range"), f"{pointer}/source_range")
        return lane if span is None else trimmed(lane, span.start, span.duration)

    def _item(self, lane: Lane, node: object, pointer: str, kind: str) -> None:
        """Put one child of a track at its end."""
        self.items += 1
        if self.items > MAX_ITEMS:
            raise TimelineRefused(pointer, f"more than {MAX_ITEMS} items")
        schema = schema_of(node, pointer)
        if not isinstance(node, dict):  # pragma: no cover - schema_of has said so already
            return
        match schema:
            case "Clip":
                self._clip(lane, node, pointer)
            case "Gap" | "Filler":
                span = time_range(node.get("source_range"), f"{pointer}/source_range")
                lane.length += span.duration if span else 0
            case "Transition":
                self._transition(node, pointer)
            case "Stack" | "Track" | "Sequence":
                self._nested(lane, node, pointer, kind)
            case _:
                raise TimelineRefused(f"{pointer}/OTIO_SCHEMA", f"{schema} is none of a track's")

    def _nested(self, lane: Lane, node: Node, pointer: str, kind: str) -> None:
        if schema_of(node, pointer) == "Stack":
            within = self._stack(node, pointer, kind)
        else:
            within = self._track(node, pointer, kind)
        if _enabled(node):
            lane.edits += shifted(within, lane.length)
        else:
            self._warn("disabled_dropped", "a group of clips that is switched off", pointer)
        self._note_effects(node, pointer)
        lane.length += within.length

    def _transition(self, node: Node, pointer: str) -> None:
        for name in ("in_offset", "out_offset"):
            if rational(node.get(name), f"{pointer}/{name}").seconds < 0:
                raise TimelineRefused(f"{pointer}/{name}", "an offset is never negative")
        self._warn("transition_cut", "a transition is shown as a cut", pointer)

    # --- clips

    def _clip(self, lane: Lane, node: Node, pointer: str) -> None:
        self.clips += 1
        reference, where = _reference(node, pointer)
        available = self._available(reference, where)
        span = time_range(node.get("source_range"), f"{pointer}/source_range") or available
        if span is None:
            raise TimelineRefused(
                pointer, "how long the clip is stands neither in a source_range nor in its media"
            )
        media = media_of(node, reference, pointer, where)
        if media is not None:
            self.connectors.setdefault(media.connector_id, pointer)
        at = lane.length
        lane.length += span.duration
        self._note_effects(node, pointer)
        if not span.duration:
            self._warn("empty_dropped", "a clip without any length", pointer)
            return
        if not _enabled(node):
            self._warn("disabled_dropped", "a clip that is switched off is a gap", pointer)
            return
        if media is None and self._is_made(reference, where):
            return
        if media is None:
            message = "the clip names no connector and file: it cannot be rendered"
            self._warn("media_offline", message, pointer)
        lane.edits.append(
            Edit(
                name=_text(node.get("name")),
                pointer=pointer,
                at=at,
                duration=span.duration,
                start=span.start,
                rate=span.rate,
                media=media,
                target=_text((reference or {}).get("target_url")),
                available=None if available is None else (available.start, available.duration),
                markers=tuple(self._clip_markers(node, pointer)),
            )
        )

    def _available(self, reference: Node | None, where: str) -> Span | None:
        if reference is None:
            return None
        schema = schema_of(reference, where)
        if schema not in _KNOWN or not schema.endswith("Reference"):
            raise TimelineRefused(f"{where}/OTIO_SCHEMA", f"{schema} is no media reference")
        return time_range(reference.get("available_range"), f"{where}/available_range")

    def _is_made(self, reference: Node | None, where: str) -> bool:
        """Whether the picture comes from a generator: shown as a gap."""
        if reference is None or schema_of(reference, where) != "GeneratorReference":
            return False
        kind = _text(reference.get("generator_kind"))[:60]
        if kind.casefold() not in {"black", "slug"}:
            self._warn("generator_dropped", f"a generated picture ({kind!r}) is a gap", where)
        return True

    def _clip_markers(self, node: Node, pointer: str) -> Iterator[Marker]:
        for where, each in _listed(node, "markers", pointer):
            if (marker := self._marker(each, where)) is not None:
                yield marker

    def _marker(self, node: object, pointer: str) -> Marker | None:
        if schema_of(node, pointer) != "Marker" or not isinstance(node, dict):
            raise TimelineRefused(f"{pointer}/OTIO_SCHEMA", "not a Marker")
        self.markers += 1
        if self.markers > MAX_MARKERS:
            raise TimelineRefused(pointer, f"more than {MAX_MARKERS} markers")
        span = time_range(node.get("marked_range"), f"{pointer}/marked_range")
        if span is None:
            return None
        return Marker(
            name=_text(node.get("name")) or _text(node.get("comment")) or "marker",
            color=_text(node.get("color"))[:40],
            at=span.start,
            duration=span.duration,
        )

    # --- notes

    def _judge_sounds(self, edits: Sequence[Edit], heard: Sequence[Lane], kind: str) -> None:
        """Sound is rendered with the media it came with: what else there is, is said."""
        pictures = [_heard(edit) for edit in edits]
        for number, lane in enumerate(heard):
            if [_heard(edit) for edit in lane.edits] != pictures:
                shown = "the clips that are seen" if kind == "video" else "the first track's clips"
                self._warn(
                    "audio_dropped",
                    f"track of sound {number + 1 + (kind == 'audio')} differs: "
                    f"the sound is that of {shown}",
                    lane.edits[0].pointer.rpartition("/children/")[0],
                )

    def _note_effects(self, node: Node, pointer: str) -> None:
        for where, effect in _listed(node, "effects", pointer):
            schema = schema_of(effect, where)
            if schema in _SPEEDS:
                self._warn("speed_ignored", f"{schema}: shown at the speed it was taken", where)
            else:
                self._warn("effect_dropped", f"an effect ({schema}) is not shown", where)

    def _note_markers(self, node: Node, pointer: str) -> None:
        for where, each in _listed(node, "markers", pointer):
            self.loose_markers += self._marker(each, where) is not None

    def _count_track(self) -> None:
        self.tracks += 1
        if self.tracks > MAX_TRACKS:
            raise TimelineRefused("", f"more than {MAX_TRACKS} tracks")

    def _warn(self, code: str, message: str, pointer: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(Warned(code=code, message=message, pointer=pointer))


def _heard(edit: Edit) -> tuple[object, ...]:
    return edit.at, edit.duration, edit.start, edit.media, edit.target


def _check_fields(document: Node, known: set[str]) -> None:
    unknown = next((name for name in document if name not in known), None)
    if unknown is not None:
        spelled = unknown[:60].replace("~", "~0").replace("/", "~1")
        raise TimelineRefused(f"/{spelled}", "no such field; what is yours stands in metadata")


def _enabled(node: Node) -> bool:
    return node.get("enabled", True) is not False


def _reference(clip: Node, pointer: str) -> tuple[Node | None, str]:
    """A clip's active media reference, and where it stands."""
    several = clip.get("media_references")
    if several is not None:
        if not isinstance(several, dict):
            raise TimelineRefused(f"{pointer}/media_references", "not an object")
        key = clip.get("active_media_reference_key", "DEFAULT_MEDIA")
        if not isinstance(key, str) or (several and key not in several):
            raise TimelineRefused(
                f"{pointer}/active_media_reference_key", "no media reference has this key"
            )
        spelled = key.replace("~", "~0").replace("/", "~1")
        found, where = several.get(key), f"{pointer}/media_references/{spelled}"
    else:
        found, where = clip.get("media_reference"), f"{pointer}/media_reference"
    if found is None:
        return None, where
    schema_of(found, where)
    return found, where


def _usual_rate(edits: Sequence[Edit], start: Time | None) -> Fraction:
    """The rate most of the time is counted at, where it is one of pictures."""
    spent: dict[Fraction, Fraction] = {}
    for edit in edits:
        spent[edit.rate] = spent.get(edit.rate, Fraction(0)) + edit.duration
    if start is not None:
        spent.setdefault(start.rate, Fraction(0))
    likely = {rate: time for rate, time in spent.items() if 1 <= rate <= 300}
    return max(likely, key=lambda rate: likely[rate], default=DEFAULT_RATE)


def refuse(pointer: str, message: str, code: str = TimelineRefused.code) -> NoReturn:
    """Refuse a timeline for something outside the document, at its place in it."""
    error = TimelineRefused(pointer, message)
    error.error_code = code
    raise error
