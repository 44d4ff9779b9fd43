"""What container some bytes begin, judged by their magic alone; never by a name or a header."""

from __future__ import annotations

from typing import Literal

HEAD_BYTES = 65536

Container = Literal[
    "mpegts",
    "m2ts",
    "mp4",
    "fmp4",
    "matroska",
    "webm",
    "adts",
    "ac3",
    "eac3",
    "mp3",
    "mpegps",
    "flv",
    "ogg",
    "wav",
    "avi",
    "flac",
    "mxf",
    "jpeg",
    "png",
    "webp",
    "gif",
    "webvtt",
    "hls",
    "dash",
    "ffconcat",
    "html",
]

DEMUXERS: dict[Container, str] = {
    "mpegts": "mpegts",
    "m2ts": "mpegts",
    "mp4": "mov",
    "fmp4": "mov",
    "matroska": "matroska",
    "webm": "matroska",
    "adts": "aac",
    "ac3": "ac3",
    "eac3": "eac3",
    "mp3": "mp3",
    "mpegps": "mpeg",
    "flv": "flv",
    "ogg": "ogg",
    "wav": "wav",
    "avi": "avi",
    "flac": "flac",
    "mxf": "mxf",
    "jpeg": "jpeg_pipe",
    "png": "png_pipe",
    "webp": "webp_pipe",
    "gif": "gif",
}

_SYNC = 0x47
_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_FRAGMENT_BOXES = frozenset((b"styp", b"moof", b"sidx", b"emsg", b"prft"))
_FRAGMENT_BRANDS = frozenset(
    (b"iso5", b"iso6", b"cmfc", b"cmf2", b"dash", b"msdh", b"msix", b"hlsf")
)
_MAGIC: tuple[tuple[bytes, Container], ...] = (
    (b"\x00\x00\x01\xba", "mpegps"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"RF64", "wav"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
)
_RIFF: dict[bytes, Container] = {b"WAVE": "wav", b"AVI ": "avi", b"WEBP": "webp"}
_TEXT: tuple[tuple[bytes, Container], ...] = (
    (b"#extm3u", "hls"),
    (b"webvtt", "webvtt"),
    (b"ffconcat", "ffconcat"),
    (b"<!doctype html", "html"),
    (b"<html", "html"),
)


def sniff(head: bytes) -> Container | None:
    """The container that begins with these bytes (give HEAD_BYTES of them); None if unknown."""
    body = _after_id3(head)
    tagged = len(body) < len(head)
    return (
        _by_magic(body)
        or _by_box(body)
        or _by_sync(body)
        or _by_audio_frame(body)
        or ("mp3" if tagged and body.strip(b"\x00") == b"" else None)
        or _by_text(head)
    )


def demuxer(container: Container) -> str | None:
    """ffmpeg's name of the demuxer to force; None for what ffmpeg shall never be given."""
    return DEMUXERS.get(container)


def _by_magic(head: bytes) -> Container | None:
    for magic, container in _MAGIC:
        if head.startswith(magic):
            return container
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else "matroska"
    return None


def _by_box(head: bytes) -> Container | None:
    kind = head[4:8]
    if kind in _FRAGMENT_BOXES or (kind == b"ftyp" and head[8:12] in _FRAGMENT_BRANDS):
        return "fmp4"
    return "mp4" if kind in _BOXES else None


def _by_sync(head: bytes) -> Container | None:
    if _repeats(head, 0, 188):
        return "mpegts"
    return "m2ts" if _repeats(head, 4, 192) else None


def _repeats(head: bytes, first: int, step: int) -> bool:
    seen = head[first : first + 5 * step : step]
    return len(head) >= first + 188 and all(byte == _SYNC for byte in seen)


def _by_audio_frame(head: bytes) -> Container | None:
    if len(head) < 7:
        return None
    if head.startswith(b"\x0b\x77"):
        return "eac3" if head[5] >> 3 > 10 else "ac3"
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "adts" if _adts_chain(head) else None
    return "mp3" if _mpeg_audio_header(head) else None


def _adts_chain(head: bytes) -> bool:
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    following = head[length : length + 2]
    return length >= 7 and (
        len(following) < 2 or (following[0], following[1] & 0xF6) == (0xFF, 0xF0)
    )


def _mpeg_audio_header(head: bytes) -> bool:
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bitrate not in {0, 15} and rate != 3


def _by_text(head: bytes) -> Container | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    for start, container in _TEXT:
        if text.startswith(start):
            return container
    if text.startswith((b"<?xml", b"<mpd")) and b"<mpd" in text:
        return "dash"
    return None


def _after_id3(head: bytes) -> bytes:
    # Packed audio segments open with an ID3 tag that carries their timestamp (RFC 8216 3.4).
    for _ in range(4):
        if not head.startswith(b"ID3") or len(head) < 10:
            return head
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        head = head[10 + size :]
    return head
