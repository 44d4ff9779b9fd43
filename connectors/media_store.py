"""The operator's media store: a folder or a bucket, named by one setting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import ValidationError

from connectors._local_files import writing
from connectors.addresses import AddressPolicy
from connectors.base import Connector, Lists, Reads, Writes
from connectors.egress import Judge, quiet_libraries
from connectors.local import Folder
from connectors.s3 import Auth, Bucket, Config
from schemas.errors import InvalidCommand
from schemas.settings import Settings

EVERYWHERE = ("0.0.0.0/0", "::/0")


@runtime_checkable
class MediaStore(Connector, Lists, Reads, Writes, Protocol):
    """What the product keeps its own output in."""


def open_media_store(settings: Settings, clock: Callable[[], int] | None = None) -> MediaStore:
    """The media store the settings name: a folder's path, or
    `s3://bucket/prefix?endpoint=…&region=…&sse=…`."""
    place = settings.media_store or str(Path(settings.data_dir) / "media")
    if place.startswith("s3://"):
        return _bucket(place, settings, clock or _now_ms)
    if "://" in place:
        raise InvalidCommand(f"a media store is a folder or s3://…, not {place.partition(':')[0]}")
    return Folder(_made(Path(place).absolute()))


@lru_cache(maxsize=16)
def _made(root: Path) -> Path:
    """The folder, made by this process once at most.

    Where it vanishes later its disk is most likely unmounted: what would be written to a new folder
    in its place would be lost to everybody, so readiness has to tell of it instead.
    """
    with writing("the media store"):
        root.mkdir(parents=True, exist_ok=True)
    return root


def _bucket(place: str, settings: Settings, clock: Callable[[], int]) -> Bucket:
    quiet_libraries()
    auth = Auth(
        access_key_id=settings.media_store_key_id, secret_access_key=settings.media_store_secret
    )
    # The operator's own word: no tenant can choose where this leads.
    judge = Judge(AddressPolicy(EVERYWHERE))
    own_chain = settings.media_store_key_id is None
    return Bucket(_parsed(place), auth, judge, clock, own_chain=own_chain, exclusive=True)


def _parsed(place: str) -> Config:
    parts = urlsplit(place)
    options: Iterable[tuple[str, Any]] = parse_qsl(parts.query)
    if parts.username is not None or parts.password is not None:
        raise InvalidCommand("the media store's keys go in their own settings, not in its URL")
    try:
        return Config.model_validate(
            {**dict(options), "bucket": parts.netloc, "prefix": unquote(parts.path).strip("/")}
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = "/".join(str(step) for step in first["loc"])
        raise InvalidCommand(f"media store: {where}: {first['msg']}") from None


def _now_ms() -> int:
    return time.time_ns() // 10**6
