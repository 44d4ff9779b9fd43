"""Moments of streams and files, made into jobs: clips, exports, local copies."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from client.calls import Calls
from client.values import Job, Moment, epoch_ms, instant, present
from schemas.errors import InvalidCommand
from schemas.file_id import ClipFileId
from schemas.jobs import State
from schemas.times import time_range

Mode = Literal["exact", "copy", "encode"]
Gaps = Literal["fail", "skip", "black", "hold"]
OnFuture = Literal["wait", "reject"]
Sidecar = Literal["json", "xmp", "otio", "edl", "fcpxml", "webvtt"]


class Place(NamedTuple):
    """Where a file goes: a path, or a template of one, at a connector or in the media store."""

    path: str
    connector_id: str | None = None


class Part(NamedTuple):
    """One range of an export; its channel is the export's where none is named."""

    start: Moment
    end: Moment
    channel_id: str | None = None
    connector_id: str | None = None


def clip_file_id(channel_id: str, start: Moment, end: Moment, clip_id: str | None = None) -> str:
    """The fileId of a clip, in its canonical spelling; without an id it gets a new one.

    >>> clip_file_id("c1", 1643957046000, "2022-02-04T06:45:06Z", "7")
    'c1/2022/02/04/range-1643957046000-1643957106000-clip-7'
    """
    wanted = time_range(epoch_ms(start), epoch_ms(end))
    named = clip_id or secrets.token_hex(8)
    return ClipFileId(channel_id=channel_id, range=wanted, clip_id=named).canonical


def place(to: Place | str) -> dict[str, str]:
    """A destination as bodies have it."""
    told = Place(to) if isinstance(to, str) else to
    return present(path=told.path, connector_id=told.connector_id)


class Clips:
    """Clips of streams."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(
        self,
        connector_id: str,
        file_id: str | None = None,
        *,
        channel: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        clip_id: str | None = None,
        mode: Mode | None = None,
        gaps: Gaps | None = None,
        on_future: OnFuture | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Job:
        """Cut a clip, named by its fileId, or by a channel with `start` and `end`.

        `key` is the idempotency key, where the caller may come again in another process.
        """
        named = file_id or _named(channel, start, end, clip_id)
        body = present(mode=mode, gaps=gaps, on_future=on_future, metadata=metadata)
        at = {"id": connector_id, "fileId": named}
        return self._calls.value(Job, "clipFromStream", at, body=body, key=key)

    def get(self, connector_id: str, file_id: str) -> Job:
        """The job of a clip."""
        return self._calls.value(Job, "getClip", {"id": connector_id, "fileId": file_id})


class Exports:
    """Segments of channels, made into files at any destination."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(
        self,
        connector_id: str,
        channel_id: str,
        to: Place | str,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        parts: Sequence[Part] | None = None,
        programme_id: str | None = None,
        pad_ms: int | None = None,
        mode: Mode | None = None,
        gaps: Gaps | None = None,
        on_future: OnFuture | None = None,
        rendition_id: str | None = None,
        audio: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        sidecars: Sequence[Sidecar] | None = None,
        key: str | None = None,
    ) -> Job:
        """Export one range, several parts, or a programme, as one file."""
        body = present(
            range=_span(start, end),
            ranges=None if parts is None else [_part(one) for one in parts],
            programme_id=programme_id,
            pad_ms=pad_ms,
            destination=place(to),
            mode=mode,
            gaps=gaps,
            on_future=on_future,
            rendition_id=rendition_id,
            tracks=None if audio is None else {"audio": list(audio)},
            metadata=metadata,
            sidecars=sidecars,
        )
        at = {"id": connector_id, "channelId": channel_id}
        return self._calls.value(Job, "exportSegment", at, body=body, key=key)

    def list(
        self,
        connector_id: str,
        channel_id: str,
        *,
        state: State | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Iterator[Job]:
        """The exports of a channel, the newest first."""
        at = {"id": connector_id, "channelId": channel_id}
        query = {"state": state, "from": instant(start), "to": instant(end)}
        return self._calls.pages(Job, "listSegmentExports", at, query=query)


class Localize:
    """Copies of other people's files, held here."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(
        self,
        connector_id: str,
        file_id: str,
        *,
        rendition_id: str | None = None,
        force: bool | None = None,
        key: str | None = None,
    ) -> Job:
        """Fetch a file, or answer the job that did; `force` fetches it again."""
        at, body = (
            {"id": connector_id, "fileId": file_id},
            present(rendition_id=rendition_id, force=force),
        )
        return self._calls.value(Job, "localizeFile", at, body=body, key=key)

    def get(self, connector_id: str, file_id: str) -> Job:
        """How far the copy of a file is."""
        return self._calls.value(Job, "getLocalization", {"id": connector_id, "fileId": file_id})


def _named(
    channel: str | None, start: Moment | None, end: Moment | None, clip_id: str | None
) -> str:
    if channel is None or start is None or end is None:
        raise InvalidCommand("name a clip by its file_id, or by channel, start and end")
    return clip_file_id(channel, start, end, clip_id)


def _span(start: Moment | None, end: Moment | None) -> dict[str, int] | None:
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InvalidCommand("a range has a start and an end")
    return {"startMs": epoch_ms(start), "endMs": epoch_ms(end)}


def _part(part: Part) -> dict[str, object]:
    named = present(channel_id=part.channel_id, connector_id=part.connector_id)
    return {**named, **(_span(part.start, part.end) or {})}
