"""XMP packets: a file's title, start timecode, frame rate and markers, for asset managers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from lxml import etree

from pipelines import timecode
from pipelines.interchange import Described, Marked, Part, source_count, start_count, xml_text
from pipelines.timecode import Rate
from schemas.times import rfc3339

_NS = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpDM": "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
    "cuttingroom": "urn:cuttingroom:xmp:1",
}
# What the specification names each counting of labels.
_FORMATS = {
    (24, False): "24Timecode",
    (25, False): "25Timecode",
    (30, True): "2997DropTimecode",
    (30, False): "30Timecode",
    (50, False): "50Timecode",
    (60, True): "5994DropTimecode",
    (60, False): "60Timecode",
}
_SLOW = {24: "23976Timecode", 30: "2997NonDropTimecode", 60: "5994NonDropTimecode"}
# Counters of markers with no rate of their own.
_MILLI = 1000
# How the specification keeps each element of Dublin Core.
_LANGUAGES = ("title", "description", "rights")
_LISTS = {
    "creator": "Seq",
    "date": "Seq",
    **dict.fromkeys(("contributor", "language", "publisher", "relation", "subject", "type"), "Bag"),
}
_DUBLIN = {"artist": "creator", "copyright": "rights", "keywords": "subject"}
_MEDIA_WORDS = {"genre": "genre", "album": "album", "comment": "logComment"}
_KNOWN = frozenset(
    (*_LANGUAGES, *_LISTS, *_MEDIA_WORDS, "coverage", "format", "identifier", "source")
)


def xmp(described: Described) -> str:
    """The packet of a file."""
    root = etree.Element(_name("x", "xmpmeta"), nsmap={"x": _NS["x"]})
    rdf = etree.SubElement(root, _name("rdf", "RDF"), nsmap={"rdf": _NS["rdf"]})
    spaces = {k: v for k, v in _NS.items() if k not in {"x", "rdf"}}
    about = etree.SubElement(rdf, _name("rdf", "Description"), nsmap=spaces)
    about.set(_name("rdf", "about"), "")
    _add_words(about, described)
    _add_media(about, described)
    _add_markers(about, described)
    packed = etree.tostring(root, encoding="unicode", pretty_print=True)
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{packed}<?xpacket end="w"?>\n'
    )


def _name(space: str, name: str) -> str:
    return f"{{{_NS[space]}}}{name}"


def _add(parent: Any, space: str, name: str, text: str) -> None:
    etree.SubElement(parent, _name(space, name)).text = xml_text(text)


def _add_words(about: Any, described: Described) -> None:
    """What people wrote: Dublin Core and its like by their own names, all else in a bag of ours."""
    words = _called(described)
    for name in _LANGUAGES:
        if words.get(name):
            _add_language(about, name, words[name])
    for name, kind in _LISTS.items():
        if words.get(name):
            _add_list(about, name, kind, _split(name, words[name]))
    for name in ("coverage", "format", "identifier", "source"):
        if words.get(name):
            _add(about, "dc", name, words[name])
    for name, wanted in _MEDIA_WORDS.items():
        if words.get(name):
            _add(about, "xmpDM", wanted, words[name])
    if described.parts:
        _add(about, "xmp", "CreateDate", rfc3339(described.parts[0].start_ms))
    others = {n: t for n, t in words.items() if n not in _KNOWN}
    if others:
        _add_others(about, others)


def _called(described: Described) -> dict[str, str]:
    """The words by the names Dublin Core has for them, with what the file itself tells."""
    words = {_DUBLIN.get(name, name): text for name, text in described.metadata.items()}
    own = {"title": described.title, "format": described.content_type}
    known = {"identifier": described.sha256} if described.sha256 else {}
    return {**own, **known, **words}


def _add_others(about: Any, others: dict[str, str]) -> None:
    bag = etree.SubElement(
        etree.SubElement(about, _name("cuttingroom", "metadata")), _name("rdf", "Bag")
    )
    for name, text in others.items():
        item = _resource(etree.SubElement(bag, _name("rdf", "li")))
        _add(item, "cuttingroom", "name", name)
        _add(item, "cuttingroom", "value", text)


def _add_list(about: Any, name: str, kind: str, texts: list[str]) -> None:
    found = etree.SubElement(etree.SubElement(about, _name("dc", name)), _name("rdf", kind))
    for text in texts:
        _add(found, "rdf", "li", text)


def _split(name: str, text: str) -> list[str]:
    """Subjects are a list in one text; a name may have a comma of its own."""
    if name != "subject":
        return [text]
    return [word.strip() for word in re.split(r"[,;]", text) if word.strip()] or [text]


def _add_language(about: Any, name: str, text: str) -> None:
    alt = etree.SubElement(etree.SubElement(about, _name("dc", name)), _name("rdf", "Alt"))
    item = etree.SubElement(alt, _name("rdf", "li"))
    item.set("{http://www.w3.org/XML/1998/namespace}lang", "x-default")
    item.text = xml_text(text)


def _resource(parent: Any) -> Any:
    parent.set(_name("rdf", "parseType"), "Resource")
    return parent


def _add_media(about: Any, described: Described) -> None:
    """What the media are: labels, rate, length, size of the picture."""
    rate = described.counted
    if described.duration_ms:
        _add_time(about, "duration", described.duration_ms, Fraction(1, _MILLI))
    if described.sample_rate_hz:
        _add(about, "xmpDM", "audioSampleRate", str(described.sample_rate_hz))
    if described.rate is None:
        return
    _add(about, "xmpDM", "videoFrameRate", _rate_text(rate))
    if described.parts or described.start_timecode:
        start = _resource(etree.SubElement(about, _name("xmpDM", "startTimecode")))
        _add(start, "xmpDM", "timeValue", timecode.label(start_count(described), rate))
        _add(start, "xmpDM", "timeFormat", time_format(rate))
    if described.width and described.height:
        size = _resource(etree.SubElement(about, _name("xmpDM", "videoFrameSize")))
        dimensions = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
        for name, value in (("w", described.width), ("h", described.height), ("unit", "pixel")):
            part = etree.SubElement(size, f"{{{dimensions}}}{name}", nsmap={"stDim": dimensions})
            part.text = str(value)


def _add_time(about: Any, name: str, value: int, scale: Fraction) -> None:
    time = _resource(etree.SubElement(about, _name("xmpDM", name)))
    _add(time, "xmpDM", "value", str(value))
    _add(time, "xmpDM", "scale", f"{scale.numerator}/{scale.denominator}")


def time_format(rate: Rate) -> str:
    """The specification's name of a counting of labels."""
    if rate.exact.denominator == 1001 and not rate.drop and rate.whole in _SLOW:
        return _SLOW[rate.whole]
    return _FORMATS.get((rate.whole, rate.drop), "CustomTimecode")


def _rate_text(rate: Rate) -> str:
    if rate.exact.denominator == 1:
        return str(rate.whole)
    return f"{float(rate.exact):.3f}".rstrip("0").rstrip(".")


def _add_markers(about: Any, described: Described) -> None:
    """Tracks of markers: where each part begins and what wall clock it shows, then each view's."""
    views = dict.fromkeys(marker.view for marker in described.markers)
    if not described.parts and not views:
        return
    bag = etree.SubElement(etree.SubElement(about, _name("xmpDM", "Tracks")), _name("rdf", "Bag"))
    if described.parts:
        seq = _add_track(bag, "Ranges", described)
        for number, part in enumerate(described.parts):
            _add_part(_resource(etree.SubElement(seq, _name("rdf", "li"))), described, number, part)
    for view in views:
        _add_view(bag, view, described, [m for m in described.markers if m.view == view])


def _add_track(bag: Any, name: str, described: Described) -> Any:
    track = _resource(etree.SubElement(bag, _name("rdf", "li")))
    _add(track, "xmpDM", "trackName", name)
    _add(track, "xmpDM", "trackType", "Comment")
    _add(track, "xmpDM", "frameRate", f"f{_over(described.rate or Fraction(_MILLI))}")
    return etree.SubElement(etree.SubElement(track, _name("xmpDM", "markers")), _name("rdf", "Seq"))


def _add_view(bag: Any, view: str, described: Described, markers: Sequence[Marked]) -> None:
    seq = _add_track(bag, view, described)
    for marker in markers:
        item = _resource(etree.SubElement(seq, _name("rdf", "li")))
        _add(item, "xmpDM", "startTime", str(marker.first_frame))
        if marker.frames:
            _add(item, "xmpDM", "duration", str(marker.frames))
        _add(item, "xmpDM", "name", marker.name)
        _add(item, "xmpDM", "comment", marker.comment)


def _over(rate: Fraction) -> str:
    """A rate as markers count: `30000s1001`, `25`."""
    return str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}s{rate.denominator}"


def _add_part(marker: Any, described: Described, number: int, part: Part) -> None:
    _add(marker, "xmpDM", "startTime", str(part.first_frame))
    _add(marker, "xmpDM", "duration", str(part.frames))
    _add(marker, "xmpDM", "name", f"{part.channel} {number + 1}")
    _add(marker, "xmpDM", "comment", f"{rfc3339(part.start_ms)} to {rfc3339(part.end_ms)}")
    if described.rate is not None:
        label = timecode.label(source_count(described, number), described.counted)
        _add(marker, "cuttingroom", "sourceTimecode", label)
