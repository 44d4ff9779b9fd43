"""What is known of a source as it travels with a job: metadata by name, and timed records as
markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from schemas.metadata import (
    DUBLIN_CORE,
    MAX_CARRIED,
    MAX_MARKER_TEXT,
    MAX_MARKERS,
    NEWS_CLIP,
    Carried,
    Marker,
    MetadataRecord,
    MetadataView,
    spelled,
)
from schemas.times import TimeRange

MAX_CARRIED_BYTES = 48 * 1024
MAX_MARKER_BYTES = 256 * 1024
# What players and editors call it, where our views have another name for it.
_AS = {
    (DUBLIN_CORE.id, "creator"): "artist",
    (DUBLIN_CORE.id, "rights"): "copyright",
    (NEWS_CLIP.id, "headline"): "title",
    (NEWS_CLIP.id, "summary"): "description",
    (NEWS_CLIP.id, "byline"): "artist",
    (NEWS_CLIP.id, "recordedAt"): "date",
}
_ORDER = (DUBLIN_CORE.id, NEWS_CLIP.id)


def by_name(*groups: Iterable[MetadataRecord]) -> dict[str, str]:
    """The values of records of whole files as texts by name; of a group before the next one's.

    Of two values of one name the one of the plainer view has it, then the newer record; the
    other is `view.name`, if that is free. What does not fit any more is left out.
    """
    found: dict[str, str] = {}
    size = 0
    for record in (one for group in groups for one in sorted(group, key=_rank)):
        for field, value in record.values.items():
            name, text = _AS.get((record.view, field), field), spelled(value)
            name = f"{record.view}.{field}" if name in found else name
            size += len(name.encode()) + len(text.encode())
            if size > MAX_CARRIED_BYTES or len(found) == MAX_CARRIED:
                return found
            found.setdefault(name, text)
    return found


def _rank(record: MetadataRecord) -> tuple[int, str, tuple[int, ...]]:
    at = _ORDER.index(record.view) if record.view in _ORDER else len(_ORDER)
    # Ids sort by time; of one view the newest comes first.
    return at, record.view if at == len(_ORDER) else "", tuple(-ord(char) for char in record.id)


def markers(
    records: Iterable[MetadataRecord], views: Mapping[str, MetadataView], part: int = 0
) -> tuple[Marker, ...]:
    """Timed records as markers: the first value that is there is the name, all are the comment."""
    return tuple(
        _marker(record, views.get(record.view), part)
        for record in records
        if record.start_ms is not None
    )


def _marker(record: MetadataRecord, view: MetadataView | None, part: int) -> Marker:
    order = [field.name for field in view.fields] if view else list(record.values)
    told = {name: spelled(record.values[name]) for name in order if name in record.values}
    start_ms = record.start_ms or 0
    return Marker(
        view=view.name[:200] if view else record.view,
        name=next(iter(told.values()), record.view)[:MAX_MARKER_TEXT],
        comment="; ".join(f"{name}: {text}" for name, text in told.items())[:MAX_MARKER_TEXT],
        start_ms=start_ms,
        end_ms=max(start_ms, record.end_ms or start_ms),
        part=part,
    )


def within(found: Sequence[Marker], span: TimeRange) -> tuple[Marker, ...]:
    """The markers that touch a span, as much of them as lies in it, counted from its start."""
    return tuple(
        marker.model_copy(
            update={
                "start_ms": max(marker.start_ms, span.start_ms) - span.start_ms,
                "end_ms": min(marker.end_ms, span.end_ms) - span.start_ms,
            }
        )
        for marker in found
        if marker.start_ms < span.end_ms and max(marker.end_ms, marker.start_ms + 1) > span.start_ms
    )


def carried(whole: Sequence[Iterable[MetadataRecord]], found: Iterable[Marker]) -> Carried:
    """What goes along with a job: the first markers, where there are more than fit."""
    first = sorted(found, key=lambda marker: (marker.part, marker.start_ms))[:MAX_MARKERS]
    sizes = accumulate(len(m.name.encode()) + len(m.comment.encode()) for m in first)
    fit = sum(size <= MAX_MARKER_BYTES for size in sizes)
    return Carried(metadata=by_name(*whole), markers=tuple(first[:fit]))
