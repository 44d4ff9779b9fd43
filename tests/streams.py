"""Specs of tiny streams and their encoded packets (see tests/media_builder.py)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np

from tests.marks import picture, sound

TICKS = 90_000
EPOCH_MS = 1_643_957_046_000


@dataclass(frozen=True)
class AudioSpec:
    """One sound track; `latm` wraps AAC as LATM in transport streams."""

    codec: str = "aac"
    rate: int = 48_000
    channels: int = 2
    language: str = "eng"
    bitrate_bps: int = 128_000
    latm: bool = False


@dataclass(frozen=True)
class StreamSpec:
    """What to encode; `gops` (frames each) goes before `gop`, `durations_ticks` (90 kHz) is VFR.

    An open GOP has `(gop - 1) % (bframes + 1)` pictures that lead its keyframe: take gop=24.
    """

    codec: str = "h264"
    fps: Fraction = Fraction(25)
    seconds: float = 6.0
    gop: int = 25
    gops: tuple[int, ...] = ()
    open_gop: bool = False
    bframes: int = 2
    b_pyramid: bool = False
    interlaced: str = ""  # "", "tff" or "bff"
    durations_ticks: tuple[int, ...] = ()
    size: tuple[int, int] = (192, 112)
    pix_fmt: str = "yuv420p"
    slices: int = 1
    cavlc: bool = False
    weightp: int = 0
    refs: int = 2
    profile: str = ""
    crf: int = 20
    extra: str = ""  # more x264-params or x265-params, "a=b:c=d"; of MPEG-2 the sample's shape
    audio: tuple[AudioSpec, ...] = (AudioSpec(),)
    start_pts_90k: int | None = None  # of the first frame; None: 900000 in TS, 0 in fMP4
    first_number: int = 0
    first_time_s: Fraction = Fraction(0)  # stream time at which this part begins
    timecode: str = ""  # of number 0: in SEI of every frame, and as a tmcd track in MP4

    @property
    def frame_count(self) -> int:
        """How many frames the stream holds."""
        if not self.durations_ticks:
            return round(self.seconds * self.fps)
        return len(tuple(self._vfr_times()))

    def _vfr_times(self) -> Iterator[Fraction]:
        at, index = 0, 0
        while at < self.seconds * TICKS:
            yield Fraction(at, TICKS)
            at += self.durations_ticks[index % len(self.durations_ticks)]
            index += 1

    @property
    def frame_times(self) -> tuple[Fraction, ...]:
        """Seconds from the stream's first frame, one a frame, and the end as last element."""
        if self.durations_ticks:
            times = tuple(self._vfr_times())
            last = self.durations_ticks[(len(times) - 1) % len(self.durations_ticks)]
            return (*times, times[-1] + Fraction(last, TICKS))
        return tuple(Fraction(n) / self.fps for n in range(self.frame_count + 1))

    @property
    def key_indices(self) -> tuple[int, ...]:
        """Indices (in display order) of the frames forced to be keyframes."""
        if not self.gops:
            return tuple(range(0, self.frame_count, self.gop))
        found, at, turn = [], 0, 0
        while at < self.frame_count:
            found.append(at)
            at += self.gops[turn % len(self.gops)]
            turn += 1
        return tuple(found)


@dataclass(frozen=True)
class Sample:
    """One encoded packet; times in seconds relative to the stream's first frame."""

    data: bytes
    pts: Fraction
    dts: Fraction
    duration: Fraction
    key: bool


@dataclass(frozen=True)
class Track:
    """Encoded packets of one track with a libav stream to copy the parameters from."""

    kind: str
    samples: tuple[Sample, ...]
    template: Any = field(compare=False, repr=False)
    holder: Any = field(compare=False, repr=False)
    extradata: bytes = b""
    audio: AudioSpec | None = None


@dataclass(frozen=True)
class Stream:
    """An encoded stream: its spec and its tracks, video first."""

    spec: StreamSpec
    tracks: tuple[Track, ...]

    @property
    def video(self) -> Track:
        """The picture track."""
        return self.tracks[0]

    @property
    def sounds(self) -> tuple[Track, ...]:
        """The sound tracks, in the spec's order."""
        return self.tracks[1:]

    @property
    def times(self) -> dict[int, Fraction]:
        """Stream time in seconds by absolute frame number."""
        spec = self.spec
        return {
            spec.first_number + i: spec.first_time_s + t
            for i, t in enumerate(spec.frame_times[:-1])
        }


def continued(before: StreamSpec, **changes: Any) -> StreamSpec:
    """A spec that goes on where another ends: frame numbers and sound continue."""
    return replace(
        before,
        first_number=before.first_number + before.frame_count,
        first_time_s=before.first_time_s + before.frame_times[-1],
        **changes,
    )


@lru_cache(maxsize=128)
def build(spec: StreamSpec) -> Stream:
    """The stream a spec describes; encoded once per process."""
    tracks = [_video_track(spec)]
    tracks += [_audio_track(spec, audio, index) for index, audio in enumerate(spec.audio)]
    return Stream(spec, tuple(tracks))


def cut_anywhere(stream: Stream, every: int) -> Stream:
    """The stream for a segmenter that may cut at each picture of so many, keyframe or not."""
    samples = tuple(
        replace(sample, key=at % every == 0) for at, sample in enumerate(stream.video.samples)
    )
    first = replace(stream.video, samples=samples)
    return replace(stream, tracks=(first, *stream.tracks[1:]))


# ---- picture ------------------------------------------------------------------------------


def _x26x_params(spec: StreamSpec) -> str:
    hevc = spec.codec == "hevc"
    params = {
        "keyint": "9999",
        "min-keyint": "1",
        "scenecut": "0",
        "open-gop": str(int(spec.open_gop)),
        "bframes": str(spec.bframes),
        "b-adapt": "0",
        "ref": str(spec.refs),
        "rc-lookahead": "10",
        "repeat-headers": "1",
    }
    if spec.timecode and not hevc:
        params["pic-struct"] = "1"
    if hevc:
        params |= {
            "b-pyramid": str(int(spec.b_pyramid)),
            "log-level": "none",
            "pools": "none",
            "frame-threads": "1",
            "weightp": str(spec.weightp),
            "slices": str(spec.slices),
        }
        if spec.interlaced:
            params["interlace"] = spec.interlaced
    else:
        params |= {
            "b-pyramid": "normal" if spec.b_pyramid else "none",
            "cabac": str(int(not spec.cavlc)),
            "weightp": str(spec.weightp),
            "slices": str(spec.slices),
            "threads": "1",
            "8x8dct": str(int(spec.profile not in {"baseline", "main"})),
        }
        if spec.interlaced:
            params[spec.interlaced] = "1"
    text = ":".join(f"{name}={value}" for name, value in params.items())
    return f"{text}:{spec.extra}" if spec.extra else text


def _video_options(spec: StreamSpec) -> dict[str, str]:
    if spec.codec == "mpeg2video":
        return {"g": "600", "bf": str(spec.bframes), "qmin": "1", "qmax": "4", "b": "4000000"}
    key = "x265-params" if spec.codec == "hevc" else "x264-params"
    options = {
        "preset": "ultrafast",
        "crf": str(spec.crf),
        "forced-idr": str(int(not spec.open_gop)),
        key: _x26x_params(spec),
    }
    if spec.profile:
        options["profile"] = spec.profile
    return options


_ENCODERS = {"h264": "libx264", "hevc": "libx265", "mpeg2video": "mpeg2video"}


def _video_track(spec: StreamSpec) -> Track:
    if spec.frame_count > 200_000:
        raise ValueError("frame numbers carry 18 bits")
    holder = av.open(io.BytesIO(), "w", format="null")
    out = holder.add_stream(_ENCODERS[spec.codec], rate=spec.fps)
    assert isinstance(out, av.VideoStream)
    context = out.codec_context
    context.width, context.height = spec.size
    context.pix_fmt = spec.pix_fmt
    context.time_base = Fraction(1, TICKS) if spec.durations_ticks else 1 / spec.fps
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.global_header
    context.options = _video_options(spec)
    if spec.codec == "mpeg2video" and spec.extra:
        context.sample_aspect_ratio = Fraction(spec.extra)
    holder.start_encoding()
    base = context.time_base
    packets = [p for frame in _frames(spec, base) for p in context.encode(frame)]
    packets += context.encode(None)
    samples = _video_samples(spec, packets, base)
    if spec.timecode:
        samples = tuple(_labelled(spec, sample) for sample in samples)
    return Track("video", samples, *_described(out), bytes(context.extradata or b""))


def _described(encoded: Any) -> tuple[Any, Any]:
    """A stream that says what another holds, and its container: an encoder keeps 5 to 20 MB."""
    holder = av.open(io.BytesIO(), "w", format="null")
    described = holder.add_stream_from_template(encoded, opaque=True)
    described.codec_context.time_base = encoded.codec_context.time_base
    return described, holder


def _frames(spec: StreamSpec, base: Fraction) -> Iterator[av.VideoFrame]:
    width, height = spec.size
    keys = set(spec.key_indices)
    for index, at in enumerate(spec.frame_times[:-1]):
        planes = picture(width, height, spec.first_number + index, interlaced=bool(spec.interlaced))
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        if spec.pix_fmt != "yuv420p":
            frame = frame.reformat(format=spec.pix_fmt)
        frame.pts, frame.time_base = round(at / base), base
        kind = av.video.frame.PictureType
        frame.pict_type = kind.I if index in keys else kind.NONE
        yield frame


def _video_samples(
    spec: StreamSpec, packets: Sequence[av.Packet[Any]], base: Fraction
) -> tuple[Sample, ...]:
    times = spec.frame_times
    length = {round(a / base): b - a for a, b in itertools.pairwise(times)}
    return tuple(
        Sample(bytes(p), p.pts * base, p.dts * base, length[p.pts], p.is_keyframe)
        for p in packets
        if p.pts is not None and p.dts is not None
    )


# ---- timecode -----------------------------------------------------------------------------


def timecode_of(spec: StreamSpec, number: int) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds and frames of the label of a frame (";" counts drop-frame)."""
    rate = round(spec.fps)
    hours, minutes, seconds, frames = (int(p) for p in spec.timecode.replace(";", ":").split(":"))
    count = ((hours * 60 + minutes) * 60 + seconds) * rate + frames
    drop = rate // 15 if ";" in spec.timecode else 0
    whole = hours * 60 + minutes
    count += number - drop * (whole - whole // 10)
    if drop:
        tens, rest = divmod(count, rate * 600 - 9 * drop)
        count += 9 * drop * tens + drop * max(0, (rest - drop) // (rate * 60 - drop))
    return (
        count // (rate * 3600) % 24,
        count // (rate * 60) % 60,
        count // rate % 60,
        count % rate,
    )


def _labelled(spec: StreamSpec, sample: Sample) -> Sample:
    """The sample with a timecode in its SEI, as broadcast encoders write it."""
    index = spec.frame_times.index(sample.pts)
    label = timecode_of(spec, spec.first_number + index)
    if spec.codec == "hevc":
        return replace(sample, data=_hevc_label(sample.data, spec, label))
    return replace(sample, data=_h264_label(sample.data, spec, label))


def _h264_label(data: bytes, spec: StreamSpec, label: tuple[int, int, int, int]) -> bytes:
    """Annex D.1.3: the pic_timing message rewritten with a clock timestamp."""
    at = data.index(b"\0\0\1\x06\x01") + 3
    end = data.find(b"\0\0\1", at)
    pic_struct = data[at + 3] >> 4
    stamps = {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3}[pic_struct]
    hours, minutes, seconds, frames = label
    bits = f"{pic_struct:04b}1" + "00" + "1" + _counting(spec) + "100"
    bits += f"{frames:08b}{seconds:06b}{minutes:06b}{hours:05b}" + "0" * 24 + "0" * (stamps - 1)
    return data[:at] + _sei(b"\x06", 1, bits) + data[end:]


def _hevc_label(data: bytes, spec: StreamSpec, label: tuple[int, int, int, int]) -> bytes:
    """Annex D.2.27: a time_code message before the first slice."""
    hours, minutes, seconds, frames = label
    bits = "01" + "1" + "0" + _counting(spec) + "100"
    bits += f"{frames:09b}{seconds:06b}{minutes:06b}{hours:05b}00000"
    at = 0
    while (data[at + 3] >> 1 & 0x3F) >= 32 or data[at : at + 3] != b"\0\0\1":
        at = data.index(b"\0\0\1", at + 1)
    return data[:at] + b"\0\0\1" + _sei(b"\x4e\x01", 136, bits) + data[at:]


def _counting(spec: StreamSpec) -> str:
    return f"{4 if ';' in spec.timecode else 0:05b}"


def _sei(header: bytes, kind: int, bits: str) -> bytes:
    """A SEI unit with one message, emulation prevention included."""
    if len(bits) % 8:
        bits += "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    body = bytes([kind, len(payload)]) + payload + b"\x80"
    out, zeros = bytearray(header), 0
    for byte in body:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


# ---- sound --------------------------------------------------------------------------------


def _audio_track(spec: StreamSpec, audio: AudioSpec, index: int) -> Track:
    holder = av.open(io.BytesIO(), "w", format="null")
    out = holder.add_stream(audio.codec, rate=audio.rate)
    assert isinstance(out, av.AudioStream)
    context = out.codec_context
    context.layout = {1: "mono", 2: "stereo", 6: "5.1"}[audio.channels]
    context.bit_rate = audio.bitrate_bps
    context.time_base = Fraction(1, audio.rate)
    context.flags |= av.codec.context.Flags.global_header
    if audio.codec == "aac":
        context.options = {"aac_coder": "fast"}
    holder.start_encoding()
    packets = [p for frame in _sound_frames(spec, audio, index) for p in context.encode(frame)]
    packets += context.encode(None)
    base = Fraction(1, audio.rate)
    samples = tuple(
        Sample(bytes(p), p.pts * base, p.pts * base, Fraction(context.frame_size, audio.rate), True)
        for p in packets
        if p.pts is not None
    )
    return Track("audio", samples, *_described(out), bytes(context.extradata or b""), audio)


def _sound_frames(spec: StreamSpec, audio: AudioSpec, index: int) -> Iterator[av.AudioFrame]:
    first = round(spec.first_time_s * audio.rate)
    total = round((spec.first_time_s + spec.frame_times[-1]) * audio.rate) - first
    wave = sound(index, audio.rate, first, total)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[audio.channels]
    integer = audio.codec == "mp2"
    for at in range(0, total, audio.rate):
        part = wave[at : at + audio.rate]
        if integer:
            part = np.round(part * 32767).astype(np.int16)
        planes = np.ascontiguousarray(np.repeat(part[None, :], audio.channels, axis=0))
        frame = av.AudioFrame.from_ndarray(
            planes, format="s16p" if integer else "fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = audio.rate, at, Fraction(1, audio.rate)
        yield frame
