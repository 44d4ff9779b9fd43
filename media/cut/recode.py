"""Sound that is decoded and encoded again, placed in the output to the sample."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.fifo import AudioFifo
from av.codec.context import Flags
from av.error import FFmpegError

from media.cut.feed import Placed, source_frames
from media.cut.reading import Segments
from media.cut.silence import LAYOUTS
from media.cut.sound import SoundFormat
from schemas.cuts import CopiedSound, Recoding, SoundTrack
from schemas.errors import CorruptMedia, UnsupportedMedia

# A hole is filled with silence so many samples at a time.
_MOST_SAMPLES = 48_000
_FORMAT = "fltp"


class Recoder:
    """One track's way from the source's frames to the output's."""

    def __init__(self, track: SoundTrack, recoding: Recoding, segments: Segments) -> None:
        self._track = track
        self._recoding = recoding
        self._segments = segments
        self._encoder = _encoder(recoding)
        self._samples = AudioFifo()
        self._reached = 0
        self._resampler: tuple[tuple[object, ...], Any] | None = None

    def entry(self) -> bytes:
        """The MP4 sample entry of what comes out."""
        made = self._recoding
        config = bytes(self._encoder.extradata or b"")
        return SoundFormat(
            made.codec, made.sample_rate_hz, made.frame_samples, made.channels, config
        ).entry()

    def frames(self, end: int) -> Placed:
        """Encoded frames of the first `end` samples of the output."""
        made, number = self._recoding, 0
        for packet in self._packets(end):
            if number < made.frames:
                yield made.at_sample + number * made.frame_samples, bytes(packet)
            number += 1
        if number < made.frames:
            raise CorruptMedia(f"{number} of {made.frames} sound frames were encoded")

    def _packets(self, end: int) -> Iterator[Any]:
        """What the encoder makes of the samples up to `end`; silence where there are none."""
        at, step = 0, self._recoding.frame_samples
        for _ in self._filled(end):
            while self._samples.samples >= step:
                yield from self._encode(self._samples.read(step), at)
                at += step
        if self._samples.samples:
            yield from self._encode(self._samples.read(), at)
        yield from self._encoder.encode(None)

    def _encode(self, frame: Any, at: int) -> Any:
        frame.pts, frame.time_base = at, Fraction(1, self._recoding.sample_rate_hz)
        return self._encoder.encode(frame)

    def _filled(self, end: int) -> Iterator[None]:
        """Take in sample after sample up to `end`, each where it belongs."""
        scale = Fraction(self._recoding.sample_rate_hz, self._track.sample_rate_hz)
        for at, frame in self._decoded():
            start = round(at * scale)
            while self._reached < min(start, end):
                self._add_silence(min(start, end))
                yield
            self._add(frame, self._reached - start, end)
            yield
        while self._reached < end:
            self._add_silence(end)
            yield

    def _add(self, frame: Any, known: int, end: int) -> None:
        """Add a frame without what another has brought already, and what lies behind the end."""
        part = AudioFifo()
        part.write(frame)
        if known > 0:
            part.read(known, partial=True)
        rest = part.read(max(0, min(part.samples, end - self._reached))) if part.samples else None
        if rest is not None and self._reached < end:
            rest.pts = None
            self._samples.write(rest)
            self._reached += rest.samples

    def _add_silence(self, until: int) -> None:
        made = self._recoding
        count = min(until - self._reached, _MOST_SAMPLES)
        frame = av.AudioFrame(_FORMAT, LAYOUTS[made.channels], count)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = made.sample_rate_hz
        self._samples.write(frame)
        self._reached += count

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        """The source's sound, each frame with the sample, at its own rate, where it belongs."""
        decoder: Any = av.CodecContext.create(self._track.codec, "r")
        decoder.thread_count = 1
        for piece in self._track.pieces:
            if not isinstance(piece, CopiedSound):
                continue
            for at, data in source_frames(self._track, piece, self._segments):
                for frame in _decode(decoder, data):
                    for same in self._alike(frame):
                        yield at, same

    def _alike(self, frame: Any) -> list[Any]:
        """A decoded frame as the encoder takes it; a source may change its channels."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != shape:
            made = self._recoding
            wanted = LAYOUTS[made.channels]
            self._resampler = shape, av.AudioResampler(_FORMAT, wanted, made.sample_rate_hz)
        found: list[Any] = self._resampler[1].resample(frame)
        for same in found:
            same.pts = None
        return found


def _decode(decoder: Any, data: bytes) -> list[Any]:
    """What a coded frame sounds like: nothing, so silence, where it is damaged."""
    try:
        return list(decoder.decode(av.Packet(data)))
    except FFmpegError:
        return []


def _encoder(made: Recoding) -> Any:
    encoder: Any = av.CodecContext.create(made.codec, "w")
    encoder.sample_rate = made.sample_rate_hz
    encoder.layout = LAYOUTS[made.channels]
    encoder.format = _FORMAT
    encoder.bit_rate = made.bitrate_bps
    # The thorough search takes four times as long and hears no difference at these rates.
    encoder.options = {"aac_coder": "fast"}
    encoder.time_base = Fraction(1, made.sample_rate_hz)
    encoder.flags |= Flags.global_header
    try:
        encoder.open()
    except (FFmpegError, ValueError) as error:
        raise UnsupportedMedia(
            f"sound at {made.sample_rate_hz} Hz cannot be encoded as {made.codec}"
        ) from error
    return encoder
