"""An endless test channel: a picture that shows the wall clock, a beep each second, as MPEG-TS."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
from av.audio.stream import AudioStream
from av.video.frame import PictureType
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, model_validator

from schemas.base import Value

TICKS_HZ = 90_000
SAMPLE_RATE_HZ = 48_000
BEEP_HZ = 1_000
BEEP_MS = 100
_FIRST_PTS_S = 10
_CODE_CELLS = 24
_CODE_NUMBER_BITS = 18
_BAND_ROWS = 7
_TS_PACKET = 188
_NULL_PID = 0x1FFF
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Card(Value):
    """The shape of the channel: geometry, rate and how long a segment is."""

    width: int = Field(default=1280, ge=192, le=3840, multiple_of=16)
    height: int = Field(default=720, ge=112, le=2160, multiple_of=16)
    fps: int = Field(default=25, ge=1, le=120)
    segment_ms: int = Field(default=2_000, ge=500, le=10_000)

    @model_validator(mode="after")
    def _whole_frames(self) -> Card:
        if self.fps * self.segment_ms % 1000 or 1000 % self.fps:
            raise ValueError(f"{self.segment_ms} ms at {self.fps} fps is not a whole number of ms")
        return self

    @property
    def segment_frames(self) -> int:
        """How many frames a segment holds."""
        return self.fps * self.segment_ms // 1000


def code_bits(number: int, field_index: int = 0) -> tuple[int, ...]:
    """The 24 cells (18 number, 1 field, 5 check) that spell a frame number to a machine."""
    value = (number % (1 << _CODE_NUMBER_BITS)) << 1 | field_index
    word = value << 5 | _crc5(value)
    return tuple(word >> shift & 1 for shift in range(_CODE_CELLS - 1, -1, -1))


def _crc5(value: int) -> int:
    register = 0x1F
    for bit in range(_CODE_NUMBER_BITS, -1, -1):
        top = (register >> 4) ^ (value >> bit & 1)
        register = (register << 1 & 0x1F) ^ (0x05 if top else 0)
    return register


@dataclass(frozen=True)
class Canvas:
    """Everything of the picture that does not change, drawn once."""

    card: Card
    base: Image.Image = field(repr=False)
    chroma: tuple[bytes, bytes] = field(repr=False)
    glyphs: dict[str, Image.Image] = field(repr=False)

    def luma(self, number: int, wall_ms: int) -> bytes:
        """The luma plane of a frame."""
        picture = self.base.copy()
        width, height = picture.size
        band = height // _BAND_ROWS
        picture.paste(_code_row(code_bits(number), width, band), (0, 0))
        inverted = tuple(1 - bit for bit in code_bits(number))
        picture.paste(_code_row(inverted, width, band), (0, band))
        self._write(picture, clock_text(wall_ms), 2 * band + band // 4)
        self._write(picture, f"frame {number:08d}", 2 * band + band * 7 // 4)
        _sweep(picture, wall_ms % 1000, band)
        return picture.tobytes()

    def _write(self, picture: Image.Image, text: str, top: int) -> None:
        step = next(iter(self.glyphs.values())).width
        left = (picture.width - step * len(text)) // 2
        for place, letter in enumerate(text):
            picture.paste(self.glyphs[letter], (left + place * step, top))


def clock_text(wall_ms: int) -> str:
    """The instant as the picture shows it.

    >>> clock_text(1643957046040)
    '06:44:06.040 UTC'
    """
    moment = _EPOCH + timedelta(milliseconds=wall_ms)
    return moment.strftime("%H:%M:%S.") + f"{wall_ms % 1000:03d} UTC"


def canvas(card: Card) -> Canvas:
    """The unchanging part of a card's picture."""
    band = card.height // _BAND_ROWS
    base = Image.new("L", (card.width, card.height), 40)
    draw = ImageDraw.Draw(base)
    for bar in range(8):
        left, right = card.width * bar // 8, card.width * (bar + 1) // 8
        draw.rectangle((left, 5 * band, right, 6 * band - 1), fill=210 - 22 * bar)
    return Canvas(card, base, _colour_bars(card, band), _glyphs(card, band))


def _colour_bars(card: Card, band: int) -> tuple[bytes, bytes]:
    planes = []
    hues = ((128, 44, 156, 72, 184, 100, 212, 128), (128, 142, 44, 58, 198, 212, 114, 128))
    for row in hues:
        plane = Image.new("L", (card.width // 2, card.height // 2), 128)
        draw = ImageDraw.Draw(plane)
        for bar, value in enumerate(row):
            left, right = plane.width * bar // 8, plane.width * (bar + 1) // 8
            draw.rectangle((left, 5 * band // 2, right, 3 * band - 1), fill=value)
        planes.append(plane.tobytes())
    return planes[0], planes[1]


def _glyphs(card: Card, band: int) -> dict[str, Image.Image]:
    cell = (min(card.width // 18, band * 3 // 4), band)
    font = ImageFont.load_default(size=cell[0] * 1.4)
    drawn = {}
    for letter in "0123456789:. UTCframe":
        tile = Image.new("L", cell, 40)
        middle = (cell[0] / 2, cell[1] / 2)
        ImageDraw.Draw(tile).text(middle, letter, fill=225, font=font, anchor="mm")
        drawn[letter] = tile
    return drawn


@lru_cache(maxsize=4)
def _cells(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    size = (-(-width // _CODE_CELLS), height)
    return Image.new("L", size, 30), Image.new("L", size, 220)


def _code_row(bits: tuple[int, ...], width: int, height: int) -> Image.Image:
    row = Image.new("L", (width, height))
    cells = _cells(width, height)
    for place, bit in enumerate(bits):
        row.paste(cells[bit], (width * place // _CODE_CELLS, 0))
    return row


def _sweep(picture: Image.Image, of_second_ms: int, band: int) -> None:
    """A bar that fills once a second, and a flash while the beep sounds."""
    top, bottom = 6 * band + band // 4, 6 * band + band * 3 // 4
    draw = ImageDraw.Draw(picture)
    draw.rectangle(
        (band, top, band + (picture.width - 3 * band) * of_second_ms // 1000, bottom), 150
    )
    if of_second_ms < BEEP_MS:
        draw.rectangle((picture.width - band * 3 // 2, top, picture.width - band, bottom), 235)


def beep_second() -> bytes:
    """One second of float samples that opens with a beep."""
    length, fade = SAMPLE_RATE_HZ * BEEP_MS // 1000, SAMPLE_RATE_HZ // 500
    samples = array("f", bytes(4 * SAMPLE_RATE_HZ))
    for place in range(length):
        edge = min(1.0, place / fade, (length - place) / fade)
        samples[place] = 0.4 * edge * math.sin(2 * math.pi * BEEP_HZ * place / SAMPLE_RATE_HZ)
    return samples.tobytes()


class CardEncoder:
    """Encodes the channel from a wall-clock instant on, one MPEG-TS segment at a time."""

    def __init__(self, card: Card, start_ms: int) -> None:
        if start_ms % 1000:
            raise ValueError(f"a channel starts on a whole second, not at {start_ms} ms")
        self.card, self.start_ms = card, start_ms
        self._canvas, self._second = canvas(card), beep_second()
        self._holder = av.open(io.BytesIO(), "w", format="null")
        self._video, self._audio = _video(self._holder, card), _audio(self._holder)
        self._holder.start_encoding()
        self._frames = self._seconds = self._made = 0
        self._pictures: list[av.Packet[Any]] = []
        self._sounds: list[av.Packet[Any]] = []
        self._counters = _Counters()

    def next_segment(self) -> bytes:
        """The next segment's bytes; it begins with a keyframe."""
        self._made += 1
        end = self._made * self.card.segment_frames
        while not any(_index(p, self.card) >= end for p in self._pictures if p.is_keyframe):
            self._pictures += self._video.encode(self._next_frame())
        while not self._sounds or _index(self._sounds[-1], self.card) < end:
            self._sounds += self._audio.encode(self._next_sound())
        return self._counters.applied(_muxed((self._video, self._audio), self._taken(end)))

    def close(self) -> None:
        """Let the encoders go."""
        self._holder.close()

    def _taken(self, end: int) -> list[av.Packet[Any]]:
        """The packets of the segment that ends before frame `end`, in decode order."""
        cut = next(
            i for i, p in enumerate(self._pictures) if p.is_keyframe and _index(p, self.card) >= end
        )
        until = Fraction(self._pictures[cut].dts or 0) * (self._pictures[cut].time_base or 1)
        ready = [p for p in self._sounds if _seconds_of(p) < until]
        packets, self._pictures = self._pictures[:cut], self._pictures[cut:]
        self._sounds = self._sounds[len(ready) :]
        return sorted([*packets, *ready], key=lambda p: (p.dts or 0) * (p.time_base or 1))

    def _next_frame(self) -> av.VideoFrame:
        number, card = self._frames, self.card
        self._frames += 1
        frame = av.VideoFrame(card.width, card.height, "yuv420p")
        luma = self._canvas.luma(number, self.start_ms + number * 1000 // card.fps)
        for plane, data in zip(frame.planes, (luma, *self._canvas.chroma), strict=True):
            plane.update(_strided(data, plane.width, plane.line_size))
        frame.pts, frame.time_base = number + _FIRST_PTS_S * card.fps, Fraction(1, card.fps)
        # Keyframes stand on the segment grid and nowhere else.
        frame.pict_type = PictureType.NONE if number % card.segment_frames else PictureType.I
        return frame

    def _next_sound(self) -> av.AudioFrame:
        frame = av.AudioFrame(format="fltp", layout="mono", samples=SAMPLE_RATE_HZ)
        frame.planes[0].update(_padded(self._second, frame.planes[0].buffer_size))
        frame.sample_rate, frame.time_base = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = (self._seconds + _FIRST_PTS_S) * SAMPLE_RATE_HZ
        self._seconds += 1
        return frame


def _seconds_of(packet: av.Packet[Any]) -> Fraction:
    return Fraction(packet.pts or 0) * (packet.time_base or 1)


def _index(packet: av.Packet[Any], card: Card) -> Fraction:
    return (_seconds_of(packet) - _FIRST_PTS_S) * card.fps


def _strided(data: bytes, width: int, stride: int) -> bytes:
    """The rows of a plane with the padding libav wants between them."""
    if width == stride:
        return data
    gap = bytes(stride - width)
    return b"".join(data[at : at + width] + gap for at in range(0, len(data), width))


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(size - len(data))


def _video(holder: Any, card: Card) -> VideoStream:
    stream: VideoStream = holder.add_stream("libx264", rate=card.fps)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = card.width, card.height, "yuv420p"
    context.time_base = Fraction(1, card.fps)
    context.thread_count = 1
    context.options = {
        "preset": "superfast",
        "crf": "24",
        "forced-idr": "1",
        "x264-params": (
            "keyint=9999:min-keyint=1:scenecut=0:bframes=2:b-adapt=0:rc-lookahead=0:ref=1"
            ":mbtree=0:repeat-headers=1:threads=1"
        ),
    }
    return stream


def _audio(holder: Any) -> AudioStream:
    stream: AudioStream = holder.add_stream("aac", rate=SAMPLE_RATE_HZ)
    stream.codec_context.layout = "mono"
    stream.codec_context.bit_rate = 96_000
    stream.codec_context.time_base = Fraction(1, SAMPLE_RATE_HZ)
    stream.codec_context.flags |= av.codec.context.Flags.global_header
    stream.codec_context.options = {"aac_coder": "fast"}
    return stream


def _muxed(templates: tuple[VideoStream, AudioStream], packets: list[av.Packet[Any]]) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mpegts", container_options={"mpegts_copyts": "1"}) as out:
        streams = {t.type: out.add_stream_from_template(t, opaque=True) for t in templates}
        for packet in packets:
            packet.stream = streams[packet.stream.type]
            out.mux_one(packet)
    return sink.getvalue()


class _Counters:
    """Continuity counters that run on from one segment to the next."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def applied(self, data: bytes) -> bytes:
        """The segment with its counters going on where the last one's ended."""
        out = bytearray(data)
        for at, pid in _payload_packets(data):
            count = self._next.get(pid, 0)
            out[at + 3] = out[at + 3] & 0xF0 | count
            self._next[pid] = (count + 1) & 0x0F
        return bytes(out)


def _payload_packets(data: bytes) -> Iterator[tuple[int, int]]:
    """(offset, pid) of every packet that counts."""
    for at in range(0, len(data), _TS_PACKET):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if pid != _NULL_PID and data[at + 3] & 0x10:
            yield at, pid
