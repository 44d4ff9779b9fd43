"""Any connector that reads as a source of long files: its own streams, or its ranges in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from connectors.base import CHUNK_BYTES, Control, Reader, Reads, Streams
from schemas.errors import Unsupported
from schemas.localized import SourceFile, Validators

PIECE_BYTES = 4 * CHUNK_BYTES
Opened = Callable[[], object]


def source_file(source: Reads, file_id: str) -> SourceFile:
    """What is to be known of a file before it is read."""
    entry = source.stat(file_id)
    return SourceFile(
        file_id=file_id,
        name=entry.name,
        content_type=entry.content_type,
        validators=Validators(size=entry.size, etag=entry.etag, modified_ms=entry.modified_ms),
    )


def readers(opened: Opened, source: SourceFile) -> Callable[[Control], Reader]:
    """Makes one more connection to a file with each call; `opened` opens the connector anew."""
    first = opened()

    def another(control: Control) -> Reader:
        if isinstance(first, Streams):
            return first.reader(source.file_id, source.validators, control)
        own = opened()
        if not isinstance(own, Reads):
            raise Unsupported("files of this connector cannot be read")
        return RangeReader(own, source, control)

    return another


class RangeReader:
    """Streams made of ranges, for a connector that has none of its own."""

    def __init__(self, source: Reads, file: SourceFile, control: Control) -> None:
        self._source, self._file, self._control = source, file, control

    @contextmanager
    def open(self, offset: int, length: int | None) -> Iterator[RangeStream]:
        """The bytes, read a piece at a time; the version is looked at before each stream."""
        told = source_file(self._source, self._file.file_id).validators
        size = told.size
        end = offset + length if length is not None else size
        yield RangeStream(self._source, self._file.file_id, told, (offset, end), self._control)

    def close(self) -> None:
        """Close what the connector holds open, where it can."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


class RangeStream:
    """One stretch of a file."""

    partial = True

    def __init__(
        self,
        source: Reads,
        file_id: str,
        validators: Validators,
        span: tuple[int, int | None],
        control: Control,
    ) -> None:
        self.validators = validators
        self._source, self._file_id, self._control = source, file_id, control
        self._at, self._end = span
        self._held = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """Some bytes, 0 at the end."""
        self._control()
        if not self._held:
            self._held = memoryview(self._next())
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _next(self) -> bytes:
        left = PIECE_BYTES if self._end is None else min(PIECE_BYTES, self._end - self._at)
        data = self._source.read_range(self._file_id, self._at, left) if left > 0 else b""
        self._at += len(data)
        return data
