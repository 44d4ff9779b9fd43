"""A live presentation over time, where the manifest says exactly when each segment is.

A segment keeps the number it was first given: its file in a workspace is named by it.
"""

from __future__ import annotations

from bisect import bisect_left
from urllib.parse import urlsplit

from schemas.errors import TooLarge
from schemas.media import MediaPlaylist, PtsClock, Region, Segment


def merged(known: MediaPlaylist | None, fresh: MediaPlaylist, *, most: int) -> MediaPlaylist:
    """What is known after one more reading: segments that have rolled out stay.

    A stale reading adds nothing. Raises TooLarge where an origin has listed more than `most`.
    """
    if known is None or not known.segments:
        return fresh
    fresh = _on_the_clock_of(known, fresh)
    old = {region.discontinuity_sequence: region for region in known.regions}
    new = {region.discontinuity_sequence: region for region in fresh.regions}
    regions = tuple(
        _joined(old.get(number), new.get(number)) for number in sorted(old.keys() | new.keys())
    )
    if sum(len(region.segments) for region in regions) > most:
        raise TooLarge(f"the origin has listed more than {most} segments")
    return fresh.model_copy(
        update={
            "regions": regions,
            "ended": known.ended or fresh.ended,
            "media_sequence": regions[0].segments[0].sequence,
        }
    )


def _joined(old: Region | None, new: Region | None) -> Region:
    """One region as both readings list it."""
    if old is None or new is None:
        only = new or old
        if only is None:
            raise ValueError("a region is listed by one reading at least")
        return only
    segments = _together(old.segments, new.segments)
    return new.model_copy(update={"segments": segments})


def _together(old: tuple[Segment, ...], new: tuple[Segment, ...]) -> tuple[Segment, ...]:
    starts = [segment.start_us for segment in old]
    matches = [_match(old, starts, segment) for segment in new]
    shift = _shift(old, new, matches)
    found = {segment.sequence: segment for segment in old}
    edge_us = old[-1].start_us
    for segment, match in zip(new, matches, strict=True):
        if match is not None:
            found[match.sequence] = segment.model_copy(update={"sequence": match.sequence})
        elif segment.start_us > edge_us or segment.sequence + shift not in found:
            number = max(0, segment.sequence + shift)
            found.setdefault(number, segment.model_copy(update={"sequence": number}))
    return tuple(sorted(found.values(), key=lambda segment: (segment.start_us, segment.sequence)))


def _match(old: tuple[Segment, ...], starts: list[int], segment: Segment) -> Segment | None:
    """The known segment that lies where this one lies."""
    at = bisect_left(starts, segment.start_us)
    near = min(old[max(0, at - 1) : at + 1], key=lambda s: abs(s.start_us - segment.start_us))
    half_us = max(1, min(near.duration_us, segment.duration_us) // 2)
    return near if abs(near.start_us - segment.start_us) < half_us else None


def _shift(
    old: tuple[Segment, ...], new: tuple[Segment, ...], matches: list[Segment | None]
) -> int:
    """What to add to fresh numbers so that they go on from the known ones."""
    for segment, match in zip(reversed(new), reversed(matches), strict=True):
        if match is not None:
            return match.sequence - segment.sequence
    later = next((s for s in new if s.start_us > old[-1].start_us), None)
    if later is None or later.sequence > old[-1].sequence:
        return 0
    # One number is left out: what lies between was never listed.
    return old[-1].sequence + 2 - later.sequence


def _on_the_clock_of(known: MediaPlaylist, fresh: MediaPlaylist) -> MediaPlaylist:
    """A reading that has lost its wall clock (the presentation became one on demand), set back."""
    if not fresh.regions or fresh.regions[0].clock == "pdt" or known.regions[0].clock != "pdt":
        return fresh
    places = {_resource(segment): segment for segment in known.segments}
    shared = next((s for s in reversed(fresh.segments) if _resource(s) in places), None)
    if shared is None:
        return fresh
    by_us = places[_resource(shared)].start_us - shared.start_us
    by_us = round(by_us / 1000) * 1000
    moved = tuple(_moved(region, by_us) for region in fresh.regions)
    return fresh.model_copy(update={"regions": moved})


def _moved(region: Region, by_us: int) -> Region:
    number = region.discontinuity_sequence + by_us // 1000
    placed = {"discontinuity_sequence": number}
    segments = tuple(
        s.model_copy(update={**placed, "start_us": s.start_us + by_us}) for s in region.segments
    )
    stated = region.pts_clock
    moved = None if stated is None else _set_later(stated, by_us, number)
    return region.model_copy(
        update={**placed, "clock": "pdt", "segments": segments, "pts_clock": moved}
    )


def _set_later(clock: PtsClock, by_us: int, number: int) -> PtsClock:
    return PtsClock(
        discontinuity_sequence=number,
        zero_us=clock.zero_us + by_us,
        start_us=clock.start_us + by_us,
        end_us=None if clock.end_us is None else clock.end_us + by_us,
    )


def _resource(segment: Segment) -> tuple[str, str, int]:
    parts = urlsplit(segment.uri)
    return parts.netloc, parts.path, segment.byte_range.offset if segment.byte_range else 0
