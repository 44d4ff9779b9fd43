"""Coded frames of silence that fit a stream of sound."""

from __future__ import annotations

from typing import Any

import av
from av.error import FFmpegError

from schemas.cuts import SoundTrack
from schemas.errors import UnsupportedMedia

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_PRIMED = 4


def silent_frame(track: SoundTrack) -> bytes:
    """A frame of silence, taken from an encoder that has settled."""
    encoder: Any = av.CodecContext.create(track.codec, "w")
    layout = LAYOUTS.get(track.channels)
    if layout is None:
        raise UnsupportedMedia(f"no silence for {track.channels} channels")
    try:
        encoder.sample_rate = track.sample_rate_hz
        encoder.layout = layout
        encoder.format = "s16" if track.codec == "mp2" else "fltp"
        encoder.bit_rate = _bitrate_bps(track)
        encoder.open()
        return _settled(encoder, track, layout)
    except (FFmpegError, ValueError) as error:
        raise UnsupportedMedia(f"silence cannot be encoded as {track.codec}") from error


def _bitrate_bps(track: SoundTrack) -> int:
    """Enough for silence; MPEG audio knows only some rates, and these at every sample rate."""
    if track.codec in {"mp2", "mp3"}:
        return 64_000 * track.channels
    return 48_000 * track.channels + (48_000 if track.codec != "aac" else 0)


def _settled(encoder: Any, track: SoundTrack, layout: str) -> bytes:
    found = b""
    for number in range(_PRIMED + 4):
        frame = av.AudioFrame(encoder.format.name, layout, track.frame_samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = track.sample_rate_hz
        frame.pts = number * track.frame_samples
        for packet in encoder.encode(frame):
            found = bytes(packet)
    if not found:
        raise UnsupportedMedia(f"silence cannot be encoded as {track.codec}")
    return found
