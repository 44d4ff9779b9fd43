"""Upload credentials as they are told: what of them is secret is in no `repr`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from client.errors import Unreadable
from client.values import read
from schemas.base import WireValue
from schemas.times import parse_rfc3339
from schemas.uploads import MultipartGrant, PostGrant, StsGrant, TusGrant

_SHOWN = frozenset({"mode", "upload_id", "path", "expires_at"})


class Minted(WireValue):
    """What goes with every kind of credentials."""

    upload_id: str
    path: str
    expires_at: str
    upload_expires_at: str
    server_time: str
    renew_url: str
    complete_url: str

    @property
    def lasts_s(self) -> float:
        """How long they lasted when they were told, by the service's own clock."""
        return (parse_rfc3339(self.expires_at) - parse_rfc3339(self.server_time)) / 1000

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, value) for name, value in super().__repr_args__() if name in _SHOWN)


class MultipartCredentials(Minted, MultipartGrant):
    """Presigned URLs of the parts that are missing, the first hundred of them."""


class StsCredentials(Minted, StsGrant):
    """Temporary keys of an S3 that put one key."""


class PostCredentials(Minted, PostGrant):
    """A form whose signed conditions fix the key, the type and the size."""


class TusCredentials(Minted, TusGrant):
    """An upload of the tus protocol, created already."""


Credentials = MultipartCredentials | StsCredentials | PostCredentials | TusCredentials
_KINDS: dict[str, type[Credentials]] = {
    "s3-multipart": MultipartCredentials,
    "s3-sts": StsCredentials,
    "s3-post": PostCredentials,
    "tus": TusCredentials,
}


def credentials_of(told: Any) -> Credentials:
    """The credentials in an answer."""
    kind = _KINDS.get(str(told.get("mode"))) if isinstance(told, dict) else None
    if kind is None:
        raise Unreadable("uploads are wanted in a way this client does not know; name a mode")
    found: Credentials = read(kind, told)
    return found
