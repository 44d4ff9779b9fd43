"""Tiny H.264 and HEVC streams as access units, and a decoder that forgives nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np

from media.cut.bits import join_annexb, split_annexb

FPS = 25
# Of these libavcodec speaks in whispers: a gap in frame_num, an operation on a picture not held.
_DOUBTS = ("gap", "unref", "mmco", "issing", "not found", "illegal", "nvalid", "oncealing")
Picture = np.ndarray[Any, Any]
_ENCODERS = {"h264": ("libx264", "x264-params"), "hevc": ("libx265", "x265-params")}
_QUIET = {"h264": "threads=1", "hevc": "log-level=none:pools=1:frame-threads=1"}
# libavcodec stops at the first doubt and every frame is decoded before the next packet goes in.
_STRICT = {"err_detect": "explode+crccheck+bitstream+buffer+careful+aggressive"}


@dataclass(frozen=True)
class Unit:
    """One access unit: its NAL units and times in frames."""

    nals: tuple[bytes, ...]
    pts: int
    dts: int

    def holding(self, nals: Iterable[bytes]) -> Unit:
        """The same moment with other NAL units."""
        return Unit(tuple(nals), self.pts, self.dts)

    def later(self, frames: int) -> Unit:
        """The same access unit at another time."""
        return Unit(self.nals, self.pts + frames, self.dts + frames)


@lru_cache(maxsize=8)
def _noise(seed: int, width: int, height: int) -> Picture:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (height // 4, width), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4), dtype=np.uint8))


def drawn(index: int, seed: int, width: int, height: int) -> Picture:
    """Frame `index`: a moving texture under a band whose brightness is the index."""
    luma = np.roll(_noise(seed, width, height), 3 * index, 1)[:, :width].copy()
    luma[: height // 4] = 16 + index * 2 % 220
    chroma = np.full((height // 2, width), 96 + index % 64, dtype=np.uint8)
    return np.concatenate([luma, chroma])


@lru_cache(maxsize=64)
def encoded(
    params: str,
    *,
    codec: str = "h264",
    pix_fmt: str = "yuv420p",
    frames: int = 60,
    seed: int = 1,
    size: tuple[int, int] = (64, 64),
) -> tuple[Unit, ...]:
    """A stream of that many frames as access units in decode order, sets in band."""
    name, option = _ENCODERS[codec]
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = size
    context.pix_fmt = pix_fmt
    context.time_base = Fraction(1, FPS)
    context.framerate = Fraction(FPS)
    context.options = {option: f"{_QUIET[codec]}:{params}", "preset": "veryfast"}
    units: list[Unit] = []
    for index in range(frames + 1):
        frame = _frame(index, seed, size, pix_fmt) if index < frames else None
        units.extend(_unit(packet) for packet in context.encode(frame))
    return tuple(units)


def _frame(index: int, seed: int, size: tuple[int, int], pix_fmt: str) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(drawn(index, seed, *size), format="yuv420p")
    frame = frame.reformat(format=pix_fmt)
    frame.pts, frame.time_base = index, Fraction(1, FPS)
    return frame


def _unit(packet: Any) -> Unit:
    return Unit(split_annexb(bytes(packet)), packet.pts, packet.dts)


def decoded(
    units: Sequence[Unit], *, codec: str = "h264", extradata: bytes = b""
) -> list[tuple[int, Picture]]:
    """Every frame in output order with its time; any error or warning of the decoder raises."""
    context: Any = av.CodecContext.create(codec, "r")
    context.options = dict(_STRICT)
    context.thread_count = 1
    if extradata:
        context.extradata = extradata
    prefixed = extradata[:1] == b"\1"
    frames: list[tuple[int, Picture]] = []
    with _complaints() as said:
        for unit in units:
            frames.extend(_shown(context.decode(_packet(unit, prefixed=prefixed))))
        frames.extend(_shown(context.decode(None)))
    assert said == []  # filled as the block ends
    return frames


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What libav has to say meanwhile that a sound stream gives no cause for."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.DEBUG)
    found: list[str] = []
    try:
        with av.logging.Capture() as said:
            yield found
        found.extend(text for grade, _, text in said if _is_complaint(grade, text))
    finally:
        av.logging.set_level(level)


def _is_complaint(grade: int, text: str) -> bool:
    return grade <= av.logging.WARNING or any(word in text for word in _DOUBTS)


def _packet(unit: Unit, *, prefixed: bool) -> Any:
    lengths = b"".join(len(nal).to_bytes(4, "big") + nal for nal in unit.nals)
    packet = av.Packet(lengths if prefixed else join_annexb(unit.nals))
    packet.pts, packet.dts, packet.time_base = unit.pts, unit.dts, Fraction(1, FPS)
    return packet


def _shown(frames: Iterable[Any]) -> list[tuple[int, Picture]]:
    found = []
    for frame in frames:
        assert not frame.is_corrupt
        found.append((frame.pts, frame.to_ndarray()))
    return found


def assert_same_frames(
    found: Sequence[tuple[int, Picture]], wanted: Sequence[tuple[int, Picture]]
) -> None:
    """The same frames, in the same order, to the last pixel."""
    assert [pts for pts, _ in found] == [pts for pts, _ in wanted]
    different = [p for (p, a), (_, b) in zip(found, wanted, strict=True) if (a != b).any()]
    assert different == []
