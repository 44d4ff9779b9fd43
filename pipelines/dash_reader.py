"""A DASH manifest of ours, read back: which files it names, and how long they last.

Of our own, more is demanded than of other people's (`pipelines.dash`): what every player needs.
"""

from __future__ import annotations

import re

from lxml import etree

from pipelines import dash
from schemas.base import Value
from schemas.errors import CorruptMedia

_MPD = "{urn:mpeg:dash:schema:mpd:2011}"
_NUMBER = re.compile(r"\$Number(?:%0(\d)d)?\$")
_LENGTH = re.compile(r'(\bmediaPresentationDuration=")([^"]{2,40})(")')
_BANDWIDTH = re.compile(r'(<Representation\b[^>]*?\bbandwidth=")\d+(")')
_MOST_SEGMENTS = 500_000


class Representation(Value):
    """One track of a manifest: its header, its segments, and what their timeline adds up to."""

    id: str
    kind: str
    codecs: str
    bandwidth_bps: int
    init: str
    segments: tuple[str, ...]
    length_us: int
    end_us: int
    boundaries_us: tuple[int, ...]


def representations(text: str) -> tuple[Representation, ...]:
    """Every track of a manifest; CorruptMedia where it does not say what a player needs."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
        _check_head(root)
        found = tuple(
            _representation(track, group)
            for group in root.iter(f"{_MPD}AdaptationSet")
            for track in group.iter(f"{_MPD}Representation")
        )
    except (etree.XMLSyntaxError, KeyError, TypeError, ValueError) as error:
        raise CorruptMedia(f"the manifest makes no sense: {type(error).__name__}") from error
    if not found or len({track.id for track in found}) != len(found):
        raise CorruptMedia("the manifest does not name its tracks apart")
    return found


def length_us(text: str) -> int:
    """How long the manifest says the presentation is."""
    match = _LENGTH.search(text)
    try:
        return dash.duration_us(match[2] if match else "")
    except ValueError:
        raise CorruptMedia("the manifest does not say how long it is") from None


def exact(text: str, tracks: tuple[Representation, ...]) -> str:
    """The manifest with the bandwidth of each track, and its length up to the last track's end.

    ffmpeg cuts the length to tenths of a second, and tells of a copied track its average.
    """
    length_s = f"{max(track.end_us for track in tracks) / 1_000_000:.6f}"
    rates = iter(tracks)
    told = _BANDWIDTH.sub(lambda m: f"{m[1]}{next(rates).bandwidth_bps}{m[2]}", text)
    return _LENGTH.sub(rf"\g<1>PT{length_s}S\g<3>", told, count=1)


def _check_head(root: etree._Element) -> None:
    if root.tag != f"{_MPD}MPD" or root.get("type", "static") != "static":
        raise CorruptMedia("it is no manifest of a finished presentation")
    for name in ("profiles", "minBufferTime", "mediaPresentationDuration"):
        if not root.get(name):
            raise CorruptMedia(f"the manifest lacks {name}")


def _representation(track: etree._Element, group: etree._Element) -> Representation:
    template = track.find(f"{_MPD}SegmentTemplate")
    if template is None:
        template = group.find(f"{_MPD}SegmentTemplate")
    if template is None:
        raise CorruptMedia("a track of the manifest has no segments")
    name, timescale = str(track.attrib["id"]), int(template.get("timescale", "1"))
    ends = _ends(template)
    first = int(template.get("startNumber", "1"))
    media = _named(str(template.attrib["media"]), name)
    return Representation(
        id=name,
        kind=group.get("contentType") or (track.get("mimeType") or "").partition("/")[0],
        codecs=track.attrib["codecs"],
        bandwidth_bps=int(track.attrib["bandwidth"]),
        init=_named(str(template.attrib["initialization"]), name),
        segments=tuple(_numbered(media, first + n) for n in range(len(ends) - 1)),
        length_us=(ends[-1] - ends[0]) * 1_000_000 // timescale,
        end_us=ends[-1] * 1_000_000 // timescale,
        boundaries_us=tuple((end - ends[0]) * 1_000_000 // timescale for end in ends[1:]),
    )


def _ends(template: etree._Element) -> list[int]:
    """Where the first segment starts and each one ends, in ticks."""
    ends: list[int] = []
    for entry in template.iter(f"{_MPD}S"):
        at = int(entry.get("t", ends[-1] if ends else 0))
        if not ends:
            ends.append(at)
        times, length = 1 + int(entry.get("r", "0")), int(entry.attrib["d"])
        if len(ends) + times > _MOST_SEGMENTS:
            raise CorruptMedia("the manifest lists more segments than a ladder has")
        ends += [at + length * number for number in range(1, times + 1)]
    if len(ends) < 2:
        raise CorruptMedia("a track of the manifest has an empty timeline")
    return ends


def _named(template: str, name: str) -> str:
    return template.replace("$RepresentationID$", name)


def _numbered(template: str, number: int) -> str:
    return _NUMBER.sub(lambda m: f"{number:0{m[1] or 1}d}", template)
