"""What editors read beside a file: OTIO, CMX 3600 EDL and FCPXML of its parts, and plain JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import floor
from typing import Any
from urllib.parse import quote

from lxml import etree

from pipelines import timecode
from pipelines.timecode import Rate
from schemas.base import Value
from schemas.cuts import DeliveredTrack, Gap
from schemas.metadata import Marker

# Recorders begin at one o'clock, so that there is room before the first frame.
RECORD_HOUR = 1
MAX_EVENTS = 999
_REEL = re.compile(r"[^A-Z0-9_]")


class Part(Value):
    """One range in the file: where its frames lie there, and which wall clock they show."""

    channel: str
    first_frame: int
    frames: int
    start_ms: int
    end_ms: int


class Marked(Value):
    """A marker in the file, in its own count; `frames` is 0 for a moment."""

    view: str
    name: str
    comment: str = ""
    first_frame: int
    frames: int = 0


class Described(Value):
    """A file as what stands beside it tells of it; `rate` is None for a file of sound alone.

    Without `parts` it is no cut of a channel, but a file as it is at its source.
    """

    title: str
    file_name: str
    sha256: str
    size: int
    duration_ms: int
    rate: Fraction | None
    frames: int
    width: int | None = None
    height: int | None = None
    sample_rate_hz: int | None = None
    start_timecode: str | None = None
    parts: tuple[Part, ...] = ()
    tracks: tuple[DeliveredTrack, ...] = ()
    gaps: tuple[Gap, ...] = ()
    metadata: dict[str, str] = {}
    markers: tuple[Marked, ...] = ()
    content_type: str = "video/mp4"

    @property
    def counted(self) -> Rate:
        """How frames are labelled; sound alone is counted in milliseconds."""
        drop = None if self.start_timecode is None else timecode.is_drop(self.start_timecode)
        return timecode.rate_of(self.rate or Fraction(1000), drop=drop)

    @property
    def has(self) -> tuple[bool, bool]:
        """Whether there are pictures, and sound."""
        kinds = {track.kind for track in self.tracks}
        return "video" in kinds, "audio" in kinds


def start_count(described: Described) -> int:
    """The label of the file's first frame, as a count: its own, else the wall clock's, else 0."""
    rate = described.counted
    if described.start_timecode is not None:
        found = timecode.count(described.start_timecode, rate)
        if found is not None:
            return found
    return timecode.of_day(described.parts[0].start_ms, rate) if described.parts else 0


def marked(described: Described, markers: Iterable[Marker]) -> tuple[Marked, ...]:
    """Markers in the file's count, where each stands in its part: those within it, in order."""
    counted = (_in_part(described, marker) for marker in markers)
    return tuple(sorted((m for m in counted if m is not None), key=lambda m: m.first_frame))


def _in_part(described: Described, marker: Marker) -> Marked | None:
    part = described.parts[marker.part] if marker.part < len(described.parts) else None
    if part is None or max(marker.end_ms, marker.start_ms + 1) <= part.start_ms:
        return None
    first, end = (_count(described, at - part.start_ms) for at in (marker.start_ms, marker.end_ms))
    first, end = max(0, first), min(end, part.frames)
    if first >= part.frames:
        return None
    return Marked(
        view=marker.view,
        name=marker.name,
        comment=marker.comment,
        first_frame=part.first_frame + first,
        frames=max(0, end - first),
    )


def counted_in(described: Described, markers: Iterable[Marker]) -> tuple[Marked, ...]:
    """Markers that count from the file's first moment, in its own count, in order."""
    found = (
        Marked(
            view=marker.view,
            name=marker.name,
            comment=marker.comment,
            first_frame=_count(described, marker.start_ms),
            frames=_count(described, marker.end_ms) - _count(described, marker.start_ms),
        )
        for marker in markers
    )
    return tuple(sorted(found, key=lambda one: one.first_frame))


def _count(described: Described, at_ms: int) -> int:
    """The frame on screen at a time, or the millisecond of sound alone."""
    rate = described.rate or Fraction(1000)
    return floor(Fraction(at_ms) * rate / 1000 + Fraction(1, 1000))


def markers_of(described: Described, part: Part) -> tuple[Marked, ...]:
    """The markers that stand in a part."""
    end = part.first_frame + part.frames
    return tuple(m for m in described.markers if part.first_frame <= m.first_frame < end)


def pause_before(described: Described, number: int) -> int:
    """How many frames that are of no part the file shows before one."""
    end = 0
    if number:
        before = described.parts[number - 1]
        end = before.first_frame + before.frames
    return max(0, described.parts[number].first_frame - end)


def source_count(described: Described, number: int) -> int:
    """The label of a part's first frame, as a count."""
    if number == 0:
        return start_count(described)
    return timecode.of_day(described.parts[number].start_ms, described.counted)


# --- JSON


def as_json(described: Described) -> str:
    """Everything that is known of the file."""
    body = _cameled(described.model_dump(mode="json", exclude={"metadata", "rate"}))
    body |= {"frameRate": None if described.rate is None else str(described.rate)}
    body |= {"metadata": described.metadata}
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _cameled(value: Any) -> Any:
    """The same with names as the contract spells them."""
    if isinstance(value, dict):
        return {_camel(name): _cameled(each) for name, each in value.items()}
    return [_cameled(each) for each in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# --- EDL


def edl(described: Described) -> str:
    """A CMX 3600 list: an event a part, source labels its own, record labels the file's."""
    rate = described.counted
    lines = [f"TITLE: {plain(described.title)[:70]}"]
    lines.append(f"FCM: {'DROP FRAME' if rate.drop else 'NON-DROP FRAME'}")
    lines.append("")
    record = timecode.count_of(RECORD_HOUR, 0, 0, 0, rate)
    for number, part in enumerate(described.parts[:MAX_EVENTS]):
        lines += _event(described, number, part, record, rate)
    return "\r\n".join(lines) + "\r\n"


def _event(described: Described, number: int, part: Part, record: int, rate: Rate) -> list[str]:
    source = source_count(described, number)
    at = record + part.first_frame
    labels = (source, source + part.frames, at, at + part.frames)
    times = " ".join(timecode.label(frames, rate) for frames in labels)
    lines = [
        f"{number + 1:03}  {reel(part.channel):<8} {_edl_tracks(described):<5} C        {times}"
    ]
    lines.append(f"* FROM CLIP NAME: {plain(described.file_name)}")
    lines.append(f"* CHANNEL: {plain(part.channel)}")
    for marker in markers_of(described, part):
        label = timecode.label(record + marker.first_frame, rate)
        lines.append(f"* LOC: {label} {'RED':<7} {plain(marker.name)[:200]}")
    return lines


def _edl_tracks(described: Described) -> str:
    pictures, sound = described.has
    return {(True, True): "B", (True, False): "V"}.get((pictures, sound), "A")


def reel(channel: str) -> str:
    """Eight characters that any list reader takes."""
    return _REEL.sub("", plain(channel).upper())[:8] or "AX"


def plain(text: str) -> str:
    """ASCII of one line, as the format knows nothing else."""
    spelled = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(spelled.split()) or "untitled"


# --- OTIO


def otio(described: Described) -> str:
    """An OpenTimelineIO timeline: a clip a part on a track a kind, all of the one file."""
    rate = float(described.counted.exact)
    begin = start_count(described)
    kinds = [kind for kind, has in zip(("Video", "Audio"), described.has, strict=True) if has]
    tracks = [_otio_track(kind, described, rate, begin) for kind in kinds]
    body = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": described.title,
        "global_start_time": _time(begin, rate),
        "metadata": {"cuttingroom": described.metadata},
        "tracks": {
            "OTIO_SCHEMA": "Stack.1",
            "name": "tracks",
            "children": tracks,
            "source_range": None,
            "effects": [],
            "markers": [],
            "metadata": {},
            "enabled": True,
        },
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _otio_track(kind: str, described: Described, rate: float, begin: int) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": "Track.1",
        "name": kind,
        "kind": kind,
        "children": list(_otio_items(described, rate, begin)),
        "source_range": None,
        "effects": [],
        "markers": [],
        "metadata": {},
        "enabled": True,
    }


def _otio_items(described: Described, rate: float, begin: int) -> Iterator[dict[str, Any]]:
    """A clip a part, and a gap where the file shows a pause."""
    for number, part in enumerate(described.parts):
        pause = pause_before(described, number)
        if pause:
            yield {
                "OTIO_SCHEMA": "Gap.1",
                "name": "",
                "source_range": _range(0, pause, rate),
                "effects": [],
                "markers": [],
                "metadata": {},
                "enabled": True,
            }
        yield _otio_clip(described, part, number, rate, begin)


def _otio_clip(
    described: Described, part: Part, number: int, rate: float, begin: int
) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": "Clip.2",
        "name": f"{part.channel} {number + 1}",
        "source_range": _range(begin + part.first_frame, part.frames, rate),
        "media_references": {
            "DEFAULT_MEDIA": {
                "OTIO_SCHEMA": "ExternalReference.1",
                "name": described.file_name,
                "target_url": quote(described.file_name),
                "available_range": _range(begin, described.frames, rate),
                "available_image_bounds": None,
                "metadata": {},
            }
        },
        "active_media_reference_key": "DEFAULT_MEDIA",
        "effects": [],
        "markers": [_otio_marker(one, rate, begin) for one in markers_of(described, part)],
        "metadata": {
            "cuttingroom": {
                "channel": part.channel,
                "startMs": part.start_ms,
                "endMs": part.end_ms,
            }
        },
        "enabled": True,
    }


def _otio_marker(marker: Marked, rate: float, begin: int) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": "Marker.2",
        "name": marker.name,
        "color": "RED",
        "comment": marker.comment,
        "marked_range": _range(begin + marker.first_frame, marker.frames, rate),
        "metadata": {"cuttingroom": {"view": marker.view}},
    }


def _range(start: int, frames: int, rate: float) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": _time(start, rate),
        "duration": _time(frames, rate),
    }


def _time(frames: int, rate: float) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": float(frames)}


# --- FCPXML


def fcpxml(described: Described) -> str:
    """A Final Cut Pro 1.9 document: the file as an asset, its parts as clips on a spine."""
    rate = described.counted
    frame = 1 / rate.exact
    begin = start_count(described)
    root = etree.Element("fcpxml", version="1.9")
    resources = etree.SubElement(root, "resources")
    _fcp_resources(resources, described, frame, begin)
    library = etree.SubElement(root, "library")
    event = etree.SubElement(library, "event", name=xml_text(described.title))
    project = etree.SubElement(event, "project", name=xml_text(described.title))
    sequence = etree.SubElement(
        project,
        "sequence",
        format="r1",
        duration=seconds_text(described.frames * frame),
        tcStart=seconds_text(begin * frame),
        tcFormat="DF" if rate.drop else "NDF",
    )
    spine = etree.SubElement(sequence, "spine")
    for number, part in enumerate(described.parts):
        if pause := pause_before(described, number):
            at = begin + part.first_frame - pause
            times = {"offset": at * frame, "start": Fraction(0), "duration": pause * frame}
            spelled = {name: seconds_text(time) for name, time in times.items()}
            etree.SubElement(spine, "gap", name="Gap", attrib=spelled)
        _fcp_clip(spine, described, part, number, frame, begin)
    text: bytes = etree.tostring(
        root,
        xml_declaration=True,
        encoding="UTF-8",
        doctype="<!DOCTYPE fcpxml>",
        pretty_print=True,
    )
    return text.decode()


def _fcp_resources(
    resources: etree._Element, described: Described, frame: Fraction, begin: int
) -> None:
    shown = etree.SubElement(resources, "format", id="r1", frameDuration=seconds_text(frame))
    if described.width and described.height:
        shown.set("width", str(described.width))
        shown.set("height", str(described.height))
    pictures, sound = described.has
    asset = etree.SubElement(
        resources,
        "asset",
        id="r2",
        name=xml_text(described.file_name),
        start=seconds_text(begin * frame),
        duration=seconds_text(described.frames * frame),
    )
    if pictures:
        asset.attrib.update({"hasVideo": "1", "videoSources": "1", "format": "r1"})
    if sound:
        asset.attrib.update({"hasAudio": "1", "audioSources": "1"})
    if sound and described.sample_rate_hz:
        asset.set("audioRate", str(described.sample_rate_hz))
    etree.SubElement(
        asset, "media-rep", kind="original-media", src=f"./{quote(described.file_name)}"
    )


def _fcp_clip(
    spine: etree._Element,
    described: Described,
    part: Part,
    number: int,
    frame: Fraction,
    begin: int,
) -> None:
    clip = etree.SubElement(
        spine,
        "asset-clip",
        ref="r2",
        name=xml_text(f"{part.channel} {number + 1}"),
        offset=seconds_text((begin + part.first_frame) * frame),
        start=seconds_text((begin + part.first_frame) * frame),
        duration=seconds_text(part.frames * frame),
        tcFormat="DF" if described.counted.drop else "NDF",
    )
    etree.SubElement(
        clip,
        "marker",
        start=seconds_text((begin + part.first_frame) * frame),
        duration=seconds_text(frame),
        value=xml_text(part.channel),
        note=f"{part.start_ms} to {part.end_ms}",
    )
    for marker in markers_of(described, part):
        etree.SubElement(
            clip,
            "marker",
            start=seconds_text((begin + marker.first_frame) * frame),
            duration=seconds_text(max(1, marker.frames) * frame),
            value=xml_text(marker.name),
            note=xml_text(marker.comment),
        )


def seconds_text(time: Fraction) -> str:
    """A time as the format writes it: a rational of whole frames.

    >>> seconds_text(Fraction(1001, 30000)), seconds_text(Fraction(5))
    ('1001/30000s', '5s')
    """
    if time.denominator == 1:
        return f"{time.numerator}s"
    return f"{time.numerator}/{time.denominator}s"


def xml_text(text: str) -> str:
    """The text without what XML has no way to write."""
    return "".join(c if _is_xml(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_xml(code: int) -> bool:
    return (
        code in {9, 10, 13}
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or (0x10000 <= code <= 0x10FFFF)
    )
