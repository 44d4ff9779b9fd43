"""From a DASH manifest to the playlists a clip is cut from: a track over all periods is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from pipelines import dash_timeline
from pipelines.dash import Kind, Mpd, Period, Resource, Track
from pipelines.dash_index import Indexed
from pipelines.dash_timeline import MAX_SEGMENTS, MICRO, Listed
from pipelines.variants import holds_video
from schemas.errors import CorruptMedia, UnsupportedMedia
from schemas.media import (
    AudioRendition,
    InitSection,
    MediaPlaylist,
    MultivariantPlaylist,
    PtsClock,
    Region,
    Segment,
    SegmentKey,
    Variant,
)
from schemas.times import TimeRange

MAX_RENDITIONS = 64
# Roles of pictures that are shown beside the programme, or in its place to some.
ASIDE = frozenset(
    {"alternate", "supplementary", "sign", "commentary", "caption", "subtitle", "emergency"}
)
YEAR_2000_US = 946_684_800 * MICRO
LATEST_US = 32_503_680_000 * MICRO
AROUND_US = 10 * MICRO
# How long a presentation that is still updated may be over before it is.
OVER_US = 30 * MICRO
GROUP = "audio"
Indexes = Mapping[Resource, Sequence[Indexed]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What makes a track the same one in another period, or in a later reading."""

    kind: Kind
    id: str
    codecs: str
    pixels: int
    bandwidth_bps: int
    language: str
    role: str
    channels: str
    label: str

    @property
    def family(self) -> str:
        """The codec, whatever its profile."""
        return _family(self.codecs)


def multivariant(mpd: Mpd, address: str) -> MultivariantPlaylist:
    """The tracks of a manifest as variants and audio renditions.

    Each is named by the address the manifest is to be read from again, and a fragment. Raises
    UnsupportedMedia where it holds nothing that can be cut.
    """
    pictures = [t for p in mpd.periods for t in p.tracks if t.kind == "video"]
    videos = _principal(_clear(pictures))
    sounds = _clear([t for p in mpd.periods for t in p.tracks if t.kind == "audio"])
    if not videos and not sounds:
        why = f"; left out: {', '.join(mpd.left_out)}" if mpd.left_out else ""
        raise UnsupportedMedia(f"the manifest lists no pictures or sound in ISO files{why}")
    found = {_wanted(track): track for track in videos}
    group = GROUP if sounds and videos else None
    variants = tuple(_variant(address, w, t, group) for w, t in found.items())
    return MultivariantPlaylist(uri=address, variants=variants, audio=_renditions(address, sounds))


def names_track(fragment: str) -> bool:
    """Whether the fragment of an address is one that names a track."""
    return fragment.startswith("kind=")


def sound_alone(top: MultivariantPlaylist) -> str | None:
    """The address of the first sound, where a manifest holds no pictures at all."""
    return top.audio[0].uri if not top.variants and top.audio else None


def indexes_needed(mpd: Mpd, uri: str) -> tuple[Resource, ...]:
    """The segment indexes to fetch before a track's segments are known."""
    wanted = _addressed(uri)
    found = (_same_track(period, wanted) for period in mpd.periods)
    needed = (t.addressing.index for t in found if t is not None)
    return tuple(dict.fromkeys(index for index in needed if index is not None))


def needs_clock(mpd: Mpd) -> bool:
    """Whether what there is of a manifest depends on what time it is."""
    return mpd.dynamic and any(
        not track.addressing.timeline or track.addressing.timeline[-1].count is None
        for period in mpd.periods
        for track in period.tracks
    )


def media(
    mpd: Mpd,
    uri: str,
    now_us: int,
    indexes: Indexes | None = None,
    span: TimeRange | None = None,
) -> MediaPlaylist:
    """What there is by now of the track an address with a fragment names.

    `now_us` is the time by the origin's clock; `indexes` what files with an index of their own
    list. Far from `span` only the ends of each period are listed: a window of days is not gone
    through for a minute of it.
    """
    found = _Listing(mpd, _addressed(uri), now_us, indexes or {}, span)
    kept = _held(mpd, found.regions())
    return MediaPlaylist(
        uri=uri,
        regions=kept,
        target_duration_us=_target_us(mpd, kept, found.tracks),
        ended=_ended(mpd, now_us),
        media_sequence=kept[0].segments[0].sequence if kept else 0,
        timed=True,
        slack_us=max((_slack_us(track) for track in found.tracks), default=0),
    )


class _Listing:
    """What is listed of one track, period by period; `tracks` are those it was found in."""

    def __init__(
        self, mpd: Mpd, wanted: Wanted, now_us: int, indexes: Indexes, span: TimeRange | None
    ) -> None:
        self._mpd, self._wanted, self._now_us, self._indexes = mpd, wanted, now_us, indexes
        self._around_us = (
            (span.start_ms * 1000 - AROUND_US, span.end_ms * 1000 + AROUND_US) if span else None
        )
        self._room = MAX_SEGMENTS
        self.tracks: list[Track] = []

    def regions(self) -> tuple[Region, ...]:
        """One region a period, as far as there is room."""
        found: list[Region] = []
        # The newest first: of a live presentation that is too long, the oldest is let go.
        for period in reversed(self._mpd.periods):
            track = _same_track(period, self._wanted)
            if track is not None and (listed := self._listed(period, track)):
                region = _region(self._mpd, period, track, listed)
                if not found or _number(region) < _number(found[-1]):
                    found.append(region)
            if self._room <= 0 and self._mpd.dynamic:
                break
        return tuple(reversed(found))

    def _listed(self, period: Period, track: Track) -> tuple[Listed, ...]:
        self.tracks.append(track)
        index = track.addressing.index
        indexed = self._indexes.get(index) if index else None
        found = dash_timeline.listed(
            self._mpd, period, track, self._now_us, self._room, indexed, self._around_us
        )
        self._room -= len(found)
        return found


# --- tracks


def _clear(tracks: Sequence[Track]) -> list[Track]:
    """Those that are not encrypted, where there are such."""
    clear = [track for track in tracks if track.encrypted is None]
    return clear or list(tracks)


def _principal(tracks: Sequence[Track]) -> list[Track]:
    """The programme itself, not a signed or another view of it, where it is told apart."""
    main = [t for t in tracks if "main" in t.role.split() or not ASIDE & set(t.role.split())]
    return main or list(tracks)


def _wanted(track: Track) -> Wanted:
    return Wanted(
        kind=track.kind,
        id=track.id,
        codecs=track.codecs or "",
        pixels=(track.width or 0) * (track.height or 0),
        bandwidth_bps=track.bandwidth_bps,
        language=track.language or "",
        role=track.role,
        channels=track.channels or "",
        label=track.label,
    )


def _address(address: str, wanted: Wanted) -> str:
    """The manifest's address with a fragment that names a track: it is never sent."""
    told = {name: str(getattr(wanted, name)) for name in Wanted.__slots__}
    fragment = urlencode({name: value for name, value in told.items() if value})
    return f"{address}#{fragment}"


def _addressed(uri: str) -> Wanted:
    told = dict(parse_qsl(uri.partition("#")[2], max_num_fields=16))
    kind: Kind = "audio" if told.get("kind") == "audio" else "video"
    return Wanted(
        kind=kind,
        id=told.get("id", ""),
        codecs=told.get("codecs", ""),
        pixels=_number_in(told.get("pixels", "")),
        bandwidth_bps=_number_in(told.get("bandwidth_bps", "")),
        language=told.get("language", ""),
        role=told.get("role", ""),
        channels=told.get("channels", ""),
        label=told.get("label", ""),
    )


def _number_in(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _variant(address: str, wanted: Wanted, track: Track, group: str | None) -> Variant:
    return Variant(
        uri=_address(address, wanted),
        bandwidth_bps=track.bandwidth_bps,
        width=track.width,
        height=track.height,
        frame_rate=track.frame_rate,
        codecs=track.codecs,
        audio_group=group,
    )


def _renditions(address: str, sounds: Sequence[Track]) -> tuple[AudioRendition, ...]:
    """One rendition for each kind of sound: a language, a role, a codec, a number of channels."""
    best: dict[tuple[str, ...], Track] = {}
    for track in sounds:
        wanted = _wanted(track)
        key = (wanted.language, wanted.role, wanted.family, wanted.channels, wanted.label)
        if key not in best or track.bandwidth_bps > best[key].bandwidth_bps:
            best[key] = track
    if len(best) > MAX_RENDITIONS:
        raise UnsupportedMedia(f"the manifest has over {MAX_RENDITIONS} kinds of sound")
    chosen = tuple(best.values())
    default = next((t for t in chosen if "main" in t.role.split()), chosen[0] if chosen else None)
    return tuple(
        _rendition(address, track, n, default=track is default) for n, track in enumerate(chosen)
    )


def _rendition(address: str, track: Track, number: int, *, default: bool) -> AudioRendition:
    channels = track.channels if track.channels and track.channels.isdigit() else None
    return AudioRendition(
        group_id=GROUP,
        name=track.label or track.language or f"sound {number + 1}",
        language=track.language,
        default=default,
        autoselect=True,
        channels=channels,
        characteristics=track.role or None,
        uri=_address(address, _wanted(track)),
    )


def _same_track(period: Period, wanted: Wanted) -> Track | None:
    """The track of a period that goes on where this one stood, or comes nearest to it."""
    tracks = _clear([track for track in period.tracks if track.kind == wanted.kind])
    if wanted.kind == "audio":
        spoken = {track.language for track in tracks}
        # A period that speaks one language only (a spot) is not silent in the others.
        if len(spoken) > 1:
            tracks = [t for t in tracks if (t.language or "") == wanted.language]
    elif any(_cuttable(track) for track in tracks):
        tracks = [track for track in tracks if _cuttable(track)]
    return min(tracks, key=lambda track: _distance(_wanted(track), wanted), default=None)


def _cuttable(track: Track) -> bool:
    return holds_video(Variant(uri="", bandwidth_bps=0, codecs=track.codecs, width=track.width))


def _distance(one: Wanted, other: Wanted) -> tuple[bool | int, ...]:
    """How little two tracks have in common; identifiers alone may be used anew."""
    return (
        one.language != other.language,
        one.family != other.family,
        one.role != other.role,
        one.channels != other.channels,
        abs(one.pixels - other.pixels),
        one.id != other.id,
        one.label != other.label,
        abs(one.bandwidth_bps - other.bandwidth_bps),
    )


def _family(codecs: str) -> str:
    name = codecs.partition(",")[0].partition(".")[0].strip().lower()
    same = {"avc3": "avc1", "hev1": "hvc1"}
    return same.get(name, name)


# --- segments


def _region(mpd: Mpd, period: Period, track: Track, found: Sequence[Listed]) -> Region:
    zero = dash_timeline.zero_us(mpd, period, track.addressing)
    begin_us = (mpd.zero_us or 0) + period.start_us
    number = begin_us // 1000
    place = _placing(zero, track.addressing.timescale)
    clock = _clock(mpd, found, place)
    if not 0 <= place(found[-1].start + found[-1].duration) <= LATEST_US:
        raise CorruptMedia("the manifest places media before 1970 or after the year 3000")
    made = _segments(
        track, found, number, place, _first_sequence(mpd, track, found, begin_us, place)
    )
    end_us = None if period.end_us is None else begin_us - period.start_us + period.end_us
    made = (_beginning_at(made[0], begin_us), *made[1:])
    if end_us is not None and (period.cut_off or _slack_us(track)):
        made = (*made[:-1], _ending_by(made[-1], end_us))
    stated = PtsClock(
        discontinuity_sequence=number,
        zero_us=zero,
        start_us=begin_us,
        end_us=end_us if period.cut_off else None,
    )
    return Region(discontinuity_sequence=number, clock=clock, segments=made, pts_clock=stated)


def _clock(
    mpd: Mpd, found: Sequence[Listed], place: Callable[[int], int]
) -> Literal["pdt", "estimated"]:
    """Whether the manifest states a wall clock."""
    if mpd.zero_us is None:
        return "estimated"
    # On demand, the epoch is written where nothing is meant; unless media time is the wall clock.
    means = mpd.dynamic or mpd.zero_us or place(found[0].start) >= YEAR_2000_US
    return "pdt" if means else "estimated"


def _beginning_at(segment: Segment, begin_us: int) -> Segment:
    """The first segment of a period, which may begin before it: that time is the one before's."""
    start_us = max(segment.start_us, begin_us)
    length_us = max(0, segment.end_us - start_us)
    return segment.model_copy(update={"start_us": start_us, "duration_us": length_us})


def _ending_by(segment: Segment, end_us: int) -> Segment:
    """The last segment of a period, which may reach past its end."""
    length_us = max(0, min(segment.end_us, end_us) - segment.start_us)
    return segment.model_copy(update={"duration_us": length_us})


def _placing(zero: Fraction, scale: int) -> Callable[[int], int]:
    """From media time in ticks to the wall clock in whole microseconds."""
    above, below = zero.numerator * scale, zero.denominator * scale
    tick = MICRO * zero.denominator
    return lambda ticks: (above + ticks * tick) // below


def _first_sequence(
    mpd: Mpd, track: Track, found: Sequence[Listed], begin_us: int, place: Callable[[int], int]
) -> int:
    """The number of the first segment, which must name it whenever it is read.

    A live timeline without numbers in its addresses slides: there the time names a segment.
    """
    addressing = track.addressing
    slides = mpd.dynamic and addressing.timeline is not None
    if slides and "$Number" not in (addressing.media or ""):
        return max(0, place(found[0].start) - begin_us)
    return found[0].number


def _segments(
    track: Track, found: Sequence[Listed], number: int, place: Callable[[int], int], first: int
) -> tuple[Segment, ...]:
    start = dash_timeline.init_of(track)
    init = InitSection(uri=start.uri, byte_range=start.span) if start else None
    if init is None:
        raise UnsupportedMedia("a track without an initialisation section is not read")
    key = None
    if track.encrypted is not None:
        key = SegmentKey(method="OTHER", uri="", key_format=track.encrypted)
    starts = [place(one.start) for one in found]
    return tuple(
        Segment(
            sequence=first + one.number - found[0].number,
            discontinuity_sequence=number,
            uri=one.place.uri,
            duration_us=place(one.start + one.duration) - start_us,
            start_us=start_us,
            byte_range=one.place.span,
            init=init,
            key=key,
        )
        for one, start_us in zip(found, starts, strict=True)
    )


def _number(region: Region) -> int:
    return region.discontinuity_sequence


def _held(mpd: Mpd, regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """Without what has left the time shift buffer, counted from what is listed last."""
    if mpd.depth_us is None or not regions:
        return regions
    since_us = regions[-1].segments[-1].end_us - mpd.depth_us
    kept = (
        region.model_copy(
            update={"segments": tuple(s for s in region.segments if s.end_us > since_us)}
        )
        for region in regions
    )
    return tuple(region for region in kept if region.segments)


def _target_us(mpd: Mpd, regions: Iterable[Region], tracks: Iterable[Track]) -> int:
    """How long the longest segment lasts, as far as is known."""
    longest = max((s.duration_us for r in regions for s in r.segments), default=0)
    if longest:
        return longest
    said = max(
        ((t.addressing.duration or 0) * MICRO // t.addressing.timescale for t in tracks),
        default=0,
    )
    return said or mpd.longest_us or 2 * MICRO


def _slack_us(track: Track) -> int:
    """How far segments may lie beside their nominal place: half of one, says the standard."""
    addressing = track.addressing
    if addressing.timeline is not None or addressing.index is not None or not addressing.duration:
        return 0
    return addressing.duration * MICRO // addressing.timescale // 2


def _ended(mpd: Mpd, now_us: int) -> bool:
    """Whether nothing more will come."""
    if not mpd.dynamic:
        return True
    end_us = mpd.end_us
    if end_us is None and mpd.update_us is None and mpd.periods:
        end_us = mpd.periods[-1].end_us
    if end_us is None:
        return False
    grace_us = 0 if mpd.update_us is None else OVER_US
    return now_us >= (mpd.zero_us or 0) + end_us + grace_us
