"""Where a playlist's segments lie on the wall clock, region by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Timed:
    """What the clock needs of a segment: its EXTINF and its own PDT, in microseconds."""

    duration_us: int
    pdt_us: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the segments of one region start, and whether a PDT of that region says so."""

    clock: Literal["pdt", "estimated"]
    starts_us: tuple[int, ...]
    end_us: int


def placements(
    regions: Sequence[Sequence[Timed]], *, ended: bool, fetched_at_us: int
) -> tuple[Placement, ...]:
    """One placement per region, in order.

    A region with a PDT is placed by it, forwards and backwards. One without has no wall clock of
    its own: it is put beside its neighbour and called `estimated`. Where no region has a PDT, an
    ended playlist starts at zero and a live one ends when it was fetched.
    """
    own = [_by_pdt(region) for region in regions]
    if not any(own):
        length = sum(timed.duration_us for region in regions for timed in region)
        return _chained(regions, own, 0 if ended else fetched_at_us - length)
    first = next(index for index, placement in enumerate(own) if placement)
    before = sum(timed.duration_us for region in regions[:first] for timed in region)
    anchor = own[first]
    return _chained(regions, own, (anchor.starts_us[0] if anchor else 0) - before)


def _by_pdt(region: Sequence[Timed]) -> Placement | None:
    first = next((i for i, timed in enumerate(region) if timed.pdt_us is not None), None)
    if first is None:
        return None
    before = sum(timed.duration_us for timed in region[:first])
    return _walked(region, (region[first].pdt_us or 0) - before, "pdt")


def _chained(
    regions: Sequence[Sequence[Timed]], own: Sequence[Placement | None], start_us: int
) -> tuple[Placement, ...]:
    placed: list[Placement] = []
    for region, known in zip(regions, own, strict=True):
        placed.append(known or _walked(region, start_us, "estimated"))
        start_us = placed[-1].end_us
    return tuple(placed)


def _walked(
    region: Sequence[Timed], start_us: int, clock: Literal["pdt", "estimated"]
) -> Placement:
    starts: list[int] = []
    at = start_us
    for timed in region:
        at = at if timed.pdt_us is None else timed.pdt_us
        starts.append(at)
        at += timed.duration_us
    return Placement(clock, tuple(starts), at)
