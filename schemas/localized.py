"""Localized files: what was copied here from a source, and how we know it is still the same."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Value, WireValue
from schemas.media import ByteRange, MediaInfo

MIN_RATE = 64 * 1024


class Validators(WireValue):
    """What a source says of a file's version; what it does not say is None."""

    size: int | None = None
    etag: str | None = None
    modified_ms: int | None = None

    @property
    def strong_etag(self) -> str | None:
        """The ETag, where equal ETags promise equal bytes (RFC 9110 8.8.1)."""
        etag = self.etag
        return etag if etag and etag.startswith('"') and etag.endswith('"') else None


class SourceFile(Value):
    """A file at its source, as it was found before anything of it was fetched."""

    file_id: str
    name: str
    content_type: str | None = None
    validators: Validators


class Resume(Value):
    """What an earlier attempt left: the version it read, and which bytes of it are here."""

    validators: Validators
    boot: str
    done: tuple[ByteRange, ...] = ()


class FetchedFile(Value):
    """What a download made; `resumed` are the bytes that were here before it began."""

    name: str
    size: int
    sha256: str
    resumed: int = 0
    connections: int = 1
    restarted: bool = False


class LocalizedFile(WireValue):
    """One localized version of a file, as its record in the media store tells it.

    `fingerprint` stands for the connector, so an equal one made later finds the same content.
    """

    tenant_id: str
    fingerprint: str
    connector_id: str
    file_id: str
    job_id: str
    key: str
    record_key: str
    size: int = Field(ge=0)
    sha256: str
    content_type: str
    validators: Validators
    media: MediaInfo
    localized_ms: int
