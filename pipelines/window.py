"""From a wall-clock range to the segments that hold it, the holes in it, and what to wait for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.base import Value
from schemas.errors import OutsideWindow
from schemas.media import MediaPlaylist, PtsClock, Region, Segment
from schemas.times import TimeRange

Clock = Literal["pdt", "estimated"]
Absence = Literal["declared", "absent", "ended"]

# PDTs are written in whole milliseconds: edges closer than that are the same instant.
INSTANT_US = 1_000
# Regions further apart than this have a hole between them; less is a packager's rounding.
SEAM_US = 250_000
# EXTINFs are usually written to the millisecond; what that leaves adds up far from a date.
ROUNDING_US = 500
# An edge that is off by less than a frame moves no frame into another segment.
FRAME_US = 16_000
SHORTEST_WAIT_US = 250_000
# A playlist that lists nothing has no clock of its own: ours is trusted only so far.
SILENCE_US = 10_000_000


class Policy(Value):
    """How far beyond the range the cut can use media, in microseconds.

    `lead_us`: before the start, for the sound that warms a decoder up. `tail_us`: after the end,
    for what an open GOP or an interleaved sound track stores in the next segment. `await_tail`:
    whether a live range that ends within the tail of the edge waits for that next segment.
    `early_us`: how far before the first listed segment the range may start. `back`: how many
    segments before the range are wanted, for a keyframe that its own first pictures lean on.
    """

    lead_us: int = 0
    tail_us: int = 200_000
    await_tail: bool = False
    early_us: int = 0
    back: int = 0


VIDEO = Policy()
# Sound is cut on its own grid, which begins and ends a little beside that of the pictures.
AUDIO = Policy(lead_us=100_000, early_us=500_000)


class Hole(Value):
    """A stretch of the wanted range without media: declared by the playlist, simply absent, or
    past the end of the stream."""

    span: TimeRange
    reason: Absence


class Selection(Value):
    """What a playlist offers of a wanted range.

    `segments` overlap the range, in playlist order; declared gaps among them keep their time.
    `extras` lie just outside it: use them where they can be had. `anchors` are wanted for their
    PDT alone. `pending_from_ms` is where the unlisted future begins and `look_again_ms` when to ask
    the origin again; both are None once nothing more will come. `pts_clocks` is what the manifest
    states of the PTS of its regions; `end_doubt_us` how much earlier than it is listed the end of
    a stream may lie.
    """

    segments: tuple[Segment, ...]
    extras: tuple[Segment, ...] = ()
    anchors: tuple[Segment, ...] = ()
    holes: tuple[Hole, ...] = ()
    clock: Clock = "pdt"
    pts_clocks: tuple[PtsClock, ...] = ()
    end_doubt_us: int = 0
    pending_from_ms: int | None = None
    look_again_ms: int | None = None

    @property
    def complete(self) -> bool:
        """Whether all of the range that will ever be listed is listed."""
        return self.pending_from_ms is None


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment and the stretch of wall clock that is its own, in microseconds."""

    segment: Segment
    clock: Clock
    end_us: int

    @property
    def start_us(self) -> int:
        """Where it starts."""
        return self.segment.start_us

    def overlaps(self, start_us: int, end_us: int) -> bool:
        """Whether it holds any part of the stretch."""
        return self.start_us < end_us and start_us < self.end_us


def select(
    playlist: MediaPlaylist, wanted: TimeRange, now_us: int, policy: Policy = VIDEO
) -> Selection:
    """What to fetch for the wanted range, what is absent from it, and when to look again.

    Raises OutsideWindow where the range starts before the first listed segment, or after the last
    one of a stream that has ended.
    """
    _check_within(playlist, wanted, policy)
    listed = placed(playlist)
    start_us, end_us = wanted.start_ms * 1000, wanted.end_ms * 1000
    chosen = tuple(p for p in listed if p.overlaps(start_us, end_us))
    edge_us = listed[-1].end_us if listed else start_us
    ahead_us = start_us - (edge_us if listed else max(now_us, start_us - SILENCE_US))
    pending = not playlist.ended and _reaches_past(playlist, edge_us, end_us, policy)
    anchors = _anchors(playlist, chosen)
    doubt_us = max(playlist.slack_us, ROUNDING_US * _farthest(chosen, anchors) - FRAME_US)
    lead_us, tail_us = _margins(playlist, policy)
    return Selection(
        segments=tuple(p.segment for p in chosen),
        extras=(
            *_before(listed, chosen, policy.back),
            *_extras(listed, chosen, start_us - lead_us - doubt_us, end_us + tail_us + doubt_us),
        ),
        anchors=anchors,
        holes=_holes(chosen, wanted, edge_us, ended=playlist.ended),
        clock="estimated" if any(p.clock == "estimated" for p in chosen) else "pdt",
        pts_clocks=tuple(r.pts_clock for r in playlist.regions if r.pts_clock is not None),
        end_doubt_us=_end_doubt_us(playlist, chosen),
        pending_from_ms=max(edge_us, start_us) // 1000 if pending else None,
        look_again_ms=_look_again(playlist, ahead_us, now_us) if pending else None,
    )


def placed(playlist: MediaPlaylist) -> tuple[Placed, ...]:
    """Every segment with the stretch it owns.

    Rounded EXTINFs leave seams and overlaps: inside a region a segment lasts until the next one
    starts, and a region gives way where the next one begins (encoders repeat frames there).
    """
    regions = tuple(region for region in playlist.regions if region.segments)
    return tuple(
        found
        for region, after in zip(regions, (*regions[1:], None), strict=False)
        for found in _placed_region(region, _limit(region, after), playlist.target_duration_us)
        if found.end_us > found.start_us
    )


def _limit(region: Region, after: Region | None) -> int | None:
    if after is None:
        return None
    start_us = after.segments[0].start_us
    # A region dated before the one it follows has a wrong clock: it takes nothing away.
    return start_us if start_us > region.segments[0].start_us else None


def _placed_region(region: Region, limit_us: int | None, target_us: int) -> Iterator[Placed]:
    for segment, after in zip(region.segments, (*region.segments[1:], None), strict=True):
        next_us = limit_us if after is None else after.start_us
        slack_us = SEAM_US if after is None else _drift(segment, target_us)
        end_us = segment.end_us
        if next_us is not None and abs(next_us - end_us) <= slack_us:
            end_us = next_us
        if limit_us is not None:
            end_us = min(end_us, limit_us)
        yield Placed(segment, region.clock, end_us)


def _margins(playlist: MediaPlaylist, policy: Policy) -> tuple[int, int]:
    if policy.lead_us and any(region.clock == "estimated" for region in playlist.regions):
        # Two playlists without dates agree only as far as their edges do: to a segment.
        return playlist.target_duration_us, playlist.target_duration_us
    return policy.lead_us, policy.tail_us


def _farthest(chosen: tuple[Placed, ...], anchors: tuple[Segment, ...]) -> int:
    """Over how many EXTINFs the place of a chosen segment was summed up, at most."""
    dated = {anchor.discontinuity_sequence: anchor.sequence for anchor in anchors}
    return max(
        (
            abs(p.segment.sequence - dated[p.segment.discontinuity_sequence])
            for p in chosen
            if p.segment.discontinuity_sequence in dated
        ),
        default=0,
    )


def _drift(segment: Segment, target_us: int) -> int:
    """How far EXTINF and PDT may disagree before something must be absent between them."""
    return max(SEAM_US, min(target_us, segment.duration_us) // 2)


def _check_within(playlist: MediaPlaylist, wanted: TimeRange, policy: Policy) -> None:
    held = playlist.held
    if held is None and not playlist.ended:
        return
    if held is None:
        raise OutsideWindow("the stream has ended and lists no media", held=None)
    window = (held.start_ms, held.end_ms)
    if wanted.start_ms < held.start_ms - policy.early_us // 1000:
        raise OutsideWindow(
            f"the range starts at {wanted.start_ms}; the origin holds {window[0]} to {window[1]}",
            held=window,
        )
    if playlist.ended and wanted.start_ms >= held.end_ms:
        raise OutsideWindow(
            f"the range starts at {wanted.start_ms}; the stream ended at {window[1]}", held=window
        )


def _reaches_past(playlist: MediaPlaylist, edge_us: int, end_us: int, policy: Policy) -> bool:
    tail_us = policy.tail_us + playlist.slack_us
    return edge_us < end_us + (tail_us if policy.await_tail else -INSTANT_US)


def _end_doubt_us(playlist: MediaPlaylist, chosen: tuple[Placed, ...]) -> int:
    listed = playlist.segments
    reaches_end = bool(chosen) and chosen[-1].segment is listed[-1]
    return playlist.slack_us if playlist.ended and reaches_end else 0


def _extras(
    listed: tuple[Placed, ...], chosen: tuple[Placed, ...], from_us: int, to_us: int
) -> tuple[Segment, ...]:
    """The neighbours of the chosen segments, on the same PTS timeline, within the margins."""
    if not chosen:
        return ()
    timelines = {p.segment.discontinuity_sequence for p in (chosen[0], chosen[-1])}
    taken = {id(p.segment) for p in chosen}
    return tuple(
        p.segment
        for p in listed
        if p.overlaps(from_us, to_us)
        and id(p.segment) not in taken
        and not p.segment.gap
        and p.segment.discontinuity_sequence in timelines
    )


def _before(
    listed: tuple[Placed, ...], chosen: tuple[Placed, ...], count: int
) -> tuple[Segment, ...]:
    """The segments right before the chosen ones, on their PTS timeline and without a gap."""
    if not chosen or not count:
        return ()
    at = next(number for number, p in enumerate(listed) if p is chosen[0])
    found: list[Segment] = []
    for p in reversed(listed[max(0, at - count) : at]):
        first = chosen[0].segment.discontinuity_sequence
        if p.segment.gap or p.segment.discontinuity_sequence != first:
            break
        found.insert(0, p.segment)
    return tuple(found)


def _anchors(playlist: MediaPlaylist, chosen: tuple[Placed, ...]) -> tuple[Segment, ...]:
    """For each region used without a PDT of its own: the first segment there that has one."""
    used = {p.segment.discontinuity_sequence for p in chosen if not p.segment.gap}
    dated = {
        p.segment.discontinuity_sequence
        for p in chosen
        if p.segment.pdt_us is not None and not p.segment.gap
    }
    candidates = (
        next((s for s in region.segments if s.pdt_us is not None and not s.gap), None)
        for region in playlist.regions
        if region.discontinuity_sequence in used - dated
    )
    return tuple(segment for segment in candidates if segment is not None)


def _holes(
    chosen: tuple[Placed, ...], wanted: TimeRange, edge_us: int, *, ended: bool
) -> tuple[Hole, ...]:
    found: list[Hole] = []
    for start_us, end_us, reason in _absences(chosen, wanted, edge_us, ended=ended):
        if end_us - start_us <= INSTANT_US:
            continue
        start_ms, end_ms = start_us // 1000, -(-end_us // 1000)
        if found and found[-1].reason == reason and found[-1].span.end_ms >= start_ms:
            start_ms = found.pop().span.start_ms
        found.append(Hole(span=TimeRange(start_ms=start_ms, end_ms=end_ms), reason=reason))
    return tuple(found)


def _absences(
    chosen: tuple[Placed, ...], wanted: TimeRange, edge_us: int, *, ended: bool
) -> Iterator[tuple[int, int, Absence]]:
    at_us, end_us = wanted.start_ms * 1000, wanted.end_ms * 1000
    for p in sorted(chosen, key=lambda p: p.start_us):
        yield at_us, p.start_us, "absent"
        if p.segment.gap:
            yield max(at_us, p.start_us), min(p.end_us, end_us), "declared"
        at_us = max(at_us, p.end_us)
    yield at_us, min(edge_us, end_us), "absent"
    if ended:
        yield max(at_us, edge_us), end_us, "ended"


def _look_again(playlist: MediaPlaylist, ahead_us: int, now_us: int) -> int:
    """When the origin can have news: soon at the live edge, later for a range far ahead of it.

    Only distances on the origin's own clock are used, so a skewed one does no harm.
    """
    usual_us = playlist.part_target_us or playlist.target_duration_us // 2
    wait_us = max(SHORTEST_WAIT_US, usual_us, ahead_us - playlist.target_duration_us)
    return (now_us + wait_us) // 1000
