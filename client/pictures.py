"""Renditions and thumbnails: other forms of a file, and pictures of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from client.calls import Calls, decoded
from client.jobs import Jobs
from client.moments import Place, place
from client.transport import Reply
from client.values import Job, read, wire
from schemas.errors import NotFound
from schemas.profiles import Profile
from schemas.thumbnails import PictureFormat, Seek, Storyboard

PICTURE_WITHIN_S = 300.0
Kind = Literal["poster", "sprite", "vtt", "json"]
_ROUNDS = 3


class Rendition(Profile):
    """A recipe as the service keeps it."""

    id: str
    created_at: str
    updated_at: str
    etag: str | None = Field(default=None, exclude=True)


@dataclass(frozen=True)
class Picture:
    """A picture, or the cues of one; `etag` tells whether it is still the same."""

    data: bytes
    content_type: str
    etag: str | None

    def json(self) -> Any:
        """What it holds, where that is JSON."""
        return decoded(Reply(200, {}, self.data))

    def __repr__(self) -> str:
        return f"Picture({len(self.data)} bytes of {self.content_type})"


class Renditions:
    """The tenant's recipes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[Rendition]:
        """Every recipe."""
        return self._calls.pages(Rendition, "listRenditions")

    def create(self, profile: Profile) -> Rendition:
        """Keep a recipe."""
        return self._calls.value(Rendition, "createRendition", body=wire(profile))

    def get(self, rendition_id: str) -> Rendition:
        """One recipe."""
        return self._calls.value(Rendition, "getRendition", {"id": rendition_id})

    def update(
        self, rendition_id: str, changes: dict[str, Any], *, if_match: str | None = None
    ) -> Rendition:
        """Merge changes in, spelled as in JSON; running jobs keep what they began with."""
        at, said = {"id": rendition_id}, {"If-Match": if_match}
        return self._calls.value(Rendition, "updateRendition", at, body=changes, headers=said)

    def delete(self, rendition_id: str, *, if_match: str | None = None) -> None:
        """Delete a recipe that nothing uses."""
        said = {"If-Match": if_match}
        self._calls.reply("deleteRendition", {"id": rendition_id}, headers=said)

    def render(
        self,
        connector_id: str,
        file_id: str,
        rendition_ids: Sequence[str],
        to: Place | str | None = None,
        *,
        key: str | None = None,
    ) -> Job:
        """Make a file's renditions, from one decode where they are a ladder."""
        body: dict[str, Any] = {"renditionIds": list(rendition_ids)}
        body |= {} if to is None else {"destination": place(to)}
        at = {"id": connector_id, "fileId": file_id}
        return self._calls.value(Job, "createRenditionJob", at, body=body, key=key)


class Thumbnails:
    """Posters, sprites and their cues."""

    def __init__(self, calls: Calls, jobs: Jobs) -> None:
        self._calls = calls
        self._jobs = jobs

    def fetch(
        self,
        connector_id: str,
        file_id: str,
        *,
        type: Kind | None = None,  # noqa: A002 - the contract's word
        at_ms: int | None = None,
        every_ms: int | None = None,
        count: int | None = None,
        width: int | None = None,
        format: PictureFormat | None = None,  # noqa: A002 - the contract's word
        times: Seek | None = None,
        sheet: int | None = None,
        etag: str | None = None,
    ) -> Picture | Job | None:
        """The picture; the job that makes it; or None where the one of this `etag` still holds."""
        query = {
            "type": type,
            "atMs": at_ms,
            "everyMs": every_ms,
            "count": count,
            "width": width,
            "format": format,
            "times": times,
            "sheet": sheet,
        }
        at, said = {"id": connector_id, "fileId": file_id}, {"If-None-Match": etag, "Accept": "*/*"}
        reply = self._calls.reply("getThumbnail", at, query=query, headers=said)
        if reply.status == 304:
            return None
        if reply.status == 202:
            return read(Job, decoded(reply))
        kind = reply.headers.get("content-type", "")
        return Picture(reply.data, kind, reply.headers.get("etag"))

    def poster(
        self,
        connector_id: str,
        file_id: str,
        *,
        at_ms: int | None = None,
        width: int | None = None,
        format: PictureFormat | None = None,  # noqa: A002 - the contract's word
        times: Seek | None = None,
        timeout_s: float = PICTURE_WITHIN_S,
    ) -> Picture:
        """One picture of a file, waited for where it has to be made."""
        wanted = {"at_ms": at_ms, "width": width, "format": format, "times": times}
        return self._made(connector_id, file_id, {"type": "poster", **wanted}, timeout_s)

    def sprite(
        self,
        connector_id: str,
        file_id: str,
        *,
        every_ms: int | None = None,
        count: int | None = None,
        width: int | None = None,
        format: PictureFormat | None = None,  # noqa: A002 - the contract's word
        times: Seek | None = None,
        timeout_s: float = PICTURE_WITHIN_S,
    ) -> tuple[Storyboard, tuple[Picture, ...]]:
        """The cues of a sprite and all its sheets, waited for where they have to be made."""
        wanted = {
            "every_ms": every_ms,
            "count": count,
            "width": width,
            "format": format,
            "times": times,
        }
        told = self._made(connector_id, file_id, {"type": "json", **wanted}, timeout_s)
        board = read(Storyboard, told.json())
        sheets = tuple(
            self._made(connector_id, file_id, {"type": "sprite", "sheet": n, **wanted}, timeout_s)
            for n in range(len(board.sheets))
        )
        return board, sheets

    def _made(
        self, connector_id: str, file_id: str, wanted: dict[str, Any], timeout_s: float
    ) -> Picture:
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_ROUNDS):
            found = self.fetch(connector_id, file_id, **wanted)
            if isinstance(found, Picture):
                return found
            if found is not None:
                self._jobs.succeeded(found, deadline_s - time.monotonic())
        raise NotFound("the picture was gone each time its job had ended")
