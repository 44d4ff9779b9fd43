"""A live playlist over time: all that its readings have listed, as one playlist.

Origins renumber, caches answer with yesterday's list, and dates roll out of the window with the
segments that carried them. A segment keeps the place it was first given, its region has a number of
its own, and (region number, sequence number) names it for good.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import groupby
from urllib.parse import urlsplit

from pipelines import refresh_by_time
from pipelines.window import SEAM_US, Clock
from schemas.errors import TooLarge
from schemas.media import MediaPlaylist, PtsClock, Region, Segment

Clocks = dict[int, Clock]
MAX_SEGMENTS = 250_000


def merged(
    known: MediaPlaylist | None, fresh: MediaPlaylist, *, most: int = MAX_SEGMENTS
) -> MediaPlaylist:
    """What is known of a playlist after one more reading.

    Segments that have rolled out stay. A stale reading adds nothing. Where the origin numbers anew,
    its new segments follow the known ones as a region of their own. Raises TooLarge where an origin
    has listed more than `most`.
    """
    if fresh.timed:
        return refresh_by_time.merged(known, fresh, most=most)
    if known is None or not known.segments:
        return fresh
    if not fresh.segments:
        return known.model_copy(update={"ended": known.ended or fresh.ended})
    regions = _continued(known, fresh) if _continues(known, fresh) else _restarted(known, fresh)
    if sum(len(region.segments) for region in regions) > most:
        raise TooLarge(f"the origin has listed more than {most} segments")
    return fresh.model_copy(
        update={
            "regions": regions,
            "ended": known.ended or fresh.ended,
            "media_sequence": regions[0].segments[0].sequence,
        }
    )


def _continues(known: MediaPlaylist, fresh: MediaPlaylist) -> bool:
    """Whether both readings number the same segments alike."""
    latest = {s.sequence: s for s in _latest_numbering(known.segments)}
    pair = next(
        ((latest[s.sequence], s) for s in reversed(fresh.segments) if s.sequence in latest), None
    )
    first, last = next(iter(latest.values())), known.segments[-1]
    if pair is None:
        ahead = fresh.segments[0].sequence > last.sequence
        return ahead and _is_later(known, fresh)
    if _dated(known, pair[0]) and _dated(fresh, pair[1]):
        half_us = max(SEAM_US, pair[0].duration_us // 2)
        return abs(pair[0].start_us - pair[1].start_us) < half_us
    if _resource(pair[0]) == _resource(pair[1]):
        return True
    # Names that carry changing tokens are all new; names that moved to other numbers are not.
    moved = {_resource(s) for s in known.segments} & {_resource(s) for s in fresh.segments}
    return not moved and fresh.media_sequence >= first.sequence


def _latest_numbering(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    begin = max(
        (i for i in range(1, len(segments)) if segments[i].sequence <= segments[i - 1].sequence),
        default=0,
    )
    return segments[begin:]


def _is_later(known: MediaPlaylist, fresh: MediaPlaylist) -> bool:
    """Whether a reading with only higher numbers lies, as far as dated, after what is known."""
    before, after = known.segments[-1], fresh.segments[0]
    if not (_dated(known, before) and _dated(fresh, after)):
        return True
    return after.start_us >= before.end_us - max(SEAM_US, before.duration_us // 2)


def _dated(playlist: MediaPlaylist, segment: Segment) -> bool:
    return segment.pdt_us is not None or _clocks(playlist)[segment.discontinuity_sequence] == "pdt"


def _clocks(playlist: MediaPlaylist) -> Clocks:
    return {region.discontinuity_sequence: region.clock for region in playlist.regions}


def _resource(segment: Segment) -> tuple[str, str, int]:
    """What a segment is called, without the query in which signatures change."""
    parts = urlsplit(segment.uri)
    return parts.netloc, parts.path, segment.byte_range.offset if segment.byte_range else 0


def _continued(known: MediaPlaylist, fresh: MediaPlaylist) -> tuple[Region, ...]:
    """Known and fresh segments by sequence number, under the known region numbers."""
    latest = _latest_numbering(known.segments)
    older = known.segments[: len(known.segments) - len(latest)]
    listed = {s.sequence: s for s in latest}
    shift, clocks = _region_shift(listed, fresh), _clocks(known)
    for region in fresh.regions:
        number = region.discontinuity_sequence + shift
        if region.clock == "pdt" and clocks.get(number) == "estimated":
            _redate(listed, region, number)
        if region.clock == "pdt" or number not in clocks:
            clocks[number] = region.clock
        _extend(listed, region, number)
    stated = _stated(known, 0) | _stated(fresh, shift)
    return _regions((*older, *(listed[number] for number in sorted(listed))), clocks, stated)


def _region_shift(listed: dict[int, Segment], fresh: MediaPlaylist) -> int:
    """What to add to the fresh region numbers: some origins count from what they still list."""
    for segment in reversed(fresh.segments):
        if segment.sequence in listed:
            number = listed[segment.sequence].discontinuity_sequence
            return number - segment.discontinuity_sequence
    last = listed[max(listed)].discontinuity_sequence
    first = fresh.segments[0].discontinuity_sequence
    return 0 if first >= last else last + 1 - first


def _redate(listed: dict[int, Segment], region: Region, number: int) -> None:
    """Move what was only estimated, now that a date in its region says where it lies."""
    shared = [s for s in region.segments if s.sequence in listed]
    if not shared:
        return
    moved_us = shared[-1].start_us - listed[shared[-1].sequence].start_us
    for sequence, segment in listed.items():
        if segment.discontinuity_sequence == number:
            listed[sequence] = _placed(segment, segment.start_us + moved_us, number)


def _extend(listed: dict[int, Segment], region: Region, number: int) -> None:
    """Add what one fresh region has of new segments, and renew the addresses of the others."""
    order = sorted(listed)
    for segment in region.segments:
        before = listed.get(segment.sequence)
        if before is not None:
            if before.discontinuity_sequence == number:
                listed[segment.sequence] = _updated(before, segment)
        elif segment.sequence > order[-1]:
            follows = listed.get(segment.sequence - 1)
            at_us = segment.start_us if region.clock == "pdt" or not follows else follows.end_us
            listed[segment.sequence] = _placed(segment, at_us, number)
        elif region.clock == "pdt" and _has_room(segment, order, listed):
            listed[segment.sequence] = _placed(segment, segment.start_us, number)


def _has_room(segment: Segment, order: list[int], listed: dict[int, Segment]) -> bool:
    """Whether the time of a segment with a lower number is free between its neighbours."""
    at = bisect(order, segment.sequence)
    middle_us = segment.start_us + segment.duration_us // 2
    return middle_us < listed[order[at]].start_us and (
        at == 0 or listed[order[at - 1]].end_us <= middle_us
    )


def _updated(before: Segment, after: Segment) -> Segment:
    """The fresh address at the known place; what was there once is not given up for a gap."""
    if after.gap or (before.uri == after.uri and not before.gap):
        return before
    place = {"start_us": before.start_us, "pdt_us": before.pdt_us or after.pdt_us}
    number = {"discontinuity_sequence": before.discontinuity_sequence}
    return after.model_copy(update={**place, **number})


def _placed(segment: Segment, start_us: int, number: int) -> Segment:
    return segment.model_copy(update={"start_us": start_us, "discontinuity_sequence": number})


def _restarted(known: MediaPlaylist, fresh: MediaPlaylist) -> tuple[Region, ...]:
    """The known regions, then what the fresh reading has beyond them, renumbered to follow."""
    edge_us = known.segments[-1].end_us
    seen = {_resource(s) for s in known.segments}
    news = tuple(
        s
        for s in fresh.segments
        if s.start_us >= edge_us - max(SEAM_US, s.duration_us // 2)
        and (_dated(fresh, s) or _resource(s) not in seen)
    )
    if not news:
        return known.regions
    shift = known.regions[-1].discontinuity_sequence + 1 - news[0].discontinuity_sequence
    clocks = {number + shift: clock for number, clock in _clocks(fresh).items()}
    moved = (_placed(s, s.start_us, s.discontinuity_sequence + shift) for s in news)
    return (*known.regions, *_regions(tuple(moved), clocks, _stated(fresh, shift)))


def _stated(playlist: MediaPlaylist, shift: int) -> dict[int, PtsClock]:
    """What a playlist states of its regions' PTS, by their numbers among all that is known."""
    return {
        clock.discontinuity_sequence + shift: clock.model_copy(
            update={"discontinuity_sequence": clock.discontinuity_sequence + shift}
        )
        for clock in (region.pts_clock for region in playlist.regions)
        if clock is not None
    }


def _regions(
    segments: tuple[Segment, ...], clocks: Clocks, stated: Mapping[int, PtsClock]
) -> tuple[Region, ...]:
    return tuple(
        Region(
            discontinuity_sequence=number,
            clock=clocks[number],
            segments=tuple(run),
            pts_clock=stated.get(number),
        )
        for number, run in groupby(segments, key=lambda s: s.discontinuity_sequence)
    )
