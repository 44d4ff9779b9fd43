"""Files and whole streams on their own clock: counted from their first frame, as if broadcast."""

from __future__ import annotations

from fractions import Fraction

from pipelines import hls, locate, window
from pipelines.clip import Source, checked_media
from pipelines.rendition import MOST_PRIMING
from schemas.errors import CorruptMedia, UnsupportedMedia
from schemas.media import MediaInfo, MediaPlaylist, PtsClock, Region, Segment, StreamInfo
from schemas.renditions import Pace

# Codecs whose packets the cut copies; others are encoded anew before.
COPIED_PICTURES = frozenset({"h264", "hevc"})
COPIED_SOUND = frozenset({"aac", "ac3", "eac3", "opus", "flac"})
_STILLS = frozenset({"mjpeg", "png", "bmp", "gif", "webp", "tiff"})
# A part's files are read by name alone: nothing is fetched from here.
_BASE = "https://held.invalid/"


def at_zero(playlist: MediaPlaylist) -> MediaPlaylist:
    """The playlist of a stream that has ended, its first frame at zero of the clock."""
    if not playlist.ended:
        raise UnsupportedMedia("the stream is live: name a channelId, or a clip's fileId")
    if not playlist.segments:
        raise CorruptMedia("the playlist lists no media")
    by_us = playlist.segments[0].start_us
    regions = tuple(_earlier(region, by_us) for region in playlist.regions)
    return playlist.model_copy(update={"regions": regions})


def _earlier(region: Region, by_us: int) -> Region:
    clock = region.pts_clock
    return region.model_copy(
        update={
            "segments": tuple(_moved(segment, by_us) for segment in region.segments),
            "pts_clock": None if clock is None else _set(clock, by_us),
        }
    )


def _moved(segment: Segment, by_us: int) -> Segment:
    pdt_us = None if segment.pdt_us is None else segment.pdt_us - by_us
    return segment.model_copy(update={"start_us": segment.start_us - by_us, "pdt_us": pdt_us})


def _set(clock: PtsClock, by_us: int) -> PtsClock:
    return clock.model_copy(
        update={
            "zero_us": clock.zero_us - Fraction(by_us),
            "start_us": clock.start_us - by_us,
            "end_us": None if clock.end_us is None else clock.end_us - by_us,
        }
    )


def of_file(text: str, begin_us: int = 0) -> MediaPlaylist:
    """What a file was split into, counted from its first frame, which is at `begin_us`."""
    listed = at_zero(checked_media(hls.parse(text, f"{_BASE}file.m3u8", fetched_at_us=0)))
    first, *others = (_earlier(region, -begin_us) for region in listed.regions)
    begin, *rest = first.segments
    stated = first.model_copy(
        update={"clock": "pdt", "segments": (begin.model_copy(update={"pdt_us": begin_us}), *rest)}
    )
    return listed.model_copy(update={"regions": (stated, *others)})


def source(prefix: str) -> Source:
    """What a file is followed as: a playlist that will never change."""
    return Source(uri=f"{_BASE}file.m3u8", prefix=f"{prefix}v")


def names(playlist: MediaPlaylist, prefix: str) -> dict[str, str]:
    """What each file of the playlist is called where the cut looks for it, by its present name."""
    held = playlist.held
    if held is None:
        raise CorruptMedia("the file holds no media")
    located = locate.located(window.select(playlist, held, 0), prefix=f"{prefix}v")
    return {fetch.uri.removeprefix(_BASE): fetch.name for fetch in located.fetches}


def pictures(info: MediaInfo) -> StreamInfo | None:
    """The file's pictures; a cover is none."""
    return next((s for s in info.streams if s.kind == "video" and not _is_cover(s)), None)


def _is_cover(stream: StreamInfo) -> bool:
    return stream.codec in _STILLS and stream.frame_rate is None


def trimmed(info: MediaInfo, paced: Pace) -> frozenset[int]:
    """The streams of which an edit list hides a part: copied packets would bring it back."""
    hidden = {track.index: track.hidden for track in paced.tracks}
    return frozenset(
        s.index
        for s in info.streams
        if hidden.get(s.index, 0) > (MOST_PRIMING if s.kind == "audio" else 0)
    )


def is_copied(stream: StreamInfo, trimmed: frozenset[int]) -> bool:
    """Whether its packets are cut as they are; a flag that turns pictures would be lost."""
    if stream.index in trimmed:
        return False
    if stream.kind == "audio":
        return stream.codec in COPIED_SOUND
    return stream.codec in COPIED_PICTURES and not stream.rotation_deg and not stream.mirrored


def changes(info: MediaInfo, trimmed: frozenset[int]) -> tuple[str, ...]:
    """What is encoded anew before the file is cut, as the result tells it."""
    seen = pictures(info)
    found = []
    if seen is not None and not is_copied(seen, trimmed):
        turned = f" turned by {seen.rotation_deg} degrees" if seen.rotation_deg else ""
        turned += " mirrored" if seen.mirrored else ""
        found.append(f"pictures of {seen.codec}{turned} were encoded as h264")
    odd = {s.codec for s in info.streams if s.kind == "audio" and not is_copied(s, trimmed)}
    found += [f"sound of {codec} was encoded as aac" for codec in sorted(odd)]
    return tuple(found)
