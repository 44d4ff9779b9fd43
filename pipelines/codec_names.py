"""The RFC 6381 name of a codec, read from the header of a fragmented MP4."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.errors import CorruptMedia

MAX_HEADER_BYTES = 1024 * 1024
_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_SKIPPED = {b"stsd": 8}
_VISUAL_BYTES, _AUDIO_BYTES = 78, 28
_VISUAL = {b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09"}
_AUDIO = {b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3"}


def codec_names(header: bytes) -> tuple[str, ...]:
    """The names of every track, in the order of the header."""
    return tuple(_entries(header[:MAX_HEADER_BYTES]))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _entries(data: bytes) -> Iterator[str]:
    for kind, body in _boxes(data):
        if kind in _INSIDE:
            yield from _entries(body)
        elif kind in _SKIPPED:
            yield from _entries(body[_SKIPPED[kind] :])
        elif kind in _VISUAL:
            yield _visual(kind, dict(_boxes(body[_VISUAL_BYTES:])))
        elif kind in _AUDIO:
            yield _audio(kind, dict(_boxes(body[_AUDIO_BYTES:])))


def _visual(kind: bytes, inner: dict[bytes, bytes]) -> str:
    name = kind.decode("ascii")
    try:
        match kind:
            case b"avc1" | b"avc3":
                return f"{name}.{inner[b'avcC'][1:4].hex()}"
            case b"hvc1" | b"hev1":
                return f"{name}.{_hevc(inner[b'hvcC'])}"
            case b"av01":
                return f"{name}.{_av1(inner[b'av1C'])}"
        profile, level, depth = inner[b"vpcC"][4], inner[b"vpcC"][5], inner[b"vpcC"][6] >> 4
    except (KeyError, IndexError) as error:
        raise CorruptMedia(f"the header of a {name} track lacks its configuration") from error
    return f"{name}.{profile:02d}.{level:02d}.{depth:02d}"


def _hevc(record: bytes) -> str:
    """ISO/IEC 14496-15 E.3: profile space and number, flags backwards, tier and level, limits."""
    space = ("", "A", "B", "C")[record[1] >> 6]
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    tier = "H" if record[1] & 0x20 else "L"
    limits = record[6:12].rstrip(b"\x00")
    parts = [f"{space}{record[1] & 0x1F}", f"{flags:X}", f"{tier}{record[12]}"]
    return ".".join((*parts, *(f"{byte:X}" for byte in limits)))


def _av1(record: bytes) -> str:
    profile, level = record[1] >> 5, record[1] & 0x1F
    tier = "H" if record[2] & 0x80 else "M"
    depth = 10 if record[2] & 0x40 else 8
    return f"{profile}.{level:02d}{tier}.{depth:02d}"


def _audio(kind: bytes, inner: dict[bytes, bytes]) -> str:
    if kind != b"mp4a":
        return {b"Opus": "opus", b"fLaC": "fLaC"}.get(kind, kind.decode("ascii"))
    return f"mp4a.40.{_aac_object(inner.get(b'esds', b''))}"


def _aac_object(descriptor: bytes) -> int:
    # The decoder's own configuration stands behind tag 5; its first five bits name the object.
    at = descriptor.find(b"\x05", 4)
    while at >= 0:
        after = at + 1
        while after < len(descriptor) and descriptor[after] & 0x80:
            after += 1
        if after + 1 < len(descriptor) and 2 <= descriptor[after] <= 64:
            return descriptor[after + 1] >> 3 or 2
        at = descriptor.find(b"\x05", at + 1)
    return 2
