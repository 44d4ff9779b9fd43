"""Playlist text from anywhere, as lines and attributes that are bounded and well formed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

from schemas.errors import CorruptMedia, SourceUnavailable, TooLarge

MAX_BYTES = 20 * 1024 * 1024
MAX_LINES = 200_000
MAX_LINE_CHARS = 16 * 1024
MAX_URI_CHARS = 8 * 1024
MAX_ATTRIBUTES = 64
MAX_VARIABLES = 256
MAX_INTEGER = 2**63 - 1

_TAG = re.compile(r"#(EXT[A-Z0-9-]*)(?::(.*))?", re.ASCII)
_ATTRIBUTE = re.compile(r"\s*([A-Z0-9-]{1,64})=(\"[^\"]*\"|[^,\"']*)\s*(?:,|$)", re.ASCII)
_REFERENCE = re.compile(r"\{\$([A-Za-z0-9_-]{1,128})\}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufffd]")
_PLAIN_PATH = re.compile(r"\w[\w-]*(?:[./]\w[\w-]*)*(?:\?[\w=&%.~-]*)?", re.ASCII)
_NOT_IN_URI = re.compile(r"[\s\x00-\x20\x7f-\xa0\ufffd]")


class Line(NamedTuple):
    """A line that means something: a tag with its value, or (`tag` None) a URI."""

    number: int
    tag: str | None
    value: str

    def refused(self, why: str) -> CorruptMedia:
        """The error that names this line; the line itself may hold a signed URL and stays out."""
        return CorruptMedia(f"playlist line {self.number} ({self.tag or 'URI'}): {why}")


def scan(raw: bytes | str) -> Iterator[Line]:
    """The tags and URIs of a playlist, in order; comments and blank lines are left out.

    Size and line count are judged before anything is decoded or split.
    """
    _check_size(raw)
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
    lines = text.removeprefix("\ufeff").split("\n")
    _check_header(lines[0].strip())
    for number, line in enumerate(lines[1:], 2):
        if (stripped := line.strip(" \t\r")) and (found := _line(number, stripped)):
            yield found


def _check_size(raw: bytes | str) -> None:
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"a playlist of {len(raw)} bytes is over the {MAX_BYTES} allowed")
    lines = raw.count(b"\n") if isinstance(raw, bytes) else raw.count("\n")
    if lines > MAX_LINES:
        raise TooLarge(f"a playlist of {lines} lines is over the {MAX_LINES} allowed")
    if not raw.strip():
        raise SourceUnavailable("the origin answered with an empty playlist")


def _check_header(first: str) -> None:
    if first == "#EXTM3U" or first.startswith(("#EXTM3U ", "#EXTM3U\t")):
        return
    if first.startswith("<"):
        raise SourceUnavailable("the origin answered with a web page instead of a playlist")
    raise CorruptMedia("not an HLS playlist: the first line is not #EXTM3U")


def _line(number: int, text: str) -> Line | None:
    if "\x00" in text:
        raise CorruptMedia(f"playlist line {number} holds a NUL byte")
    match = _TAG.match(text) if text.startswith("#") else None
    if text.startswith("#") and match is None:
        return None
    if len(text) > MAX_LINE_CHARS:
        raise TooLarge(f"playlist line {number} has {len(text)} characters, over {MAX_LINE_CHARS}")
    if match is None:
        return Line(number, None, text)
    return Line(number, match[1], (match[2] or "").strip(" \t"))


def integer(line: Line, text: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
    """A decimal integer within bounds."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise line.refused(f"{text[:24]!r} is not a whole number from {least} to {most}")
    return int(text)


def decimal_us(line: Line, text: str, *, most_s: int) -> int:
    """A non-negative decimal number of seconds, as microseconds rounded to the nearest."""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{0,64}))?", text)
    if match is None or int(match[1]) > most_s:
        raise line.refused(f"{text[:24]!r} is not a number of seconds from 0 to {most_s}")
    digits = (match[2] or "").ljust(7, "0")
    return int(match[1]) * 1_000_000 + (int(digits[:7]) + 5) // 10


def clean(line: Line, text: str) -> str:
    """The text, refused where it holds control characters."""
    if _CONTROL.search(text):
        raise line.refused("control characters are not allowed")
    return text


@dataclass
class Variables:
    """EXT-X-DEFINE names and their values; every expansion stays within a line's length."""

    imported: Mapping[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    spent: int = 0

    def define(self, line: Line, uri: str) -> None:
        """Learn the variable an EXT-X-DEFINE gives."""
        given = self.attributes(line)
        kinds = [kind for kind in ("NAME", "IMPORT", "QUERYPARAM") if kind in given]
        if len(kinds) != 1 or not _NAME.fullmatch(given[kinds[0]]):
            raise line.refused("one of NAME, IMPORT, QUERYPARAM must name a variable")
        name = given[kinds[0]]
        if name in self.known or len(self.known) >= MAX_VARIABLES:
            raise line.refused("a variable is defined twice, or there are too many")
        self.known[name] = self._value(line, kinds[0], name, given, uri)

    def _value(self, line: Line, kind: str, name: str, given: dict[str, str], uri: str) -> str:
        source: Mapping[str, str] = {}
        match kind:
            case "NAME":
                source = {name: given["VALUE"]} if "VALUE" in given else {}
            case "IMPORT":
                source = self.imported
            case "QUERYPARAM":
                source = dict(parse_qsl(urlsplit(uri).query, max_num_fields=1000))
        if name not in source:
            raise line.refused(f"{kind} of {name!r} has no value here")
        return source[name]

    def expanded(self, line: Line, text: str) -> str:
        """The text with every `{$name}` replaced, once: values are not read again."""
        if "{$" not in text:
            return text
        pieces, length, at = [], 0, 0
        for match in _REFERENCE.finditer(text):
            if match[1] not in self.known:
                raise line.refused(f"variable {match[1]!r} is not defined")
            pieces += [text[at : match.start()], self.known[match[1]]]
            length += len(pieces[-1]) + len(pieces[-2])
            at = match.end()
            if length > MAX_LINE_CHARS:
                raise TooLarge(f"playlist line {line.number} expands past {MAX_LINE_CHARS}")
        self.spent += length
        if self.spent > MAX_BYTES:
            raise TooLarge(f"the playlist's variables expand past {MAX_BYTES} characters")
        return "".join([*pieces, text[at:]])

    def attributes(self, line: Line) -> dict[str, str]:
        """The attribute list of a tag, unquoted and expanded."""
        found: dict[str, str] = {}
        at, text = 0, line.value
        while at < len(text):
            match = _ATTRIBUTE.match(text, at)
            if match is None or match[1] in found or len(found) >= MAX_ATTRIBUTES:
                raise line.refused("the attribute list is malformed, repeated or too long")
            found[match[1]] = clean(line, self.expanded(line, match[2].strip().strip('"')))
            at = match.end()
        return found


@lru_cache(maxsize=256)
def _folder(base: str) -> str:
    return urljoin(base, ".")


def absolute(line: Line, base: str, reference: str) -> str:
    """The reference as an absolute http(s) URI; any other scheme is refused."""
    if len(reference) < 512 and _PLAIN_PATH.fullmatch(reference) and len(base) < 4096:
        # Nearly every segment: a name beside its playlist. Full resolution costs ten times as much.
        return _folder(base) + reference
    if not reference or len(reference) > MAX_URI_CHARS or _NOT_IN_URI.search(reference):
        raise line.refused(f"a URI has 1 to {MAX_URI_CHARS} characters, none of them blank")
    try:
        whole = urldefrag(urljoin(base, reference)).url
        parts = urlsplit(whole)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise line.refused("the URI cannot be read") from error
    if not usable:
        raise line.refused(f"{parts.scheme[:16] or 'no'}: is not a scheme that is fetched")
    if len(whole) > MAX_URI_CHARS:
        raise line.refused(f"the URI is longer than {MAX_URI_CHARS} characters")
    return whole
