"""HLS playlists as values; the only importer of m3u8.

Our own scan goes first: it bounds and checks every line, and hands m3u8 only the tags we
understand, spelled so that it reads them right (explicit byte ranges, one key at a time, absolute
URIs). m3u8 then says which key, map and discontinuity stands over which segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

import m3u8

from pipelines.hls_clock import Placement, Timed, placements
from pipelines.hls_scan import MAX_INTEGER, Line, Variables, absolute, decimal_us, integer
from pipelines.hls_scan import scan as scanned
from schemas.errors import CorruptMedia, TooLarge, UnsupportedMedia
from schemas.media import (
    AudioRendition,
    ByteRange,
    InitSection,
    MediaPlaylist,
    MultivariantPlaylist,
    PtsClock,
    Region,
    Segment,
    SegmentKey,
    SubtitleRendition,
    Variant,
    implied_iv,
)
from schemas.times import EPOCH

MAX_DEPTH = 3
MAX_SEGMENT_S = 24 * 3600
MAX_URI_TOTAL_CHARS = 64 * 1024 * 1024
MAX_CHILDREN = 1000
_PDT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?([Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_BYTE_RANGE = re.compile(r"(\d{1,19})(?:@(\d{1,19}))?", re.ASCII)
_RESOLUTION = re.compile(r"(\d{1,5})[xX](\d{1,5})", re.ASCII)
_HEX_IV = re.compile(r"0[xX]([0-9a-fA-F]{1,32})", re.ASCII)


def parse(
    text: bytes | str,
    uri: str,
    *,
    fetched_at_us: int,
    variables: Mapping[str, str] | None = None,
) -> MediaPlaylist | MultivariantPlaylist:
    """The playlist a body fetched from `uri` holds.

    `fetched_at_us` anchors the live edge of a playlist without any PDT. `variables` are those of
    the multivariant playlist that named this one. Raises CorruptMedia, TooLarge, UnsupportedMedia,
    or SourceUnavailable where the origin answered with something else.
    """
    if not uri.lower().startswith(("http://", "https://")):
        raise CorruptMedia("playlists are read from http and https alone")
    reader = _Reader(uri, Variables(imported=variables or {}))
    for line in scanned(text):
        reader.read(line)
    return reader.finished(fetched_at_us)


def descend(trail: tuple[str, ...], uri: str) -> tuple[str, ...]:
    """The playlists followed so far with one more; refused where it loops or goes too deep."""
    if uri in trail:
        raise CorruptMedia("a playlist names itself")
    if len(trail) >= MAX_DEPTH:
        raise CorruptMedia(f"playlists are nested deeper than {MAX_DEPTH}")
    return (*trail, uri)


@dataclass(frozen=True)
class Shown:
    """What our own tag says of the region that begins here: its PTS clock, and what is shown."""

    zero_us: Fraction
    start_us: int
    end_us: int | None


@dataclass
class _Reader:
    """One pass over the lines: what was seen, and the clean text for m3u8."""

    uri: str
    variables: Variables
    clean: list[str] = field(default_factory=lambda: ["#EXTM3U"])
    header: dict[str, int] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    open_tags: dict[str, str] = field(default_factory=dict)
    keys_in_force: dict[str, SegmentKey] = field(default_factory=dict)
    keys: list[SegmentKey] = field(default_factory=list)
    maps: list[InitSection] = field(default_factory=list)
    renditions: list[AudioRendition] = field(default_factory=list)
    subtitles: list[SubtitleRendition] = field(default_factory=list)
    variants: list[dict[str, str]] = field(default_factory=list)
    next_byte: tuple[str, int] = ("", 0)
    shown: dict[int, Shown] = field(default_factory=dict)
    uri_chars: int = 0
    segments: int = 0

    def read(self, line: Line) -> None:
        """Take one line in."""
        if line.tag is None:
            self._uri(line)
        elif handler := _HANDLERS.get(line.tag):
            handler(self, line)

    def finished(self, fetched_at_us: int) -> MediaPlaylist | MultivariantPlaylist:
        """The playlist, once every line is in."""
        if "EXT-X-STREAM-INF" in self.flags:
            return self._multivariant()
        if self.segments == 0 and "EXT-X-TARGETDURATION" not in self.header:
            raise CorruptMedia("the playlist lists neither segments nor variants")
        if "EXTINF" in self.open_tags and "EXT-X-ENDLIST" in self.flags:
            raise CorruptMedia("the last EXTINF of an ended playlist has no URI")
        return _media_playlist(self, fetched_at_us)

    def resolved(self, line: Line, reference: str) -> str:
        """An absolute URI, counted against what one playlist may hold."""
        found = absolute(line, self.uri, self.variables.expanded(line, reference))
        self.uri_chars += len(found)
        if self.uri_chars > MAX_URI_TOTAL_CHARS:
            raise TooLarge(f"the playlist's URIs are over {MAX_URI_TOTAL_CHARS} characters")
        return found

    def _multivariant(self) -> MultivariantPlaylist:
        if self.segments or self.header:
            raise CorruptMedia("the playlist lists both variants and segments")
        data = m3u8.parse("\n".join(self.clean))
        return MultivariantPlaylist(
            uri=self.uri,
            variants=tuple(_variant(entry) for entry in data["playlists"]),
            audio=tuple(self.renditions),
            subtitles=tuple(self.subtitles),
            independent_segments="EXT-X-INDEPENDENT-SEGMENTS" in self.flags,
            variables=dict(self.variables.known),
        )

    def _uri(self, line: Line) -> None:
        uri = self.resolved(line, line.value)
        if "EXT-X-STREAM-INF" in self.open_tags:
            self._variant_uri(line, uri)
        elif "EXTINF" in self.open_tags:
            self._segment_uri(line, uri)
        else:
            raise line.refused("nothing says how long this is (EXTINF is absent)")
        self.open_tags.clear()

    def _variant_uri(self, line: Line, uri: str) -> None:
        if uri == self.uri:
            raise line.refused("a playlist names itself")
        self.clean += [f"#EXT-X-STREAM-INF:{self.open_tags['EXT-X-STREAM-INF']}", uri]

    def _segment_uri(self, line: Line, uri: str) -> None:
        span = self._byte_range(line, self.open_tags.pop("EXT-X-BYTERANGE", None), uri)
        if uri == self.uri and span is None:
            raise line.refused("a playlist names itself")
        self.clean += [_tag(name, value) for name, value in self.open_tags.items()]
        if span is not None:
            self.clean.append(f"#EXT-X-BYTERANGE:{span.length}@{span.offset}")
            self.next_byte = (uri, span.offset + span.length)
        self.clean.append(uri)
        self.segments += 1

    def _byte_range(self, line: Line, text: str | None, uri: str) -> ByteRange | None:
        if text is None:
            self.next_byte = ("", 0)
            return None
        # Without an offset a range goes on where the one before it in the same resource ended.
        return _byte_range(line, text, self.next_byte[1] if self.next_byte[0] == uri else 0)


def _tag(name: str, value: str) -> str:
    return f"#{name}:{value}" if value else f"#{name}"


def _flag(reader: _Reader, line: Line) -> None:
    reader.flags.add(str(line.tag))


def _number(reader: _Reader, line: Line) -> None:
    name, value = str(line.tag), integer(line, line.value)
    if name != "EXT-X-TARGETDURATION" and reader.segments:
        raise line.refused("this tag must stand before the first segment")
    if reader.header.setdefault(name, value) != value:
        raise line.refused("this tag stands twice with different values")


def _target(reader: _Reader, line: Line) -> None:
    # Some packagers write a decimal here, against the specification.
    seconds = -(-decimal_us(line, line.value, most_s=MAX_SEGMENT_S) // 1_000_000)
    _number(reader, Line(line.number, line.tag, str(seconds)))


def _playlist_type(reader: _Reader, line: Line) -> None:
    if line.value == "VOD":
        reader.flags.add("EXT-X-ENDLIST")


def _part_inf(reader: _Reader, line: Line) -> None:
    target = reader.variables.attributes(line).get("PART-TARGET", "")
    reader.header["PART-TARGET"] = decimal_us(line, target, most_s=MAX_SEGMENT_S)


def _define(reader: _Reader, line: Line) -> None:
    reader.variables.define(line, reader.uri)


def _skip(reader: _Reader, line: Line) -> None:
    raise line.refused("a delta update, which was not asked for")


def _i_frames_only(reader: _Reader, line: Line) -> None:
    raise UnsupportedMedia("an I-frame playlist holds no whole segments to cut from")


def _extinf(reader: _Reader, line: Line) -> None:
    if "EXTINF" in reader.open_tags:
        raise line.refused("the EXTINF before this one has no URI")
    duration_us = decimal_us(line, line.value.split(",", 1)[0].strip(), most_s=MAX_SEGMENT_S)
    reader.open_tags["EXTINF"] = f"{duration_us // 1_000_000}.{duration_us % 1_000_000:06d},"


def _shown(reader: _Reader, line: Line) -> None:
    """Our own connectors' tag: only a part of the media belongs to the stream."""
    given = reader.variables.attributes(line)
    zero, start = (_exact_us(line, given.get(name, "")) for name in ("PTS-ZERO", "START"))
    end = _exact_us(line, given["END"]) if "END" in given else None
    if end is not None and end <= start:
        raise line.refused("END is not after START")
    # A frame's own time may be rounded below the instant it begins at.
    until = None if end is None else floor(end) - 1
    reader.shown[reader.segments] = Shown(zero, floor(start) - 1, until)


def _exact_us(line: Line, text: str) -> Fraction:
    if not re.fullmatch(r"-?\d{1,15}\.\d{9}", text, re.ASCII):
        raise line.refused(f"{text[:40]!r} is not seconds with nine digits of a fraction")
    return Fraction(text) * 1_000_000


def _once(reader: _Reader, line: Line) -> None:
    name = str(line.tag)
    if name == "EXT-X-BYTERANGE" and name in reader.open_tags:
        raise line.refused("two byte ranges stand over one segment")
    reader.open_tags[name] = line.value if name == "EXT-X-BYTERANGE" else ""


def _date_time(reader: _Reader, line: Line) -> None:
    reader.open_tags["EXT-X-PROGRAM-DATE-TIME"] = _moment(line).isoformat()


def _moment(line: Line) -> datetime:
    match = _PDT.fullmatch(line.value)
    if match is None:
        raise line.refused(f"{line.value[:40]!r} is not an ISO 8601 date and time")
    day, clock, fraction, zone = match.groups()
    # The specification only recommends a zone; players read its absence as UTC.
    zone = "+00:00" if zone in {None, "Z", "z"} else zone
    spelled = f"{day}T{clock}.{(fraction or '0').ljust(6, '0')[:6]}{zone}"
    try:
        moment = datetime.fromisoformat(spelled).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise line.refused(f"{line.value[:40]!r} is not a date and time that exists") from error
    if not 1970 <= moment.year < 3000:
        raise line.refused(f"the year {moment.year} is not between 1970 and 2999")
    return moment


def _key(reader: _Reader, line: Line) -> None:
    given = reader.variables.attributes(line)
    if given.get("METHOD") == "NONE":
        reader.keys_in_force.clear()
        reader.clean.append("#EXT-X-KEY:METHOD=NONE")
        return
    key = _segment_key(reader, line, given)
    reader.keys_in_force[key.key_format] = key
    # Keys of several formats stand over one segment; the plain one is the one we can use.
    chosen = reader.keys_in_force.get("identity", key)
    reader.keys.append(chosen)
    reader.clean.append(f"#EXT-X-KEY:METHOD={chosen.method},ID={len(reader.keys) - 1}")


def _segment_key(reader: _Reader, line: Line, given: dict[str, str]) -> SegmentKey:
    method, key_format = given.get("METHOD", ""), given.get("KEYFORMAT", "identity")
    if not method:
        raise line.refused("METHOD is absent")
    if method == "AES-128" and key_format == "identity":
        iv = _HEX_IV.fullmatch(given["IV"]) if "IV" in given else None
        if "IV" in given and iv is None:
            raise line.refused("IV is not 0x and up to 32 hexadecimal digits")
        uri = reader.resolved(line, given.get("URI", ""))
        iv_hex = iv[1].lower().zfill(32) if iv else None
        return SegmentKey(method="AES-128", uri=uri, iv_hex=iv_hex)
    known = method if method in {"SAMPLE-AES", "SAMPLE-AES-CTR"} else "OTHER"
    # The URI of a key we cannot use is left as it is written: skd: and data: are usual here.
    return SegmentKey.model_validate(
        {"method": known, "uri": given.get("URI", ""), "key_format": key_format}
    )


def _map(reader: _Reader, line: Line) -> None:
    given = reader.variables.attributes(line)
    uri = reader.resolved(line, given.get("URI", ""))
    span = _byte_range(line, given["BYTERANGE"], 0) if "BYTERANGE" in given else None
    key = reader.keys_in_force.get("identity") or next(iter(reader.keys_in_force.values()), None)
    if key and key.method == "AES-128" and key.iv_hex is None:
        # Against the specification, but seen: then the segment it stands before lends its number.
        sequence = reader.header.get("EXT-X-MEDIA-SEQUENCE", 0) + reader.segments
        key = key.model_copy(update={"iv_hex": implied_iv(sequence)})
    reader.maps.append(InitSection(uri=uri, byte_range=span, key=key))
    reader.clean.append(f'#EXT-X-MAP:URI="{len(reader.maps) - 1}"')


def _byte_range(line: Line, text: str, default_offset: int) -> ByteRange:
    match = _BYTE_RANGE.fullmatch(text)
    length = int(match[1]) if match else 0
    offset = int(match[2]) if match and match[2] else default_offset
    if length == 0 or offset + length > MAX_INTEGER:
        raise line.refused(f"{text[:48]!r} is not a byte range below 2^63")
    return ByteRange(offset=offset, length=length)


def _stream_inf(reader: _Reader, line: Line) -> None:
    if "EXT-X-STREAM-INF" in reader.open_tags:
        raise line.refused("the EXT-X-STREAM-INF before this one has no URI")
    given = reader.variables.attributes(line)
    reader.flags.add("EXT-X-STREAM-INF")
    reader.variants.append(given)
    if len(reader.variants) > MAX_CHILDREN:
        raise TooLarge(f"the playlist names more than {MAX_CHILDREN} variants")
    # Some packagers write a computed bandwidth with its fraction.
    kept = {"BANDWIDTH": str(integer(line, given.get("BANDWIDTH", "0").partition(".")[0]))}
    if "AVERAGE-BANDWIDTH" in given:
        kept["AVERAGE-BANDWIDTH"] = str(integer(line, given["AVERAGE-BANDWIDTH"]))
    if "FRAME-RATE" in given:
        rate_us = decimal_us(line, given["FRAME-RATE"], most_s=1000)
        kept["FRAME-RATE"] = f"{rate_us / 1_000_000:.6f}"
    if (size := given.get("RESOLUTION")) is not None:
        if not _RESOLUTION.fullmatch(size):
            raise line.refused("RESOLUTION is not widthxheight")
        kept["RESOLUTION"] = size.lower()
    kept |= {name: f'"{given[name]}"' for name in ("CODECS", "AUDIO", "SUBTITLES") if name in given}
    reader.open_tags["EXT-X-STREAM-INF"] = ",".join(f"{k}={v}" for k, v in kept.items())


def _media(reader: _Reader, line: Line) -> None:
    given = reader.variables.attributes(line)
    kind = given.get("TYPE")
    if kind not in {"AUDIO", "SUBTITLES"}:
        return
    if not given.get("GROUP-ID") or "NAME" not in given:
        raise line.refused("GROUP-ID and NAME are both needed")
    if len(reader.renditions) + len(reader.subtitles) >= MAX_CHILDREN:
        raise TooLarge(f"the playlist names more than {MAX_CHILDREN} renditions")
    uri = reader.resolved(line, given["URI"]) if "URI" in given else None
    if uri == reader.uri:
        raise line.refused("a playlist names itself")
    if kind == "AUDIO":
        reader.renditions.append(_audio(given, uri))
    elif uri is not None:
        reader.subtitles.append(_subtitles(given, uri))


def _audio(given: Mapping[str, str], uri: str | None) -> AudioRendition:
    return AudioRendition(
        group_id=given["GROUP-ID"],
        name=given["NAME"],
        language=given.get("LANGUAGE") or None,
        default=given.get("DEFAULT") == "YES",
        autoselect=given.get("AUTOSELECT") == "YES",
        channels=given.get("CHANNELS"),
        characteristics=given.get("CHARACTERISTICS"),
        uri=uri,
    )


def _subtitles(given: Mapping[str, str], uri: str) -> SubtitleRendition:
    return SubtitleRendition(
        group_id=given["GROUP-ID"],
        name=given["NAME"],
        language=given.get("LANGUAGE") or None,
        default=given.get("DEFAULT") == "YES",
        forced=given.get("FORCED") == "YES",
        characteristics=given.get("CHARACTERISTICS"),
        uri=uri,
    )


_HANDLERS: dict[str, Callable[[_Reader, Line], None]] = {
    "EXTINF": _extinf,
    "EXT-X-BYTERANGE": _once,
    "EXT-X-DISCONTINUITY": _once,
    "EXT-X-GAP": _once,
    "EXT-X-PROGRAM-DATE-TIME": _date_time,
    "EXT-X-KEY": _key,
    "EXT-X-MAP": _map,
    "EXT-X-TARGETDURATION": _target,
    "EXT-X-MEDIA-SEQUENCE": _number,
    "EXT-X-DISCONTINUITY-SEQUENCE": _number,
    "EXT-X-PLAYLIST-TYPE": _playlist_type,
    "EXT-X-ENDLIST": _flag,
    "EXT-X-INDEPENDENT-SEGMENTS": _flag,
    "EXT-X-I-FRAMES-ONLY": _i_frames_only,
    "EXT-X-PART-INF": _part_inf,
    "EXT-X-SKIP": _skip,
    "EXT-X-DEFINE": _define,
    "EXT-X-CUTTINGROOM-SHOWN": _shown,
    "EXT-X-STREAM-INF": _stream_inf,
    "EXT-X-MEDIA": _media,
}


def _media_playlist(reader: _Reader, fetched_at_us: int) -> MediaPlaylist:
    entries: list[dict[str, Any]] = m3u8.parse("\n".join(reader.clean))["segments"]
    ended = "EXT-X-ENDLIST" in reader.flags
    sequence = reader.header.get("EXT-X-MEDIA-SEQUENCE", 0)
    if sequence + len(entries) > MAX_INTEGER:
        raise CorruptMedia("media sequence numbers pass 2^63")
    longest_us = max((round(entry["duration"] * 1_000_000) for entry in entries), default=0)
    target_s = reader.header.get("EXT-X-TARGETDURATION", 0) or max(1, -(-longest_us // 1_000_000))
    return MediaPlaylist(
        uri=reader.uri,
        regions=_regions(reader, entries, ended, fetched_at_us),
        target_duration_us=target_s * 1_000_000,
        part_target_us=reader.header.get("PART-TARGET"),
        ended=ended,
        media_sequence=sequence,
        independent_segments="EXT-X-INDEPENDENT-SEGMENTS" in reader.flags,
    )


def _regions(
    reader: _Reader, entries: list[dict[str, Any]], ended: bool, fetched_at_us: int
) -> tuple[Region, ...]:
    runs: list[list[tuple[dict[str, Any], Timed]]] = []
    number = reader.header.get("EXT-X-DISCONTINUITY-SEQUENCE", 0)
    first_number = number + bool(entries and entries[0]["discontinuity"])
    for entry in entries:
        if entry["discontinuity"] or not runs:
            runs.append([])
        runs[-1].append((entry, _timed(entry)))
    placed = placements(
        [[timed for _, timed in run] for run in runs], ended=ended, fetched_at_us=fetched_at_us
    )
    sequence = reader.header.get("EXT-X-MEDIA-SEQUENCE", 0)
    regions: list[Region] = []
    at = 0
    for index, (run, placement) in enumerate(zip(runs, placed, strict=True)):
        made = _region(reader, run, placement, sequence, first_number + index)
        regions.append(_bounded(made, reader.shown.get(at)))
        sequence, at = sequence + len(run), at + len(run)
    return tuple(regions)


def _bounded(region: Region, shown: Shown | None) -> Region:
    if shown is None:
        return region
    clock = PtsClock(
        discontinuity_sequence=region.discontinuity_sequence,
        zero_us=shown.zero_us,
        start_us=shown.start_us,
        end_us=shown.end_us,
    )
    return region.model_copy(update={"pts_clock": clock, "clock": "pdt"})


def _timed(entry: dict[str, Any]) -> Timed:
    moment: datetime | None = entry.get("program_date_time")
    pdt_us = (moment - EPOCH) // timedelta(microseconds=1) if moment is not None else None
    return Timed(round(entry["duration"] * 1_000_000), pdt_us)


def _region(
    reader: _Reader,
    run: list[tuple[dict[str, Any], Timed]],
    placement: Placement,
    sequence: int,
    number: int,
) -> Region:
    segments = tuple(
        _segment(reader, entry, timed, start_us, sequence + index, number)
        for index, ((entry, timed), start_us) in enumerate(
            zip(run, placement.starts_us, strict=True)
        )
    )
    return Region(discontinuity_sequence=number, clock=placement.clock, segments=segments)


def _segment(
    reader: _Reader, entry: dict[str, Any], timed: Timed, start_us: int, sequence: int, number: int
) -> Segment:
    key, span = entry.get("key", {}), entry.get("byterange")
    init = entry.get("init_section")
    length, _, offset = (span or "").partition("@")
    return Segment(
        sequence=sequence,
        discontinuity_sequence=number,
        uri=entry["uri"],
        duration_us=timed.duration_us,
        start_us=start_us,
        pdt_us=timed.pdt_us,
        byte_range=ByteRange(offset=int(offset), length=int(length)) if span else None,
        init=reader.maps[int(init["uri"])] if init else None,
        key=reader.keys[int(key["id"])] if "id" in key else None,
        gap=bool(entry["gap_tag"]),
    )


def _variant(entry: dict[str, Any]) -> Variant:
    info: dict[str, Any] = entry["stream_info"]
    size = _RESOLUTION.fullmatch(info.get("resolution", ""))
    rate = info.get("frame_rate")
    return Variant(
        uri=entry["uri"],
        bandwidth_bps=info["bandwidth"],
        average_bandwidth_bps=info.get("average_bandwidth"),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        frame_rate=_frame_rate(rate) if rate else None,
        codecs=info.get("codecs"),
        audio_group=info.get("audio"),
        subtitle_group=info.get("subtitles"),
    )


def _frame_rate(rate: float) -> Fraction:
    """The exact rate a rounded decimal stands for: 29.97 is 30000/1001."""
    whole = round(rate)
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    if abs(rate - whole) > 0.005 and abs(rate - float(ntsc)) < 0.005:
        return ntsc
    return Fraction(rate).limit_denominator(1000)
