"""Server-Sent Events: the text of a stream as messages; pure, and bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from client.errors import Unreadable

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Message:
    """One message; a keep-alive has no data."""

    id: str | None = None
    data: str = ""
    retry_ms: int | None = None


@dataclass
class _Draft:
    id: str | None = None
    retry_ms: int | None = None
    data: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data.append(value)
        elif name == "id" and "\0" not in value:
            self.id = value
        elif name == "retry" and value.isascii() and value.isdecimal() and len(value) < 10:
            self.retry_ms = int(value)


def messages(chunks: Iterable[bytes]) -> Iterator[Message]:
    """Every whole message of a stream; what breaks off in the middle of one is not one.

    >>> [m.data for m in messages([b"id: 1\\nda", b"ta: a\\n\\n: hi\\n\\ndata: b"])]
    ['a', '']
    """
    draft, size = _Draft(), 0
    for line in _lines(chunks):
        size += len(line)
        if size > MAX_MESSAGE_BYTES:
            raise Unreadable(f"an event is larger than {MAX_MESSAGE_BYTES} bytes")
        if line:
            draft.take(line.decode("utf-8", errors="replace"))
        else:
            yield Message(draft.id, "\n".join(draft.data), draft.retry_ms)
            draft, size = _Draft(), 0


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends, which are LF or CRLF as this service and proxies write them."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_MESSAGE_BYTES:
            raise Unreadable(f"an event is larger than {MAX_MESSAGE_BYTES} bytes")
        yield from (line.removesuffix(b"\r") for line in whole)
