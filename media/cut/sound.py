"""Coded sound: where its frames lie in an elementary stream, and the MP4 sample entry for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from media.cut.bits import BitReader
from schemas.errors import CorruptMedia, UnsupportedMedia

Bounds = tuple[int, int]
Walk = tuple[list[Bounds], int]
_AAC_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)
_AC3_RATES = (48000, 44100, 32000)
_AC3_KBPS = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip
_AC3_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)
_BLOCKS = (1, 2, 3, 6)
_MPEG_RATES = (44100, 48000, 32000)
_MPEG_KBPS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """What frames of one kind have in common; `config` is the codec's own record for MP4."""

    codec: str
    sample_rate_hz: int
    frame_samples: int
    channels: int
    config: bytes

    def entry(self) -> bytes:
        """The MP4 sample entry."""
        return sample_entry(self)


def walk(codec: str, stream: bytes) -> Walk:
    """Where the whole frames lie, and where what is left over begins."""
    return _WALKS[codec](stream)


def sound_format(codec: str, frame: bytes) -> SoundFormat:
    """What a frame says of itself."""
    return _FORMATS[codec](frame)


def payload(codec: str, frame: bytes) -> bytes:
    """The frame as an MP4 sample holds it."""
    if codec == "aac":
        return frame[7:] if frame[1] & 1 else frame[9:]
    return frame


# --- frame lengths


def _walk_by(
    sync: bytes, need: int, length: Callable[[bytes, int], int]
) -> Callable[[bytes], Walk]:
    """A walk over frames that begin with a sync word and state their own length."""

    def walked(stream: bytes) -> Walk:
        found: list[Bounds] = []
        at, size, first = 0, len(stream), sync[0]
        while at + need <= size:
            if stream[at] != first or (step := length(stream, at)) <= 0:
                at = _resync(stream, at + 1, first)
                continue
            if at + step > size:
                break
            found.append((at, at + step))
            at += step
        return found, at

    return walked


def _resync(stream: bytes, at: int, first: int) -> int:
    found = stream.find(first, at)
    return len(stream) if found < 0 else found


def _adts_length(stream: bytes, at: int) -> int:
    if stream[at + 1] & 0xF6 != 0xF0:
        return 0
    size = (stream[at + 3] & 3) << 11 | stream[at + 4] << 3 | stream[at + 5] >> 5
    return size if size > 7 else 0


def _loas_length(stream: bytes, at: int) -> int:
    if stream[at + 1] & 0xE0 != 0xE0:
        return 0
    return 3 + ((stream[at + 1] & 0x1F) << 8 | stream[at + 2])


def _ac3_length(stream: bytes, at: int) -> int:
    if stream[at + 1] != 0x77 or stream[at + 4] >> 6 == 3 or stream[at + 4] & 0x3F > 37:
        return 0
    rate, code = stream[at + 4] >> 6, stream[at + 4] & 0x3F
    kbps = _AC3_KBPS[code >> 1]
    if rate == 1:
        return 2 * (kbps * 96000 // 44100 + (code & 1))
    return kbps * (4 if rate == 0 else 6)


def _eac3_length(stream: bytes, at: int) -> int:
    if stream[at + 1] != 0x77:
        return 0
    return 2 * (((stream[at + 2] & 7) << 8 | stream[at + 3]) + 1)


def _mpeg_length(stream: bytes, at: int) -> int:
    try:
        return _mpeg_header(stream[at : at + 4])[0]
    except CorruptMedia:
        return 0


def _mpeg_header(head: bytes) -> tuple[int, int, int, int, bool]:
    """Frame length, sample rate, samples a frame, channels and whether it is plain MPEG-1."""
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps, rate = head[2] >> 4, head[2] >> 2 & 3
    if head[1] & 0xE0 != 0xE0 or version == 1 or layer == 4 or kbps in {0, 15} or rate == 3:
        raise CorruptMedia("not the header of an MPEG audio frame")
    low = version != 3
    bps = _MPEG_KBPS[(2 if low else 1, layer)][kbps] * 1000
    hertz = _MPEG_RATES[rate] >> (2 if version == 0 else int(low))
    samples = 384 if layer == 1 else 576 if layer == 3 and low else 1152
    pad = head[2] >> 1 & 1
    size = (12 * bps // hertz + pad) * 4 if layer == 1 else samples // 8 * bps // hertz + pad
    return size, hertz, samples, 1 if head[3] >> 6 == 3 else 2, not low


def _walk_eac3(stream: bytes) -> Walk:
    """Access units: six blocks of the first independent substream with all that goes along."""
    frames, used = _walk_by(b"\x0b", 6, _eac3_length)(stream)
    units: list[Bounds] = []
    blocks = 0
    for start, end in frames:
        leading = stream[start + 2] & 0xF8 in {0x00, 0x80}
        if leading and blocks in {0, 6}:
            units.append((start, end))
            blocks = 0
        elif units:
            units[-1] = (units[-1][0], end)
        if leading:
            blocks += _eac3_blocks(stream[start : start + 6])
    return units, used


def _eac3_blocks(head: bytes) -> int:
    return 6 if head[4] >> 6 == 3 else _BLOCKS[head[4] >> 4 & 3]


# --- formats


def _adts_format(frame: bytes) -> SoundFormat:
    rate, channels = frame[2] >> 2 & 15, (frame[2] & 1) << 2 | frame[3] >> 6
    if rate >= len(_AAC_RATES) or frame[6] & 3:
        raise UnsupportedMedia("AAC with a reserved rate or several blocks a frame")
    if not channels:
        raise UnsupportedMedia("AAC whose channels are told in the programme config element")
    config = ((frame[2] >> 6) + 1) << 11 | rate << 7 | channels << 3
    return SoundFormat(
        "aac", _AAC_RATES[rate], 1024, _AAC_CHANNELS[channels], config.to_bytes(2, "big")
    )


def _ac3_format(frame: bytes) -> SoundFormat:
    bits = BitReader(frame[4:12])
    rate, code = bits.read(2), bits.read(6)
    bsid, bsmod, acmod = bits.read(5), bits.read(3), bits.read(3)
    bits.skip(2 if acmod & 1 and acmod != 1 else 0)
    bits.skip(2 if acmod & 4 else 0)
    bits.skip(2 if acmod == 2 else 0)
    lfe = bits.read(1)
    record = rate << 22 | bsid << 17 | bsmod << 14 | acmod << 11 | lfe << 10 | (code >> 1) << 5
    channels = _AC3_CHANNELS[acmod] + lfe
    return SoundFormat("ac3", _AC3_RATES[rate], 1536, channels, record.to_bytes(3, "big"))


def _eac3_format(unit: bytes) -> SoundFormat:
    bits = BitReader(unit[4:8])
    rate, blocks = bits.read(2), bits.read(2)
    acmod, lfe, bsid = bits.read(3), bits.read(1), bits.read(5)
    if rate == 3:
        raise UnsupportedMedia("E-AC-3 at a reduced sample rate")
    frames, _ = _walk_by(b"\x0b", 6, _eac3_length)(unit)
    if any(unit[start + 2] >> 3 & 7 and unit[start + 2] >> 6 != 1 for start, _ in frames):
        raise UnsupportedMedia("E-AC-3 with several programmes in one stream")
    dependent = sum(unit[start + 2] >> 6 == 1 for start, _ in frames)
    hertz = _AC3_RATES[rate]
    samples = _BLOCKS[blocks] * 256 * sum(unit[start + 2] >> 6 != 1 for start, _ in frames)
    kbps = len(unit) * 8 * hertz // max(samples, 1) // 1000
    independent = rate << 22 | bsid << 17 | acmod << 9 | lfe << 8 | dependent << 1
    record = (kbps << 3).to_bytes(2, "big") + independent.to_bytes(3, "big")
    # Dependent substreams here are the back channels of 7.1: chan_loc says Lrs/Rrs.
    record = record[:-1] + bytes((record[-1] & 0xFE, 0x02)) if dependent else record
    return SoundFormat("eac3", hertz, samples, _AC3_CHANNELS[acmod] + lfe, record)


def _mpeg_format(frame: bytes) -> SoundFormat:
    _, hertz, samples, channels, plain = _mpeg_header(frame)
    name = "mp3" if frame[1] >> 1 & 3 == 1 else "mp2"
    return SoundFormat(name, hertz, samples, channels, b"\x6b" if plain else b"\x69")


def _no_format(frame: bytes) -> SoundFormat:
    raise UnsupportedMedia(f"sound without a header of its own ({len(frame)} bytes)")


_WALKS: dict[str, Callable[[bytes], Walk]] = {
    "aac": _walk_by(b"\xff", 7, _adts_length),
    "aac_latm": _walk_by(b"\x56", 3, _loas_length),
    "ac3": _walk_by(b"\x0b", 7, _ac3_length),
    "eac3": _walk_eac3,
    "mp2": _walk_by(b"\xff", 4, _mpeg_length),
}
_FORMATS: dict[str, Callable[[bytes], SoundFormat]] = {
    "aac": _adts_format,
    "ac3": _ac3_format,
    "eac3": _eac3_format,
    "mp2": _mpeg_format,
}


# --- sample entries


def box(kind: bytes, *parts: bytes) -> bytes:
    """An MP4 box."""
    body = b"".join(parts)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def sample_entry(sound: SoundFormat) -> bytes:
    """The MP4 sample entry of a sound format."""
    kind = {"ac3": b"ac-3", "eac3": b"ec-3"}.get(sound.codec, b"mp4a")
    record = {
        "ac3": lambda: box(b"dac3", sound.config),
        "eac3": lambda: box(b"dec3", sound.config),
        "mp2": lambda: _esds(sound.config[0], b""),
        "mp3": lambda: _esds(sound.config[0], b""),
    }.get(sound.codec, lambda: _esds(0x40, sound.config))()
    head = bytes(6) + b"\0\1" + bytes(8) + sound.channels.to_bytes(2, "big") + b"\0\x10" + bytes(4)
    rate = sound.sample_rate_hz if sound.sample_rate_hz < 1 << 16 else 0
    return box(kind, head, rate.to_bytes(2, "big"), b"\0\0", record)


def _esds(object_type: int, config: bytes) -> bytes:
    specific = _descriptor(0x05, config) if config else b""
    decoder = _descriptor(0x04, bytes((object_type, 0x15)) + bytes(11) + specific)
    stream = _descriptor(0x03, bytes(3) + decoder + _descriptor(0x06, b"\x02"))
    return box(b"esds", bytes(4), stream)


def _descriptor(tag: int, body: bytes) -> bytes:
    return bytes((tag, 0x80, 0x80, 0x80, len(body))) + body
