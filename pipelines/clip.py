"""A clip of a live channel: from readings of its playlists to fetches, cut and publication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipelines import locate, refresh, sounds, spans, variants, window
from schemas.base import Value
from schemas.commands import ClipFromStream
from schemas.connectors import Published
from schemas.cuts import CutPlan, CutReport, CutRequest, FuturePolicy, GapPolicy, MediaIndex, Mode
from schemas.errors import InFuture, InvalidCommand, MissingSegments, Stalled, UnsupportedMedia
from schemas.media import AudioRendition, HeldTrack, MediaPlaylist, MultivariantPlaylist
from schemas.plans import Plan, Publish, Step
from schemas.results import ClipResult, clip_result
from schemas.times import TimeRange

OUTPUT = "clip.mp4"
# An origin whose playlist stands still for this long, and three segments, has stopped.
STALL_MS = 30_000
# Caches beside an origin may say 404 for a while to what its playlist lists already.
FRESH_TARGETS = 3
CLOCK_DOUBT_US = 10_000_000
# What only completes the last frames is waited for so many target durations, no longer.
TAIL_TARGETS = 2
# How many segments before its range a clip may need for the keyframe of its first pictures.
MOST_BACK = 8


class Asked(Protocol):
    """What must be known of a command to bring the media of one range here."""

    @property
    def range(self) -> TimeRange:
        """The wanted wall clock."""

    @property
    def mode(self) -> Mode:
        """How it will be cut."""

    @property
    def gaps(self) -> GapPolicy:
        """What to do where there is no media."""

    @property
    def on_future(self) -> FuturePolicy:
        """What to do about media that is still to come."""


class Source(Value):
    """A playlist to follow: the variant (no rendition), or one audio rendition of it."""

    uri: str
    prefix: str
    rendition: AudioRendition | None = None
    variables: dict[str, str] = {}


class Reading(Value):
    """What every reading of a source has listed, and since when its edge stands still."""

    source: Source
    playlist: MediaPlaylist
    moved_ms: int


class CutFile(Value):
    """The clip's file as it was cut."""

    report: CutReport
    sha256: str
    size: int


class ClipFacts(Value):
    """What is known so far; `sizes` has every file that arrived whole, by name.

    `back` is how many segments before the range are wanted besides. `notes` are what whoever reads
    the result should know of how the media came here. `made` is only looked at where something
    beside the clip tells of it. `kept_us` is how far the readings reached when they were last kept
    for another attempt.
    """

    readings: tuple[Reading, ...] = ()
    now_ms: int = 0
    sizes: dict[str, int] = {}
    back: int = 0
    notes: tuple[str, ...] = ()
    request: CutRequest | None = None
    index: MediaIndex | None = None
    made: CutFile | None = None
    kept_us: int = 0

    @property
    def cut_facts(self) -> tuple[CutRequest, MediaIndex]:
        """What the cut is planned from; only there once everything was indexed."""
        if self.request is None or self.index is None:
            raise InvalidCommand("the cut is planned before anything was indexed")
        return self.request, self.index


def sources(top: MediaPlaylist | MultivariantPlaylist, prefix: str = "") -> tuple[Source, ...]:
    """The playlists a clip is cut from: the best variant, and every audio rendition beside it.

    Files of each are named after its prefix, which begins with the one given.
    """
    if isinstance(top, MediaPlaylist):
        return (Source(uri=top.uri, prefix=f"{prefix}v"),)
    best = variants.best(top)
    beside = [r for r in variants.audio_of(top, best) if r.uri is not None]
    return (
        Source(uri=best.uri, prefix=f"{prefix}v", variables=top.variables),
        *(
            Source(
                uri=r.uri or "", prefix=f"{prefix}a{number}", rendition=r, variables=top.variables
            )
            for number, r in enumerate(beside)
        ),
    )


def updated(
    before: Reading | None, source: Source, fresh: MediaPlaylist, now_ms: int, due_ms: int = 0
) -> Reading:
    """The reading after one more look; raises Stalled where a live edge stands still too long.

    Before `due_ms`, when the range begins, nothing is owed yet: the event may not have begun.
    """
    if before is None:
        return Reading(source=source, playlist=fresh, moved_ms=now_ms)
    merged = refresh.merged(before.playlist, fresh)
    if merged.ended or _edge(merged) != _edge(before.playlist):
        return Reading(source=source, playlist=merged, moved_ms=now_ms)
    if stands_still(before, now_ms, due_ms):
        raise Stalled(f"the playlist has not grown for {(now_ms - before.moved_ms) // 1000} s")
    return before.model_copy(update={"playlist": merged})


def stands_still(before: Reading, now_ms: int, due_ms: int = 0) -> bool:
    """Whether nothing new has been listed, or could be read, for longer than one waits for it."""
    patience_ms = max(STALL_MS, 3 * before.playlist.target_duration_us // 1000)
    return now_ms - max(before.moved_ms, due_ms) > patience_ms


def checked_media(playlist: MediaPlaylist | MultivariantPlaylist) -> MediaPlaylist:
    """The playlist of a variant, which must hold segments, not variants again."""
    if isinstance(playlist, MultivariantPlaylist):
        raise UnsupportedMedia("a variant's playlist lists variants itself")
    return playlist


def fetch_plan(command: Asked, facts: ClipFacts) -> Plan:
    """What is listed of the range and not here yet."""
    _check_future(command, facts)
    steps: list[Step] = []
    for reading, plan in zip(facts.readings, _located(command, facts), strict=True):
        fresh, patience_ms = _fresh(reading, facts.now_ms)
        steps += (
            fetch.model_copy(update={"patience_ms": patience_ms}) if fetch.uri in fresh else fetch
            for fetch in plan.fetches
            if fetch.name not in facts.sizes
        )
    return Plan(steps=tuple(steps))


def _fresh(reading: Reading, now_ms: int) -> tuple[frozenset[str], int]:
    """What a growing playlist listed only just now, and how long it may take to be there."""
    playlist = reading.playlist
    patience_us = FRESH_TARGETS * playlist.target_duration_us
    # Where the edge is worked out from a clock, an origin may lag behind what it promises.
    patience_us += CLOCK_DOUBT_US if playlist.slack_us else 0
    grows = not playlist.ended and (now_ms - reading.moved_ms) * 1000 <= patience_us
    if not grows or not playlist.segments:
        return frozenset(), 0
    since_us = playlist.segments[-1].end_us - patience_us
    fresh = (segment.uri for segment in playlist.segments if segment.end_us > since_us)
    return frozenset(fresh), patience_us // 1000


def look_again_ms(command: Asked, facts: ClipFacts) -> int | None:
    """When to read the playlists again; None once all of the range is listed."""
    times = (
        _selection(command, facts, reading, tail=_tail_may_come(reading, facts.now_ms))
        for reading in facts.readings
    )
    return min((s.look_again_ms for s in times if s.look_again_ms is not None), default=None)


def cut_request(command: ClipFromStream, facts: ClipFacts) -> CutRequest:
    """The cut to make of what was fetched; raises MissingSegments where nothing was."""
    return CutRequest(
        wanted=command.range,
        mode=command.mode,
        gaps=command.gaps,
        tracks=held_tracks(command, facts),
        output=OUTPUT,
        tags=tags(command.carried.metadata | command.metadata),
    )


def cut_plan(request: CutRequest, index: MediaIndex) -> CutPlan:
    """What the clip is cut into: where all is to be encoded, its sound too."""
    planned = spans.plan(request, index)
    return sounds.as_aac(planned) if request.mode == "encode" else planned


def leaning(request: CutRequest, index: MediaIndex, facts: ClipFacts) -> ClipFacts:
    """The facts with one segment more before the range, where its first pictures lean on one."""
    if facts.back >= MOST_BACK or not spans.leans_back(request, index):
        return facts
    return facts.model_copy(update={"back": facts.back + 1})


def expected_request(command: ClipFromStream, facts: ClipFacts) -> CutRequest | None:
    """The cut there will be if all that is listed arrives; None while more is to be listed."""
    if look_again_ms(command, facts) is not None:
        return None
    names = (fetch.name for plan in _located(command, facts) for fetch in plan.fetches)
    return cut_request(command, facts.model_copy(update={"sizes": dict.fromkeys(names, 0)}))


def sizeless(request: CutRequest) -> CutRequest:
    """The request without the sizes of its files, which no index depends on."""
    tracks = tuple(
        track.model_copy(
            update={
                "segments": tuple(s.model_copy(update={"size": 0}) for s in track.segments),
                "anchors": tuple(s.model_copy(update={"size": 0}) for s in track.anchors),
            }
        )
        for track in request.tracks
    )
    return request.model_copy(update={"tracks": tracks})


def held_tracks(command: Asked, facts: ClipFacts) -> tuple[HeldTrack, ...]:
    """What arrived of the range; raises MissingSegments where nothing did."""
    tracks = tuple(locate.held(plan, facts.sizes) for plan in _located(command, facts))
    if not any(segment.name for track in tracks for segment in track.segments):
        whole = (command.range.start_ms, command.range.end_ms)
        raise MissingSegments("no media of the range could be fetched", gaps=(whole,))
    return tracks


def tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata an MP4 can carry itself."""
    known = {"title", "artist", "comment", "description", "date", "genre", "copyright", "language"}
    return {name: value for name, value in metadata.items() if name in known}


def publish_plan(command: ClipFromStream) -> Plan:
    """The finished clip goes to its destination."""
    return Plan(steps=(Publish(name=OUTPUT, to=command.destination),))


def result(command: ClipFromStream, report: CutReport, published: Published) -> ClipResult:
    """The answer of the contract."""
    return clip_result(requested(command), report, published)


def requested(command: ClipFromStream) -> dict[str, object]:
    """What was asked, as it is echoed in the result."""
    return {
        "startMs": command.range.start_ms,
        "endMs": command.range.end_ms,
        "mode": command.mode,
        "gaps": command.gaps,
        "onFuture": command.on_future,
        "fileId": command.file_id,
        "requestedFileId": command.requested_file_id,
    }


def _selections(command: Asked, facts: ClipFacts) -> tuple[window.Selection, ...]:
    return tuple(_selection(command, facts, reading) for reading in facts.readings)


def _selection(
    command: Asked, facts: ClipFacts, reading: Reading, *, tail: bool = False
) -> window.Selection:
    wanted, policy = command.range, window.VIDEO.model_copy(update={"back": facts.back})
    if reading.source.rendition:
        wanted, policy = _heard_range(command, facts, reading.playlist), window.AUDIO
    policy = policy.model_copy(update={"await_tail": tail})
    return window.select(reading.playlist, wanted, facts.now_ms * 1000, policy)


def _heard_range(command: Asked, facts: ClipFacts, sound: MediaPlaylist) -> TimeRange:
    """Where sound is wanted: pictures that are only copied grow outward, as far as segments."""
    wanted = command.range
    if command.mode != "copy":
        return wanted
    shown = window.select(facts.readings[0].playlist, wanted, facts.now_ms * 1000).segments
    if not shown or sound.held is None:
        return wanted
    start_ms = max(min(s.start_us for s in shown) // 1000, sound.held.start_ms)
    end_ms = max(s.end_us for s in shown) // 1000
    return TimeRange(start_ms=min(wanted.start_ms, start_ms), end_ms=max(wanted.end_ms, end_ms))


def _tail_may_come(reading: Reading, now_ms: int) -> bool:
    """Whether to wait for the segment after the range, whose first bytes may belong to it."""
    return now_ms - reading.moved_ms <= TAIL_TARGETS * reading.playlist.target_duration_us // 1000


def _located(command: Asked, facts: ClipFacts) -> tuple[locate.Located, ...]:
    return tuple(
        locate.located(
            _selection(command, facts, reading),
            prefix=reading.source.prefix,
            gaps=command.gaps,
            rendition=reading.source.rendition,
        )
        for reading in facts.readings
    )


def _check_future(command: Asked, facts: ClipFacts) -> None:
    if command.on_future == "wait":
        return
    for selection in _selections(command, facts):
        if selection.pending_from_ms is not None:
            raise InFuture(
                f"the range ends at {command.range.end_ms}; broadcast so far up to "
                f"{selection.pending_from_ms}"
            )


def _edge(playlist: MediaPlaylist) -> int | None:
    segments = playlist.segments
    return segments[-1].end_us if segments else None
