"""Lanes of edits: one after the other, shifted, trimmed, and laid over one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from schemas.timelines import Edit


@dataclass(slots=True)
class Lane:
    """Edits in order without overlap, and how long the whole is with its gaps."""

    edits: list[Edit] = field(default_factory=list)
    length: Fraction = Fraction(0)


def part(edit: Edit, begin: Fraction, end: Fraction) -> Edit | None:
    """What of an edit lies between two times of the timeline; None where nothing does."""
    low, high = max(edit.at, begin), min(edit.end, end)
    if high <= low:
        return None
    changes = {"at": low, "duration": high - low, "start": edit.start + low - edit.at}
    return edit if (low, high) == (edit.at, edit.end) else edit.model_copy(update=changes)


def shifted(lane: Lane, by: Fraction) -> list[Edit]:
    """A lane's edits, later by so much."""
    return [edit.model_copy(update={"at": edit.at + by}) for edit in lane.edits]


def trimmed(lane: Lane, start: Fraction, duration: Fraction) -> Lane:
    """What of a lane a range shows, moved to begin at zero."""
    kept = [part(edit, start, start + duration) for edit in lane.edits]
    seen = Lane([edit for edit in kept if edit is not None], duration)
    return Lane(shifted(seen, -start), duration)


def merged(lanes: Sequence[Lane]) -> Lane:
    """Lanes from the lowest to the uppermost as one: each hides what lies below its edits."""
    found = Lane()
    for lane in lanes:
        found = Lane(_over(found.edits, lane.edits), max(found.length, lane.length))
    return found


def _over(below: Sequence[Edit], above: Sequence[Edit]) -> list[Edit]:
    if not below or not above:
        return [*below, *above]
    return sorted([*_visible(below, above), *above], key=lambda edit: edit.at)


def _visible(below: Sequence[Edit], above: Sequence[Edit]) -> Iterable[Edit]:
    """What of the lower edits shows between the upper ones; both are in order."""
    first = 0
    for edit in below:
        while first < len(above) and above[first].end <= edit.at:
            first += 1
        begin, number = edit.at, first
        while number < len(above) and above[number].at < edit.end:
            seen = part(edit, begin, above[number].at)
            if seen is not None:
                yield seen
            begin = above[number].end
            number += 1
        seen = part(edit, begin, edit.end)
        if seen is not None:
            yield seen
