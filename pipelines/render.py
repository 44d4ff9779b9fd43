"""Timelines -> parts of an export: each edit a range of a channel, or of a file's own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil, floor

from pipelines.cut_lists import WALL_CLOCK_S
from pipelines.otio import TimelineRefused
from schemas import file_id as file_ids
from schemas.base import Value
from schemas.commands import MAX_EXPORT_PARTS, ExportPart
from schemas.connectors import ConnectorRef
from schemas.cuts import GapPolicy
from schemas.errors import FieldInvalid
from schemas.timelines import Edit, MediaRef, Timeline
from schemas.times import MAX_EPOCH_MS, TimeRange

MICRO = 1_000_000
# Dates of channels are rounded to the millisecond, each segment's for itself.
STREAM_SLACK = Fraction(600, MICRO)
# In a file frames are counted: each is found from a fifth of a frame before its time on.
FRAME_SLACK = Fraction(1, 5)
MAX_CHANNEL = 512


class Source(Value):
    """A connector that clips name: `streams` where its files are channels and clips of them."""

    ref: ConnectorRef
    streams: bool
    files: bool


def parts(
    timeline: Timeline, sources: Mapping[str, Source], gaps: GapPolicy
) -> tuple[ExportPart, ...]:
    """What to join, in order; raises TimelineRefused at the first edit that has no media."""
    edits = joined(timeline.edits)
    if not edits:
        raise TimelineRefused("", "the timeline shows no clip")
    if len(edits) > MAX_EXPORT_PARTS:
        raise TimelineRefused(
            "", f"{len(edits)} cuts are more than one file is made of: {MAX_EXPORT_PARTS}"
        )
    found, at = [], Fraction(0)
    for edit in edits:
        pause = round((edit.at - at) * MICRO) if gaps != "skip" else 0
        part = _part(edit, sources)
        found.append(part.model_copy(update={"pause_us": pause}) if pause else part)
        at = edit.end
    return tuple(found)


def joined(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The same edits, those that go on where the one before ends made one."""
    found: list[Edit] = []
    for edit in edits:
        if found and _goes_on(found[-1], edit):
            longer = found[-1].duration + edit.duration
            found[-1] = found[-1].model_copy(update={"duration": longer})
        else:
            found.append(edit)
    return tuple(found)


def _goes_on(before: Edit, edit: Edit) -> bool:
    return (
        before.media is not None
        and (before.media, before.available) == (edit.media, edit.available)
        and before.end == edit.at
        and before.start + before.duration == edit.start
    )


def _part(edit: Edit, sources: Mapping[str, Source]) -> ExportPart:
    media = edit.media
    if media is None:
        raise _refused(edit, "the clip names no connector and file", "media_offline")
    source = sources[media.connector_id]
    if media.channel_id is not None:
        return _of_channel(edit, media, source)
    clip = _clip(edit, media.file_id or "", source) if source.streams else None
    if clip is not None:
        return _of_clip(edit, clip, source)
    if not source.streams and not source.files:
        message = f"connectors of type {source.ref.type} hold no files"
        raise _refused(edit, message, "not_supported")
    return _of_file(edit, media, source)


def _of_channel(edit: Edit, media: MediaRef, source: Source) -> ExportPart:
    """Wall clock: the clip's own, or counted from where its media begins."""
    if not source.streams:
        message = f"connectors of type {source.ref.type} carry no channels"
        raise _refused(edit, message, "not_supported")
    begin = edit.start
    if media.start_ms is not None:
        begin = Fraction(media.start_ms, 1000) + media_time(edit)
    return _ranged(edit, source, media.channel_id or "", None, begin, STREAM_SLACK)


def _of_clip(edit: Edit, clip: file_ids.ClipFileId, source: Source) -> ExportPart:
    """A clip's own time counts from where it begins; what lies outside was never of it."""
    begin = media_time(edit)
    since = Fraction(clip.range.start_ms, 1000)
    begin = begin if begin >= WALL_CLOCK_S else since + begin
    frame = 1 / edit.rate
    late = begin + edit.duration - Fraction(clip.range.end_ms, 1000)
    if begin < since - frame or late > frame:
        raise _refused(
            edit,
            f"the source_range leaves the clip's {clip.range.length_ms} ms",
            "range_invalid",
        )
    # A clip's first frame is the one it was cut at, by the very same clock.
    slack = STREAM_SLACK if begin > since else Fraction(0)
    part = _ranged(edit, source, clip.channel_id, None, begin, slack)
    return part.model_copy(update={"clip_file_id": clip.canonical})


def _of_file(edit: Edit, media: MediaRef, source: Source) -> ExportPart:
    """A file's own time counts from its first frame."""
    name = media.file_id or ""
    try:
        file_ids.check_path(name)
    except FieldInvalid as error:
        raise _refused(edit, error.message, error.error_code) from None
    begin = media_time(edit)
    if begin < 0:
        raise _refused(edit, "the source_range begins before the file does", "range_invalid")
    shown = name.rpartition("/")[2] or name
    slack = FRAME_SLACK / edit.rate
    return _ranged(edit, source, shown[:MAX_CHANNEL], name, begin, slack)


def media_time(edit: Edit) -> Fraction:
    """Where an edit begins, counted from its media's first frame."""
    return edit.start - (edit.available[0] if edit.available else 0)


def _ranged(
    edit: Edit,
    source: Source,
    channel_id: str,
    file_id: str | None,
    begin: Fraction,
    slack: Fraction,
) -> ExportPart:
    end = begin + edit.duration
    span = TimeRange(start_ms=floor(begin * 1000), end_ms=ceil(end * 1000))
    if file_id is None and not 0 <= span.start_ms < span.end_ms <= MAX_EPOCH_MS:
        raise _refused(edit, "the range leaves the wall clock that is known", "range_invalid")
    return ExportPart(
        connector=source.ref,
        channel_id=channel_id,
        range=span,
        file_id=file_id,
        span_us=(round((begin - slack) * MICRO), round((end - slack) * MICRO)),
    )


def _clip(edit: Edit, file_id: str, source: Source) -> file_ids.ClipFileId | None:
    """What a fileId is a clip of; None where it is a file, or a whole stream."""
    if "/" not in file_id:
        return None
    try:
        return file_ids.parse(file_id)
    except FieldInvalid as error:
        if source.files:
            return None
        raise _refused(edit, error.message, error.error_code) from None


def _refused(edit: Edit, message: str, code: str) -> TimelineRefused:
    error = TimelineRefused(edit.pointer, message)
    error.error_code = code
    return error
