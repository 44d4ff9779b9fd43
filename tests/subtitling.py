"""WebVTT beside a presentation of tests/media_builder.py, as packagers write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from tests.hls_builder import HlsAsset, MediaPlaylist, MediaSegment

Words = tuple[float, float, str]
"""From and to, in seconds of the stream, and what is shown."""


def subtitled(
    asset: HlsAsset,
    tracks: Mapping[str, Sequence[Words]],
    *,
    bases_90k: Sequence[int] = (900_000,),
    style: str = "",
    mapped: bool = True,
    dated: bool = True,
    announced: bool = True,
    attributes: Mapping[str, str] = {},
) -> HlsAsset:
    """The presentation with a WebVTT rendition a track, on the grid of its pictures.

    A cue is repeated in each segment it touches. `bases_90k` are the PTS of stream time zero,
    one a region. `attributes` are further ones of a track's EXT-X-MEDIA.
    """
    main = asset.playlist()
    files, playlists = dict(asset.files), dict(asset.playlists)
    for track, words in tracks.items():
        entries = []
        for part in main.segments:
            name = f"{track}-{part.sequence}.vtt"
            base = bases_90k[part.region] if mapped else None
            files[name] = _segment(part, words, base, style).encode()
            entries.append(_entry(part, name, dated=dated, announced=announced))
        playlists[f"{track}.m3u8"] = MediaPlaylist(f"{track}.m3u8", tuple(entries))
    masters = {"master.m3u8": _master(asset, tracks, attributes)}
    return replace(asset, files=files, playlists=playlists, masters=masters, entry="master.m3u8")


def _entry(part: MediaSegment, name: str, *, dated: bool, announced: bool) -> MediaSegment:
    return replace(
        part,
        name=name,
        init=None,
        key=None,
        byte_range=None,
        pdt_ms=part.pdt_ms if dated else None,
        discontinuity=part.discontinuity and announced,
    )


def _segment(part: MediaSegment, words: Sequence[Words], base: int | None, style: str) -> str:
    head = ["WEBVTT"]
    if base is not None:
        head.append(f"X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{base % 2**33}")
    blocks = ["\n".join(head), *([style] if style else [])]
    end_s = part.start_s + part.duration_s
    for start, end, text in words:
        if start < end_s and part.start_s < end:
            blocks.append(f"{_clock(start)} --> {_clock(end)} line:80%\n{text}")
    return "\n\n".join(blocks) + "\n"


def _clock(seconds: float) -> str:
    ms = round(Fraction(str(seconds)) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def _master(
    asset: HlsAsset, tracks: Mapping[str, Sequence[Words]], attributes: Mapping[str, str]
) -> str:
    lines = ["#EXTM3U"]
    for track in tracks:
        more = attributes.get(track, "")
        lines.append(
            f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="{track}",'
            f'LANGUAGE="{track.partition("-")[0]}",URI="{track}.m3u8"{more}'
        )
    width, height = asset.streams[0].spec.size
    lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION={width}x{height},SUBTITLES="subs"')
    return "\n".join([*lines, "main.m3u8", ""])
