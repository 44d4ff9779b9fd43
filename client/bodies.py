"""Bodies that are read from a file while they are sent."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from schemas.errors import SourceChanged

PIECE_BYTES = 256 * 1024
OnRead = Callable[[int], None]


class Slice:
    """A part of a file; `on_read` hears of every piece that was read."""

    def __init__(self, file: BinaryIO, offset: int, size: int, on_read: OnRead) -> None:
        self._file, self._left, self._size, self._on_read = file, size, size, on_read
        file.seek(offset)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE_BYTES):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes more; none at the end."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise SourceChanged("the file became shorter while it was sent")
        self._left -= len(data)
        if data:
            self._on_read(len(data))
        return data


class Form:
    """A form (RFC 7578) of fields and one file."""

    def __init__(self, fields: Mapping[str, str], name: str, content: Slice) -> None:
        self.boundary = secrets.token_hex(16)
        before = "".join(self._field(key, value) for key, value in fields.items())
        before += self._head(f'name="file"; filename="{_quoted(name)}"')
        self._head_left = before.encode()
        self._content = content
        self._tail_left = f"\r\n--{self.boundary}--\r\n".encode()
        self._size = len(self._head_left) + len(content) + len(self._tail_left)

    @property
    def content_type(self) -> str:
        """The header that goes with it."""
        return f"multipart/form-data; boundary={self.boundary}"

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE_BYTES):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes more; none at the end."""
        wanted = PIECE_BYTES if size < 0 else size
        if self._head_left:
            data, self._head_left = self._head_left[:wanted], self._head_left[wanted:]
            return data
        data = self._content.read(wanted)
        if not data:
            data, self._tail_left = self._tail_left[:wanted], self._tail_left[wanted:]
        return data

    def _field(self, name: str, value: str) -> str:
        head = self._head(f'name="{_quoted(name)}"')
        return f"{head}{value}\r\n"

    def _head(self, words: str) -> str:
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {words}\r\n\r\n"


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
