"""What reading through a file does inside the jailed child: packets only, nothing is decoded."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import av
from pydantic import JsonValue

from media.pace import PaceRequest
from schemas.errors import CorruptMedia
from schemas.renditions import MAX_KEYFRAMES, Pace, TrackPace

# No codec we read shows a frame more than this many packets after its place in the file.
_REORDER = 32
_REPORT_EVERY = 2000
# Milliseconds of a container round a steady rate this far.
_ROUNDING_US = 2100


def pace(argument: JsonValue, report: Callable[[Mapping[str, JsonValue]], None]) -> Pace:
    """The pace of every audio and video stream."""
    request = PaceRequest.model_validate(argument)
    try:
        with av.open(
            f"file:{request.path}",
            "r",
            format=request.demuxer,
            options={"protocol_whitelist": "file", "max_streams": "65"},
            metadata_errors="replace",
        ) as container:
            return _read(container, request.size, report)
    except av.FFmpegError as error:
        raise CorruptMedia(f"its packets cannot be read: {type(error).__name__}") from error


def _read(container: Any, size: int, report: Callable[[Mapping[str, JsonValue]], None]) -> Pace:
    timed = [s for s in container.streams if s.type in {"video", "audio"} and s.time_base]
    tracks = {stream.index: _Track(stream) for stream in timed}
    if not timed:
        raise CorruptMedia("it holds neither sound nor picture")
    for number, packet in enumerate(_packets(container, timed)):
        track = tracks[packet.stream_index]
        if packet.is_discard:
            track.hidden += 1
        else:
            track.take(packet)
        if number % _REPORT_EVERY == 0 and size and packet.pos is not None:
            report({"done": packet.pos / size})
    found = tuple(track.result() for track in tracks.values() if track.packets)
    return Pace(tracks=found)


def _packets(container: Any, streams: Iterable[Any]) -> Iterable[Any]:
    for packet in container.demux(*streams):
        if packet.size and _when(packet) is not None:
            yield packet


def _when(packet: Any) -> int | None:
    found: int | None = packet.pts if packet.pts is not None else packet.dts
    return found


class _Track:
    """One stream while it is read."""

    def __init__(self, stream: Any) -> None:
        self.packets = 0
        # What an edit list hides is decoded for what leans on it, and never shown.
        self.hidden = 0
        self._index = stream.index
        self._video = stream.type == "video"
        self._tick_us = stream.time_base * 1_000_000
        self._bytes = 0
        self._told_end = (stream.start_time or 0) + (stream.duration or 0)
        self._end: int | None = None
        self._first: int | None = None
        self._keyframes: list[int] = []
        self._leading = False
        self._waiting: list[int] = []
        self._last: int | None = None
        self._shortest: int | None = None
        self._longest = 0

    def take(self, packet: Any) -> None:
        """Count one packet."""
        at = _when(packet) or 0
        self.packets += 1
        self._bytes += packet.size
        self._first = at if self._first is None else min(self._first, at)
        end = at + (packet.duration or 0)
        self._end = end if self._end is None else max(self._end, end)
        if not self._video:
            return
        if packet.is_keyframe and len(self._keyframes) <= MAX_KEYFRAMES:
            self._keyframes.append(at)
        elif self._keyframes and at < self._keyframes[-1]:
            self._leading = True
        heapq.heappush(self._waiting, at)
        if len(self._waiting) > _REORDER:
            self._step(heapq.heappop(self._waiting))

    def result(self) -> TrackPace:
        """What was found."""
        while self._waiting:
            self._step(heapq.heappop(self._waiting))
        first, end = self._first or 0, self._end or 0
        step = self._usual(first)
        if self._video and self._last is not None:
            end = self._last + step if end <= self._last else end
            # Of some codecs libav tells a tick for the length of every frame, the last one too.
            nearly = end < self._told_end <= self._last + max(step, self._longest)
            end = self._told_end if nearly else end
        longest, shortest = self._us(self._longest), self._us(self._shortest or 0)
        return TrackPace(
            index=self._index,
            packets=self.packets,
            hidden=self.hidden,
            first_us=self._us(first),
            end_us=self._us(end),
            bytes=self._bytes,
            step_us=self._us(step),
            variable=self._video and longest - shortest > _ROUNDING_US,
            open_gop=self._leading,
            keyframes_us=self._listed(),
        )

    def _step(self, at: int) -> None:
        if self._last is not None and at > self._last:
            step = at - self._last
            self._longest = max(self._longest, step)
            self._shortest = step if self._shortest is None else min(self._shortest, step)
        self._last = at

    def _usual(self, first: int) -> int:
        if self._last is None or self.packets < 2:
            return 0
        return round((self._last - first) / (self.packets - 1))

    def _listed(self) -> tuple[int, ...] | None:
        if not self._video or len(self._keyframes) > MAX_KEYFRAMES:
            return None
        return tuple(self._us(at) for at in sorted(self._keyframes))

    def _us(self, ticks: int) -> int:
        return int(round(ticks * self._tick_us, 0))
