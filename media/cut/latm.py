"""AAC in LATM (LOAS): the configuration it carries, and its frames freed from the multiplex."""

from __future__ import annotations

from media.cut.bits import BitReader
from media.cut.sound import _AAC_CHANNELS, _AAC_RATES, SoundFormat
from schemas.errors import CorruptMedia, UnsupportedMedia


class Mux:
    """Reads one LATM stream: each element either brings a configuration or leans on the last."""

    def __init__(self) -> None:
        self._format: SoundFormat | None = None
        self._other_bits = 0

    def format(self, frame: bytes) -> SoundFormat:
        """What the stream's configuration says."""
        self.payload(frame)
        if self._format is None:
            raise CorruptMedia("an AAC LATM stream begins without its configuration")
        return self._format

    def payload(self, frame: bytes) -> bytes:
        """The raw AAC frame inside an AudioMuxElement."""
        bits = BitReader(frame, 24)
        if not bits.flag():
            self._configure(frame, bits)
        elif self._format is None:
            raise CorruptMedia("an AAC LATM stream begins without its configuration")
        size = 0
        while (step := bits.read(8)) == 255:
            size += 255
        size += step
        start = bits.position
        if start + 8 * size > 8 * len(frame):
            raise CorruptMedia("an AAC LATM frame is longer than its element")
        whole = int.from_bytes(frame, "big") >> (8 * len(frame) - start - 8 * size)
        return (whole & (1 << 8 * size) - 1).to_bytes(size, "big")

    def _configure(self, frame: bytes, bits: BitReader) -> None:
        """Read a StreamMuxConfig: one programme, one layer, as broadcast uses it."""
        version = bits.read(1)
        if version and bits.read(1):
            raise UnsupportedMedia("AAC LATM of audioMuxVersionA 1")
        if version:
            _latm_value(bits)
        if not bits.read(1) or bits.read(6) or bits.read(4) or bits.read(3):
            raise UnsupportedMedia("AAC LATM with several frames, programmes or layers")
        size = _latm_value(bits) if version else 0
        start = bits.position
        rate, samples, channels = _specific_config(bits)
        used = bits.position - start
        if version:
            bits.skip(size - used)
        config = _bits_of(frame, start, size if version else used)
        self._format = SoundFormat("aac", rate, samples, channels, config)
        if bits.read(3):
            raise UnsupportedMedia("AAC LATM with frames of fixed length")
        bits.skip(8)
        self._skip_other(bits, version)
        if bits.read(1):
            bits.skip(8)

    def _skip_other(self, bits: BitReader, version: int) -> None:
        if not bits.read(1):
            return
        if version:
            _latm_value(bits)
            return
        while bits.read(9) >> 8:
            pass


def _latm_value(bits: BitReader) -> int:
    count = bits.read(2)
    return bits.read(8 * (count + 1))


def _specific_config(bits: BitReader) -> tuple[int, int, int]:
    """Sample rate, samples a frame and channels of an AudioSpecificConfig."""
    kind, rate = _object_type(bits), _rate(bits)
    channels = bits.read(4)
    if kind in {5, 29}:
        # The extension doubles the rate of what is heard; core frames keep their duration.
        _rate(bits)
        kind = _object_type(bits)
    if kind not in {1, 2, 3, 4}:
        raise UnsupportedMedia(f"AAC of object type {kind} in LATM")
    samples = 960 if bits.flag() else 1024
    if bits.flag():
        bits.skip(14)
    if bits.flag():
        raise UnsupportedMedia("AAC with an extension flag in LATM")
    if not 0 < channels < len(_AAC_CHANNELS):
        raise UnsupportedMedia("AAC whose channels are told in the programme config element")
    return rate, samples, _AAC_CHANNELS[channels]


def _object_type(bits: BitReader) -> int:
    kind = bits.read(5)
    return 32 + bits.read(6) if kind == 31 else kind


def _rate(bits: BitReader) -> int:
    index = bits.read(4)
    if index == 15:
        return bits.read(24)
    if index >= len(_AAC_RATES):
        raise CorruptMedia("AAC with a reserved sample rate")
    return _AAC_RATES[index]


def _bits_of(data: bytes, start: int, size: int) -> bytes:
    """Some bits of a byte string, set to the left of whole bytes."""
    value = int.from_bytes(data, "big") >> (8 * len(data) - start - size) & (1 << size) - 1
    return (value << -size % 8).to_bytes(-(-size // 8), "big")
