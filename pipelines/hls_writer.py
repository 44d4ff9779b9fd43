"""A ladder's multivariant playlist, written; and what ffmpeg wrote beneath it, checked."""

from __future__ import annotations

from fractions import Fraction

from pipelines import hls
from schemas.base import Value
from schemas.errors import CorruptMedia
from schemas.media import MediaPlaylist, MultivariantPlaylist

# The largest difference two playlists round the same boundary by.
_ROUNDING_US = 2000
_BASE = "https://made.invalid/"


class LadderTrack(Value):
    """One media playlist of a ladder: its label, what it measures, and what its codec is called."""

    label: str
    uri: str
    codec: str
    peak_bps: int
    average_bps: int
    width: int = 0
    height: int = 0
    frame_rate: Fraction | None = None
    hdr: str | None = None
    language: str | None = None
    channels: int = 2


class TextTrack(Value):
    """The playlist of a track of subtitles."""

    label: str
    uri: str
    language: str | None = None


def master(
    pictures: tuple[LadderTrack, ...],
    sounds: tuple[LadderTrack, ...],
    texts: tuple[TextTrack, ...] = (),
) -> str:
    """The multivariant playlist: the best rung first, sound and subtitles groups of their own."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    ordered = sorted(pictures, key=lambda rung: (-rung.width * rung.height, -rung.peak_bps))
    if ordered:
        lines += [_sound_line(sound, first=n == 0) for n, sound in enumerate(sounds)]
        lines += [_text_line(text) for text in texts]
    for rung in ordered or sounds:
        shown = texts if ordered else ()
        lines += [_variant_line(rung, sounds if ordered else (), shown), rung.uri]
    return "\n".join(lines) + "\n"


def text_playlist(uri: str, duration_ms: int) -> str:
    """A playlist whose one segment is a whole file of subtitles."""
    seconds = max(1, -(-duration_ms // 1000))
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{seconds}"]
    lines += ["#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD"]
    return "\n".join([*lines, f"#EXTINF:{duration_ms / 1000:.3f},", uri, "#EXT-X-ENDLIST", ""])


def media(text: str, name: str) -> MediaPlaylist:
    """A media playlist of ours, read by the reader everybody's playlists are read by."""
    found = hls.parse(text, f"{_BASE}{name}", fetched_at_us=0)
    if not isinstance(found, MediaPlaylist) or not found.segments or not found.ended:
        raise CorruptMedia(f"{name} is no finished media playlist")
    return found


def names(playlist: MediaPlaylist) -> tuple[str, ...]:
    """The names of the segments, in order."""
    return tuple(segment.uri.removeprefix(_BASE) for segment in playlist.segments)


def length_us(playlist: MediaPlaylist) -> int:
    """How long all segments are together."""
    return sum(segment.duration_us for segment in playlist.segments)


def check_master(text: str, count: int, texts: int = 0) -> None:
    """Refuse a multivariant playlist that our own reader does not read as what was meant."""
    found = hls.parse(text, f"{_BASE}master.m3u8", fetched_at_us=0)
    if not isinstance(found, MultivariantPlaylist) or len(found.variants) != count:
        raise CorruptMedia("the multivariant playlist does not list every rung")
    if len(found.subtitles) != texts:
        raise CorruptMedia("the multivariant playlist does not list every track of subtitles")


def check_aligned(playlists: tuple[MediaPlaylist, ...]) -> None:
    """Refuse a ladder whose rungs do not change segments at the same instants."""
    grids = [_boundaries(playlist) for playlist in playlists]
    for grid in grids[1:]:
        apart = [abs(a - b) for a, b in zip(grids[0], grid, strict=False)]
        # The end of the last segment is that of the rung's own last frame.
        if len(grid) != len(grids[0]) or max(apart[:-1], default=0) > _ROUNDING_US:
            raise CorruptMedia("the rungs of the ladder do not share their segment boundaries")


def _boundaries(playlist: MediaPlaylist) -> list[int]:
    at, found = 0, []
    for segment in playlist.segments:
        at += segment.duration_us
        found.append(at)
    return found


def _sound_line(sound: LadderTrack, *, first: bool) -> str:
    language = f',LANGUAGE="{sound.language}"' if sound.language else ""
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="{sound.label}"{language},'
        f"DEFAULT={'YES' if first else 'NO'},AUTOSELECT=YES,"
        f'CHANNELS="{sound.channels}",URI="{sound.uri}"'
    )


def _text_line(text: TextTrack) -> str:
    language = f',LANGUAGE="{text.language}"' if text.language else ""
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="{text.label}"{language},'
        f'DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="{text.uri}"'
    )


def _variant_line(
    rung: LadderTrack, sounds: tuple[LadderTrack, ...], texts: tuple[TextTrack, ...]
) -> str:
    codecs = ",".join(dict.fromkeys((rung.codec, *(sound.codec for sound in sounds))))
    peak = rung.peak_bps + max((sound.peak_bps for sound in sounds), default=0)
    average = rung.average_bps + max((sound.average_bps for sound in sounds), default=0)
    attributes = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={average}", f'CODECS="{codecs}"']
    if rung.height:
        attributes.append(f"RESOLUTION={rung.width}x{rung.height}")
    if rung.frame_rate is not None:
        attributes.append(f"FRAME-RATE={float(rung.frame_rate):.3f}")
    if rung.height:
        attributes.append(f"VIDEO-RANGE={rung.hdr or 'SDR'}")
    if sounds:
        attributes.append('AUDIO="sound"')
    if texts:
        attributes.append('SUBTITLES="text"')
    return f"#EXT-X-STREAM-INF:{','.join(attributes)}"
