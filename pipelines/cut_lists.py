"""Timelines as other editors read them: CMX 3600 lists and Final Cut Pro XML, and what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal
from urllib.parse import quote

from lxml import etree

from pipelines import timecode
from pipelines.interchange import MAX_EVENTS, RECORD_HOUR, plain, reel, seconds_text, xml_text
from pipelines.otio import SCHEME
from pipelines.timecode import Rate
from schemas.timelines import Edit, MediaRef, Timeline, Warned

Format = Literal["otio", "edl", "fcpxml"]
# A label says no more than a time of day: what lies further off is wall clock since 1970.
WALL_CLOCK_S = 10**8
_DAY_S = 24 * 3600
_REEL_CHARS = 8
_CONFORMED = {
    Fraction(24000, 1001): "23.98", Fraction(24): "24", Fraction(25): "25",
    Fraction(30000, 1001): "29.97", Fraction(30): "30", Fraction(48000, 1001): "47.95",
    Fraction(48): "48", Fraction(50): "50", Fraction(60000, 1001): "59.94", Fraction(60): "60",
}  # fmt: skip


def address(media: MediaRef) -> str:
    """The address of a clip's media: `cuttingroom://connectors/{id}/files/{fileId}`."""
    kind, name = ("files", media.file_id) if media.file_id else ("channels", media.channel_id or "")
    return f"{SCHEME}{quote(media.connector_id, safe='')}/{kind}/{quote(name or '', safe='/')}"


def start_count(timeline: Timeline, rate: Rate) -> int:
    """The label of the timeline's first frame, as a count: its own, else one o'clock."""
    if timeline.start is None:
        return timecode.count_of(RECORD_HOUR, 0, 0, 0, rate)
    return round(timeline.start * rate.exact)


def source_seconds(edit: Edit) -> Fraction:
    """Where an edit begins in its media, as a time of day where it is wall clock."""
    began = edit.media.start_ms if edit.media else None
    start = edit.start
    if began is not None:
        start += Fraction(began, 1000) - (edit.available[0] if edit.available else 0)
    return start % _DAY_S if start >= WALL_CLOCK_S else start


# --- EDL


def edl(timeline: Timeline) -> str:
    """A CMX 3600 list: an event an edit; a gap is time that no event records."""
    rate = timecode.rate_of(timeline.rate)
    lines = [f"TITLE: {plain(timeline.name)[:70]}"]
    lines += [f"FCM: {'DROP FRAME' if rate.drop else 'NON-DROP FRAME'}", ""]
    begin = start_count(timeline, rate)
    for number, edit in enumerate(timeline.edits[:MAX_EVENTS], 1):
        lines += _event(timeline, number, edit, begin, rate)
    return "\r\n".join(lines) + "\r\n"


def _event(timeline: Timeline, number: int, edit: Edit, begin: int, rate: Rate) -> Iterator[str]:
    first, stop = (begin + round(time * rate.exact) for time in (edit.at, edit.end))
    source = round(source_seconds(edit) * rate.exact)
    labels = (source, source + stop - first, first, stop)
    times = " ".join(timecode.label(frames, rate) for frames in labels)
    yield f"{number:03}  {reel(_tape(edit)):<8} {_edl_tracks(timeline):<5} C        {times}"
    yield f"* FROM CLIP NAME: {plain(edit.name or _tape(edit))}"
    if edit.media is not None:
        yield f"* SOURCE FILE: {plain(address(edit.media))}"
    elif edit.target:
        yield f"* SOURCE FILE: {plain(edit.target)}"
    for marker in edit.markers:
        at = first + round((marker.at - edit.start) * rate.exact)
        if first <= at < stop:
            color = plain(marker.color or "red").upper()
            yield f"* LOC: {timecode.label(at, rate)} {color:<7} {plain(marker.name)}"


def _tape(edit: Edit) -> str:
    """What a reel is named after: the channel, or the file without its folders and ending."""
    media = edit.media
    if media is None:
        return edit.name
    if media.channel_id:
        return media.channel_id
    name = media.file_id or ""
    return _of_clip(name) or name.rpartition("/")[2].rpartition(".")[0] or name.rpartition("/")[2]


def _of_clip(file_id: str) -> str:
    """The channel of a clip's fileId; nothing for another one."""
    parts = file_id.rsplit("/", 4)
    return parts[0] if len(parts) == 5 and parts[4].startswith("range-") else ""


def _edl_tracks(timeline: Timeline) -> str:
    if timeline.kind == "audio":
        return "A"
    return "B" if timeline.sounds and not _sound_differs(timeline) else "V"


def _sound_differs(timeline: Timeline) -> bool:
    return any(warning.code == "audio_dropped" for warning in timeline.warnings)


# --- FCPXML


def fcpxml(timeline: Timeline) -> str:
    """A Final Cut Pro 1.10 document: an asset a medium, edits and gaps on one spine."""
    rate = timecode.rate_of(timeline.rate)
    root = etree.Element("fcpxml", version="1.10")
    resources = etree.SubElement(root, "resources")
    formats = _formats(resources, timeline)
    assets = _assets(resources, timeline, formats)
    event = etree.SubElement(
        etree.SubElement(root, "library"), "event", name=xml_text(timeline.name)
    )
    project = etree.SubElement(event, "project", name=xml_text(timeline.name))
    frame, begin = 1 / rate.exact, start_count(timeline, rate)
    length = round(timeline.length * rate.exact)
    sequence = etree.SubElement(
        project,
        "sequence",
        format=formats[timeline.rate],
        duration=seconds_text(length * frame),
        tcStart=seconds_text(begin * frame),
        tcFormat="DF" if rate.drop else "NDF",
    )
    _fill(etree.SubElement(sequence, "spine"), timeline, rate, begin, assets)
    text: bytes = etree.tostring(
        root, xml_declaration=True, encoding="UTF-8", doctype="<!DOCTYPE fcpxml>", pretty_print=True
    )
    return text.decode()


def _formats(resources: etree._Element, timeline: Timeline) -> dict[Fraction, str]:
    """A format a rate; the timeline's own first."""
    found: dict[Fraction, str] = {}
    for rate in dict.fromkeys((timeline.rate, *(_own_rate(e, timeline) for e in timeline.edits))):
        found[rate] = f"r{len(found) + 1}"
        etree.SubElement(resources, "format", id=found[rate], frameDuration=seconds_text(1 / rate))
    return found


def _own_rate(edit: Edit, timeline: Timeline) -> Fraction:
    """The rate a clip's media is told in: its own, where an editor can conform it."""
    return edit.rate if edit.rate in _CONFORMED else timeline.rate


def _assets(
    resources: etree._Element, timeline: Timeline, formats: dict[Fraction, str]
) -> dict[str, str]:
    """An asset for everything that edits are of, as long as what is shown of it."""
    by_place: dict[str, list[Edit]] = {}
    for edit in timeline.edits:
        by_place.setdefault(_place(edit), []).append(edit)
    found: dict[str, str] = {}
    for place, edits in by_place.items():
        found[place] = f"a{len(found) + 1}"
        rate = _own_rate(edits[0], timeline)
        begin = min(_counted(source_seconds(edit), rate) for edit in edits)
        end = max(_counted(source_seconds(edit) + edit.duration, rate) + 1 for edit in edits)
        asset = etree.SubElement(
            resources,
            "asset",
            id=found[place],
            name=xml_text(_tape(edits[0]) or "media"),
            start=seconds_text(begin / rate),
            duration=seconds_text((end - begin) / rate),
            hasAudio="1",
            audioSources="1",
        )
        if timeline.kind == "video":
            asset.attrib.update({"hasVideo": "1", "videoSources": "1", "format": formats[rate]})
        etree.SubElement(asset, "media-rep", kind="original-media", src=xml_text(place))
    return found


def _counted(seconds: Fraction, rate: Fraction) -> int:
    return round(seconds * rate)


def _place(edit: Edit) -> str:
    if edit.media is not None:
        return address(edit.media)
    return edit.target or f"{SCHEME}none/{quote(edit.name, safe='')}"


def _fill(
    spine: etree._Element, timeline: Timeline, rate: Rate, begin: int, assets: dict[str, str]
) -> None:
    """Edits in order; what no edit covers is a gap."""
    frame, at = 1 / rate.exact, 0
    for edit in timeline.edits:
        first, stop = (round(time * rate.exact) for time in (edit.at, edit.end))
        if first > at:
            etree.SubElement(
                spine,
                "gap",
                name="Gap",
                offset=seconds_text((begin + at) * frame),
                start="0s",
                duration=seconds_text((first - at) * frame),
            )
        if stop > first:
            clip = _fcp_clip(spine, timeline, edit, (begin + first, stop - first), assets)
            clip.set("tcFormat", "DF" if rate.drop else "NDF")
        at = stop


def _fcp_clip(
    spine: etree._Element,
    timeline: Timeline,
    edit: Edit,
    place: tuple[int, int],
    assets: dict[str, str],
) -> etree._Element:
    frame, own = 1 / timeline.rate, _own_rate(edit, timeline)
    start = Fraction(_counted(source_seconds(edit), own)) / own
    clip = etree.SubElement(
        spine,
        "asset-clip",
        ref=assets[_place(edit)],
        name=xml_text(edit.name or _tape(edit) or "clip"),
        offset=seconds_text(place[0] * frame),
        start=seconds_text(start),
        duration=seconds_text(place[1] * frame),
    )
    if own != timeline.rate:
        etree.SubElement(clip, "conform-rate", srcFrameRate=_CONFORMED[own])
    for marker in edit.markers:
        since = Fraction(_counted(marker.at - edit.start, own)) / own
        if 0 <= since < edit.duration:
            etree.SubElement(
                clip,
                "marker",
                start=seconds_text(start + since),
                duration=seconds_text(1 / own),
                value=xml_text(marker.name),
            )
    return clip


# --- what is lost


def dropped(timeline: Timeline, to: Format) -> tuple[Warned, ...]:
    """What a format does not say of a timeline; an OpenTimelineIO document says everything."""
    if to == "otio":
        return ()
    found = list(timeline.warnings)
    if timeline.loose_markers:
        many = f"{timeline.loose_markers} marker(s) of tracks and stacks are left out"
        found.append(Warned(code="markers_dropped", message=many))
    rates = {edit.rate for edit in timeline.edits}
    if len(rates) > 1:
        message = f"clips counted at {len(rates)} rates are told at {_spoken(timeline.rate)}"
        found.append(Warned(code="rates_mixed", message=message))
    found += _of_edl(timeline) if to == "edl" else ()
    return tuple(found)


def _spoken(rate: Fraction) -> str:
    return f"{float(rate):.5g} frames a second"


def _of_edl(timeline: Timeline) -> Iterator[Warned]:
    if len(timeline.edits) > MAX_EVENTS:
        many = f"{len(timeline.edits) - MAX_EVENTS} edits beyond the {MAX_EVENTS}th are left out"
        yield Warned(code="events_dropped", message=many)
    tapes = {_tape(edit) for edit in timeline.edits}
    shortened = sorted(tape for tape in tapes if reel(tape) != plain(tape).upper())
    if shortened:
        message = (
            f"{len(shortened)} names of sources do not fit the {_REEL_CHARS} letters of a reel"
        )
        yield Warned(code="reels_shortened", message=message)
    clashing = [name for name, count in Counter(reel(tape) for tape in tapes).items() if count > 1]
    if clashing:
        message = f"several sources share a reel: {', '.join(sorted(clashing)[:5])}"
        yield Warned(code="reels_shared", message=message)
    if any(source_seconds(edit) != edit.start for edit in timeline.edits):
        message = "wall clock is told as a time of day: the date is left out"
        yield Warned(code="dates_dropped", message=message)
    if any(plain(edit.name) != edit.name for edit in timeline.edits):
        message = "names are told in plain ASCII letters of one line"
        yield Warned(code="names_plain", message=message)
