"""WebVTT: cues as values, read from what origins send and written anew; storyboards too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from schemas.base import Value
from schemas.errors import CorruptMedia, TooLarge
from schemas.thumbnails import Storyboard

MAX_CUES = 50_000
MAX_BLOCK_CHARS = 64 * 1024
_SIGNATURE = re.compile(r"WEBVTT(?:[ \t].*)?")
_CLOCK = r"(?:(\d{2,6}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMING = re.compile(rf"\s*{_CLOCK}\s+-->\s+{_CLOCK}(?:\s+(.*))?", re.ASCII)
_INSIDE = re.compile(rf"<{_CLOCK}>", re.ASCII)
_LOCAL = re.compile(rf"LOCAL:\s*{_CLOCK}", re.ASCII)
_MPEGTS = re.compile(r"MPEGTS:\s*(\d{1,20})", re.ASCII)
_MAP = "X-TIMESTAMP-MAP="


class Cue(Value):
    """Words and when they are shown, in milliseconds of the document's own clock."""

    start_ms: int
    end_ms: int
    text: str
    settings: str = ""
    id: str = ""


class TextDocument(Value):
    """A WebVTT document; `blocks` are its STYLE and REGION blocks as they stand there.

    `local_ms` of its clock is `mpegts`, a count of 90 kHz, where it says so.
    """

    cues: tuple[Cue, ...] = ()
    blocks: tuple[str, ...] = ()
    local_ms: int = 0
    mpegts: int | None = None


def timestamp(ms: int) -> str:
    """A time as WebVTT writes it.

    >>> timestamp(3_723_004), timestamp(0)
    ('01:02:03.004', '00:00:00.000')
    """
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{rest:03d}"


def storyboard(board: Storyboard, address: Callable[[int], str]) -> str:
    """The cues of a storyboard; `address` answers where a sheet lies, by its number."""
    blocks = [
        f"{timestamp(cue.start_ms)} --> {timestamp(cue.end_ms)}\n"
        f"{address(cue.sheet)}#xywh={cue.x},{cue.y},{cue.w},{cue.h}\n"
        for cue in board.cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def written(document: TextDocument) -> str:
    """The document as text; its clock begins at zero, so nothing maps it to another."""
    blocks = (f"{block}\n" for block in document.blocks)
    return "\n".join(["WEBVTT\n", *blocks, *(_written(cue) for cue in document.cues)])


def _written(cue: Cue) -> str:
    name = f"{cue.id}\n" if cue.id else ""
    settings = f" {cue.settings}" if cue.settings else ""
    times = f"{timestamp(cue.start_ms)} --> {timestamp(cue.end_ms)}{settings}"
    return f"{name}{times}\n{cue.text}\n" if cue.text else f"{name}{times}\n"


def read(data: bytes) -> TextDocument:
    """The document that bytes spell; raises CorruptMedia where they are no WebVTT.

    As the specification asks, a block that makes no sense is passed over and the next one read.
    """
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "\ufffd")
    blocks = _blocks(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    head = next(blocks, ())
    if not head or not _SIGNATURE.fullmatch(head[0]):
        raise CorruptMedia("a subtitle segment is not WebVTT")
    cues: list[Cue] = []
    kept: list[str] = []
    header = list(head[1:])
    for block in blocks:
        cue = _cue(block)
        if cue is not None:
            cues.append(cue)
        elif not cues and block[0].rstrip() in {"STYLE", "REGION"}:
            kept.append(_bounded(block))
        elif not cues and block[0].startswith(_MAP):
            header.append(block[0])  # after a blank line, against the specification, but seen
        if len(cues) > MAX_CUES:
            raise TooLarge(f"a subtitle segment has more than {MAX_CUES} cues")
    local_ms, mpegts = _mapped(header)
    return TextDocument(cues=tuple(cues), blocks=tuple(kept), local_ms=local_ms, mpegts=mpegts)


def _blocks(lines: Iterable[str]) -> Iterator[Sequence[str]]:
    """Runs of lines that are not empty."""
    held: list[str] = []
    for line in lines:
        if line:
            held.append(line)
        elif held:
            yield held
            held = []
    if held:
        yield held


def _bounded(block: Sequence[str]) -> str:
    text = "\n".join(block)
    if len(text) > MAX_BLOCK_CHARS:
        raise TooLarge(f"a block of a subtitle segment is over {MAX_BLOCK_CHARS} characters")
    return text


def _cue(block: Sequence[str]) -> Cue | None:
    at = next((n for n, line in enumerate(block[:2]) if "-->" in line), None)
    timing = _TIMING.fullmatch(block[at]) if at is not None else None
    if at is None or timing is None:
        return None
    start_ms, end_ms = _ms(timing.groups()[:4]), _ms(timing.groups()[4:8])
    if end_ms <= start_ms:
        return None
    return Cue(
        start_ms=start_ms,
        end_ms=end_ms,
        text=_bounded(block[at + 1 :]),
        settings=(timing[9] or "").strip(),
        id=block[0] if at else "",
    )


def _ms(parts: Sequence[str | None]) -> int:
    hours, minutes, seconds, rest = (int(part or 0) for part in parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def _mapped(header: Sequence[str]) -> tuple[int, int | None]:
    line = next((line for line in header if line.startswith(_MAP)), "")
    local, mpegts = _LOCAL.search(line), _MPEGTS.search(line)
    if local is None or mpegts is None:
        return 0, None
    return _ms(local.groups()), int(mpegts[1])


def retimed(text: str, by_ms: int, start_ms: int, end_ms: int) -> str:
    """The words of a cue whose clock is set later; times inside it that are outside it go.

    >>> retimed("one <00:00:05.500>two", -5000, 0, 1000)
    'one <00:00:00.500>two'
    """

    def moved(found: re.Match[str]) -> str:
        at_ms = _ms(found.groups()) + by_ms
        return f"<{timestamp(at_ms)}>" if start_ms < at_ms < end_ms else ""

    return _INSIDE.sub(moved, text)
