"""DASH presentations of the same media as tests/hls_builder.py: another manifest over its files.

    asset = segment(build(StreamSpec()), container="fmp4", separate_audio=True)
    with DashOrigin(asset, style="number", live=Live(clock)) as origin:
        origin.mpd_url

`style`: `time` and `timed-number` (a SegmentTimeline), `number` (a duration), `list`, `base` (one
file a track, with its own index). Each stream of the asset becomes a Period.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from tests.hls_builder import HlsAsset, MediaSegment
from tests.origin import Live, Origin
from tests.streams import StreamSpec

MPD = "live.mpd"
SCALES = {"video": 90_000, "audio": 48_000}


def stamp(epoch_ms: Fraction | int) -> str:
    """An xs:dateTime."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=float(epoch_ms))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(length_s: Fraction | float) -> str:
    """An xs:duration."""
    return f"PT{float(length_s):.6f}S"


@dataclass(frozen=True)
class Dress:
    """How a manifest spells what there is."""

    style: str = "time"
    nominal_s: Fraction = Fraction(2)
    depth_s: float | None = None
    offsets_s: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))  # added to both PTO and t
    clock: str = ""  # UTCTiming elements
    dated: bool = True  # availabilityStartTime also where it is on demand
    extra: str = ""


class DashOrigin(Origin):
    """An origin that has a manifest besides its playlists."""

    def __init__(self, asset: HlsAsset, *, live: Live | None = None, **dress: Any) -> None:
        super().__init__(asset, live=live)
        self.asset, self.live, self.dress = asset, live, Dress(**dress)
        self.mpd_url = self.url_of(MPD)
        if self.dress.style == "base":
            for name, data in single_files(asset).items():
                self.put(name, data)

    def __enter__(self) -> DashOrigin:
        super().__enter__()
        return self

    def content(self, mount: str, path: str) -> bytes | None:
        """The manifest as it is now, or a file."""
        if path == MPD and MPD not in self._mounts[mount].extra:
            return manifest(self.asset, self.dress, self.live).encode()
        named = re.fullmatch(r"(main|audio-\d)-t(\d+)\.m4s", path)
        return super().content(mount, self._by_time(named[1], int(named[2])) if named else path)

    def _by_time(self, stem: str, ticks: int) -> str:
        """The file whose segment starts at a time."""
        listed = self.asset.playlists[f"{stem}.m3u8"].segments
        scale = SCALES["video" if stem == "main" else "audio"]
        own_s = self.dress.offsets_s[stem != "main"]
        return next(
            (
                s.name
                for s in listed
                if _ticks(s, _shift_s(self.asset, s.region) + own_s, scale) == ticks
            ),
            "no-such-file",
        )


def _shift_s(asset: HlsAsset, number: int) -> Fraction:
    """What is added to stream time to make PTS of it."""
    spec = _spec(asset, number)
    return Fraction(spec.start_pts_90k or 0, 90_000) - spec.first_time_s


def _spec(asset: HlsAsset, number: int) -> StreamSpec:
    return asset.streams[min(number, len(asset.streams) - 1)].spec


def manifest(asset: HlsAsset, dress: Dress, live: Live | None = None) -> str:
    """The manifest of an asset, live as its clock says."""
    periods = "".join(_period(asset, dress, live, number) for number in range(len(asset.regions)))
    ended = live is None or (live.end_list and _everything_shown(asset, live))
    length_s = _ends_s(asset)
    head = [f'type="{"static" if ended else "dynamic"}"']
    if not ended or dress.dated:
        head.append(f'availabilityStartTime="{stamp(asset.epoch_ms)}"')
    if ended:
        head.append(f'mediaPresentationDuration="{seconds(length_s)}"')
    else:
        head.append('minimumUpdatePeriod="PT1S"')
        depth_s = dress.depth_s or (live.window_s if live else 60)
        head.append(f'timeShiftBufferDepth="{seconds(depth_s)}"')
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" minBufferTime="PT2S" '
        f'profiles="urn:mpeg:dash:profile:isoff-live:2011" {" ".join(head)}>'
        f"{dress.clock}{dress.extra}{periods}</MPD>"
    )


def _everything_shown(asset: HlsAsset, live: Live) -> bool:
    listed = asset.playlists["main.m3u8"].segments
    return live.shown(listed)[1] == len(listed)


def _ends_s(asset: HlsAsset) -> Fraction:
    """How long the presentation is, from its epoch."""
    last = asset.playlists["main.m3u8"].segments[-1]
    return (last.end_wall_ms - asset.epoch_ms) / 1000


def _period(asset: HlsAsset, dress: Dress, live: Live | None, number: int) -> str:
    region = asset.regions[number]
    start_s = (region.start_ms - asset.epoch_ms) / 1000
    sets = "".join(
        _set(asset, dress, live, name, number, start_s)
        for name in sorted(asset.playlists, key=lambda n: (n != "main.m3u8", n))
    )
    if not sets:
        return ""
    return f'<Period id="p{number}" start="{seconds(start_s)}">{sets}</Period>'


def _set(
    asset: HlsAsset, dress: Dress, live: Live | None, name: str, number: int, start_s: Fraction
) -> str:
    kind = "video" if name == "main.m3u8" else "audio"
    stem = name.removesuffix(".m3u8")
    every = [s for s in asset.playlists[name].segments if s.region == number]
    if live is not None and dress.style != "number":
        first, last = live.shown(tuple(asset.playlists[name].segments))
        shown = asset.playlists[name].segments[first:last]
        listed = [s for s in every if s in shown]
    else:
        listed = every
    if live is not None and every[0].end_wall_ms > live.clock() + 4000:
        return ""
    if not listed:
        return ""
    body = _segments(asset, dress, kind, stem, every, listed, number)
    spec = _spec(asset, number)
    if kind == "video":
        width, height = spec.size
        what = f'width="{width}" height="{height}" codecs="{_codec(spec.codec)}"'
        head = 'contentType="video" mimeType="video/mp4"'
    else:
        audio = spec.audio[int(stem.rpartition("-")[2])]
        codecs = {"aac": "mp4a.40.2", "ac3": "ac-3", "eac3": "ec-3"}[audio.codec]
        what = f'codecs="{codecs}" audioSamplingRate="{audio.rate}"'
        head = f'contentType="audio" mimeType="audio/mp4" lang="{audio.language}"'
    return (
        f"<AdaptationSet {head}>"
        f'<Representation id="{stem}" bandwidth="{_bandwidth(asset, listed)}" {what}>'
        f"{body}</Representation></AdaptationSet>"
    )


def _codec(name: str) -> str:
    return {"h264": "avc1.42c00d", "hevc": "hvc1.1.6.L93.B0"}[name]


def _bandwidth(asset: HlsAsset, listed: Sequence[MediaSegment]) -> int:
    size = sum(len(asset.files.get(s.name, b"")) for s in listed)
    return int(size * 8 / sum(s.duration_s for s in listed)) + 1


def _segments(
    asset: HlsAsset,
    dress: Dress,
    kind: str,
    stem: str,
    every: Sequence[MediaSegment],
    listed: Sequence[MediaSegment],
    number: int,
) -> str:
    scale = SCALES[kind]
    init = listed[0].init[0] if listed[0].init else ""
    shift_s = _shift_s(asset, number)
    own_s = dress.offsets_s[kind == "audio"]
    # The wall clock of a PTS is epoch + period start + PTS - PTO.
    anchor_s = _first_shown_s(asset, number)
    offset = round((anchor_s + shift_s + own_s) * scale)
    common = f'timescale="{scale}" presentationTimeOffset="{offset}"'
    line = f"<SegmentTimeline>{_line(listed, shift_s + own_s, scale)}</SegmentTimeline>"
    name = f"{stem}-$Number$.m4s"
    match dress.style:
        case "timed-number":
            return (
                f'<SegmentTemplate {common} startNumber="{listed[0].sequence}" media="{name}" '
                f'initialization="{init}">{line}</SegmentTemplate>'
            )
        case "number":
            length = round((dress.nominal_s if kind == "video" else Fraction(192, 100)) * scale)
            return (
                f'<SegmentTemplate {common} startNumber="{every[0].sequence}" media="{name}" '
                f'endNumber="{every[-1].sequence}" '
                f'initialization="{init}" duration="{length}"/>'
            )
        case "base":
            head, index = _single(asset, stem, listed, scale, shift_s + own_s)[1:]
            return (
                f"<BaseURL>{stem}.mp4</BaseURL>"
                f'<SegmentBase {common} indexRange="{head}-{head + index - 1}">'
                f'<Initialization range="0-{head - 1}"/></SegmentBase>'
            )
        case "list":
            urls = "".join(f'<SegmentURL media="{s.name}"/>' for s in listed)
            return (
                f"<SegmentList {common}>"
                f'<Initialization sourceURL="{init}"/>{line}{urls}</SegmentList>'
            )
    return (
        f'<SegmentTemplate {common} media="{stem}-t$Time$.m4s" initialization="{init}">'
        f"{line}</SegmentTemplate>"
    )


def _line(listed: Sequence[MediaSegment], shift_s: Fraction, scale: int) -> str:
    spans = [(_ticks(s, shift_s, scale), s.duration_s * scale) for s in listed]
    return "".join(f'<S t="{t}" d="{round(d)}"/>' for t, d in spans)


def _ticks(one: MediaSegment, shift_s: Fraction, scale: int) -> int:
    """Media time of a segment; what warms a decoder up lies before zero, which cannot be said."""
    return max(0, round((one.start_s + shift_s) * scale))


def _first_shown_s(asset: HlsAsset, number: int) -> Fraction:
    """Stream time of the first picture of a region, which its period begins with."""
    listed = asset.playlists["main.m3u8"].segments
    return next(s.start_s for s in listed if s.region == number)


# ---- one file a track ---------------------------------------------------------------------


def single_files(asset: HlsAsset) -> dict[str, bytes]:
    """Each track as one file with an index."""
    found = {}
    for name, playlist in asset.playlists.items():
        stem = name.removesuffix(".m3u8")
        shift_s = _shift_s(asset, 0)
        scale = SCALES["video" if stem == "main" else "audio"]
        found[f"{stem}.mp4"] = _single(asset, stem, playlist.segments, scale, shift_s)[0]
    return found


def _single(
    asset: HlsAsset, stem: str, listed: Sequence[MediaSegment], scale: int, shift_s: Fraction
) -> tuple[bytes, int, int]:
    """The file, the size of its header and that of its index."""
    init = asset.files[listed[0].init[0]] if listed[0].init else b""
    blobs = [asset.files[s.name] for s in listed]
    index = sidx(
        scale,
        round((listed[0].start_s + shift_s) * scale),
        [(len(b), round(s.duration_s * scale)) for s, b in zip(listed, blobs, strict=True)],
    )
    return init + index + b"".join(blobs), len(init), len(index)


def sidx(
    scale: int, first: int, references: Sequence[tuple[int, int]], *, nested: bool = False
) -> bytes:
    """A version 1 segment index box: sizes and durations of what follows it."""
    entries = b"".join(_reference(size, lasts, nested=nested) for size, lasts in references)
    body = struct.pack(">IIIQQHH", 1 << 24, 1, scale, max(first, 0), 0, 0, len(references))
    return struct.pack(">I4s", 8 + len(body) + len(entries), b"sidx") + body + entries


def _reference(size: int, duration: int, *, nested: bool) -> bytes:
    return struct.pack(">III", size | (int(nested) << 31), duration, 0x9000_0000)
