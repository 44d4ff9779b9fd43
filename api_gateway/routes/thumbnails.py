"""Thumbnails: posters and sprites of files, clips and channels, made on the first request."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag
from api_gateway.clip_address import media_key
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.file_place import clip_of
from api_gateway.jobviews import JobView, job_answer
from api_gateway.params import Digits, FileId, FileIdQuery, Id, IfNoneMatch
from api_gateway.problems import Problem, wrong
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from api_gateway.upstream import asked
from connectors.base import Query as Listing
from connectors.base import Reads
from connectors.media_store import MediaStore
from pipelines import sprite, webvtt
from schemas.accounts import Principal
from schemas.commands import MakeThumbnails
from schemas.connectors import Connector, Destination
from schemas.errors import (
    InFuture,
    NotFound,
    SourceNotFound,
    StoreUnavailable,
)
from schemas.file_id import ClipFileId
from schemas.jobs import FINAL, Job
from schemas.ledger import Accepted
from schemas.thumbnails import (
    MAX_PICTURES,
    MAX_POSTER_WIDTH,
    MAX_SPRITE_WIDTH,
    PictureFormat,
    Seek,
    Storyboard,
)
from schemas.times import MAX_EPOCH_MS, TimeRange
from store.listing import JobFilter
from store.localized import Localized
from store.lookup import job_making
from store.thumbs import Thumbs

thumbnails: APIRouter = router("connectors")
_DECLARED = operation("read", 404, 410, 422, 425, 501, 502)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_DECLARED["responses"][200] = {
    "description": "The picture, or the sprite's cues",
    "content": {
        "image/jpeg": _BINARY,
        "image/webp": _BINARY,
        "text/vtt": {"schema": {"type": "string"}},
    },
}
_DECLARED["responses"][202] = {"model": JobView, "description": "A worker makes it"}
Kind = Literal["poster", "sprite", "vtt", "json"]
MAX_BYTES = 32 * 1024 * 1024
# A failure stands for so long before the same picture is tried again.
REFUSED_FOR_MS = 5 * 60 * 1000
_LOOKED_THROUGH = 200
_CACHED = "private, max-age=300"
# What time alone puts right is asked for again at once.
_PASSING = frozenset(("in_future", "segment_missing"))
_STATUS = {"media_invalid": 404, "source_not_found": 404, "out_of_window": 410}


@dataclass(frozen=True)
class _Wanted:
    """A request as every step here needs it."""

    caller: Principal
    connector: Connector
    file_id: str
    clip: ClipFileId | None
    type: Kind
    at_ms: int
    every_ms: int | None
    count: int | None
    width: int | None
    format: PictureFormat
    times: Seek
    sheet: int
    version: str = ""

    @property
    def key(self) -> str:
        """Where it lies in the media store: a poster's file, or a sprite's folder."""
        words = [self.version] if self.version else []
        words += [] if self.times == "exact" else ["key"]
        if self.width is not None:
            words.append(f"w{self.width}")
        if self.type == "poster":
            name = "-".join(["poster", str(self.at_ms), *words]) + f".{self.format}"
        else:
            words += [f"every{self.every_ms}"] if self.every_ms else []
            words += [f"count{self.count}"] if self.count else []
            name = "-".join(["sprite", *words, self.format])
        return f"{_folder(self)}/{name}"

    @property
    def name(self) -> str:
        """What is one and the same job."""
        return f"sprite\n{self.connector.id}\n{self.key}"

    def address(self, sheet: int) -> str:
        """A sheet of this sprite, relative to where its cues were read."""
        told = {
            "type": "sprite",
            "sheet": sheet,
            "format": self.format,
            "everyMs": self.every_ms,
            "count": self.count,
            "width": self.width,
            "times": None if self.times == "exact" else self.times,
        }
        return f"thumbnail?{urlencode({k: v for k, v in told.items() if v is not None})}"


@thumbnails.get(
    "/v1/connectors/{id}/files/{fileId}/thumbnail",
    operation_id="getThumbnail",
    summary="A poster or sprite of a file, a clip or a moment of a channel",
    response_model=Storyboard,
    **_DECLARED,
)
async def get_thumbnail(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    type: Annotated[Kind, Query(description="a picture, or the sprite's cues")] = "poster",  # noqa: A002
    at_ms: Annotated[
        int,
        Query(
            alias="atMs",
            ge=0,
            le=MAX_EPOCH_MS,
            description="of a poster: from the first moment; of a channel: epoch milliseconds",
        ),
        Digits,
    ] = 0,
    every_ms: Annotated[
        int | None, Query(alias="everyMs", ge=40, le=24 * 3600 * 1000), Digits
    ] = None,
    count: Annotated[int | None, Query(ge=1, le=MAX_PICTURES), Digits] = None,
    width: Annotated[int | None, Query(ge=16, le=MAX_POSTER_WIDTH), Digits] = None,
    image_format: Annotated[PictureFormat, Query(alias="format")] = "jpg",
    times: Annotated[Seek, Query(description="keyframe is cheaper; cues tell true times")] = (
        "exact"
    ),
    sheet: Annotated[
        int, Query(ge=0, le=MAX_PICTURES, description="which sprite sheet"), Digits
    ] = 0,
    _: IfNoneMatch = None,
) -> Response:
    """The picture where it is there; else 202 and the job that makes it."""
    requested = file_id_of(file_id, query_file_id)
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    clip = clip_of(deps, connector, requested)
    wanted = _Wanted(
        caller, connector, requested if clip is None else clip.canonical, clip, type, at_ms,
        every_ms, count, width, image_format, times, sheet,
    )  # fmt: skip
    _check(deps, wanted)
    wanted = replace(wanted, version=await _version(deps, wanted))
    found = await in_thread(_held, deps.media_store, wanted)
    if found is not None:
        await in_thread(_looked_at, deps, wanted, len(found[0]))
        return _answered(request, *found)
    accepted = await in_thread(_accept, deps, wanted)
    return job_answer(accepted.job, Retry_After="1", Cache_Control="no-store")


def _answered(request: Request, body: bytes, media_type: str) -> Response:
    tag = etag.of_bytes(body)
    headers = {"ETag": tag, "Cache-Control": _CACHED}
    if etag.is_known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _check(deps: Gateway, wanted: _Wanted) -> None:
    _check_words(deps, wanted)
    channel = _channel(deps, wanted)
    if channel is not None and channel[1].end_ms > deps.clock():
        raise InFuture("this time is not broadcast yet")


def _check_words(deps: Gateway, wanted: _Wanted) -> None:
    if wanted.type != "poster" and (wanted.width or 0) > MAX_SPRITE_WIDTH:
        raise _wrong("width", f"a sprite's pictures are at most {MAX_SPRITE_WIDTH} wide")
    if wanted.every_ms is not None and wanted.count is not None:
        raise _wrong("everyMs", "give everyMs or count, not both")
    if wanted.clip is not None:
        if wanted.type == "poster" and wanted.at_ms >= wanted.clip.range.length_ms:
            raise _wrong("atMs", f"the clip lasts {wanted.clip.range.length_ms} ms")
        return
    if "reads" not in deps.registry.capabilities(wanted.connector.type):
        if wanted.type != "poster":
            raise _wrong("type", "of a channel, name a range: the fileId of a clip")
        if wanted.at_ms == 0:
            raise _wrong("atMs", "of a channel, atMs names the moment in epoch milliseconds")


def _wrong(name: str, message: str) -> Problem:
    return wrong(f"#query/{name}", message, "invalid_field")


# --- which version of a file


async def _version(deps: Gateway, wanted: _Wanted) -> str:
    """What tells one version of a connector's file from the next; nothing of what never changes.

    A source that is away is taken to hold what it held when it was last asked.
    """
    connector, file_id = wanted.connector, wanted.file_id
    if wanted.clip is not None or "reads" not in deps.registry.capabilities(connector.type):
        return ""
    held = deps.versions.get(connector.id, file_id)
    if held is not None:
        return held[0]
    index, folder = Thumbs(deps.store), _folder(wanted)
    try:
        version = await asked(deps, lambda: _told(deps, wanted))
    except Problem as problem:
        last = await in_thread(index.version, folder) if problem.status == 502 else None
        if last is None:
            raise
        return last
    await in_thread(index.put_version, folder, version)
    return deps.versions.put(version, connector.id, file_id)


def _told(deps: Gateway, wanted: _Wanted) -> str:
    opened = deps.registry.open(wanted.connector.ref, deps.sealer, deps.env)
    if not isinstance(opened, Reads):
        return ""
    told = opened.stat(wanted.file_id)
    words = f"{told.etag}\n{told.modified_ms}\n{told.size}"
    return "v" + hashlib.sha256(words.encode()).hexdigest()[:16]


def _folder(wanted: _Wanted) -> str:
    owner = wanted.connector
    return sprite.folder(owner.tenant_id, owner.fingerprint, wanted.file_id)


def _looked_at(deps: Gateway, wanted: _Wanted, size: int) -> None:
    """Keep what is looked at from being the first to go."""
    if deps.looked_at.get(wanted.key) is not None:
        return
    deps.looked_at.put(True, wanted.key)
    if wanted.type != "poster":
        listed = deps.media_store.query(Listing(path=wanted.key, limit=1000))
        size = sum(entry.size or 0 for entry in listed.items)
    with suppress(StoreUnavailable):
        Thumbs(deps.store).put(wanted.key, size)


# --- what is there


def _held(store: MediaStore, wanted: _Wanted) -> tuple[bytes, str] | None:
    """The bytes that were asked for and their type, where they were made already."""
    try:
        if wanted.type == "poster":
            return _read(store, wanted.key), sprite.CONTENT_TYPES[wanted.format]
        text = _read(store, f"{wanted.key}/{sprite.SPRITE}.json")
        board = Storyboard.model_validate_json(text)
        if wanted.type == "sprite":
            return _sheet(store, wanted, board), sprite.CONTENT_TYPES[wanted.format]
    except (SourceNotFound, ValidationError):
        return None
    if wanted.type == "vtt":
        return webvtt.storyboard(board, wanted.address).encode(), "text/vtt"
    told = board.model_dump(mode="json", by_alias=True)
    told["sheets"] = [wanted.address(number) for number in range(len(board.sheets))]
    return json.dumps(told).encode(), "application/json"


def _sheet(store: MediaStore, wanted: _Wanted, board: Storyboard) -> bytes:
    if wanted.sheet >= len(board.sheets):
        raise NotFound(f"the sprite has {len(board.sheets)} sheets")
    return _read(store, f"{wanted.key}/{board.sheets[wanted.sheet]}")


def _read(store: MediaStore, key: str) -> bytes:
    size = store.stat(key).size or 0
    return store.read_range(key, 0, min(size, MAX_BYTES))


# --- the job that makes it


def _accept(deps: Gateway, wanted: _Wanted) -> Accepted:
    tenant_id = wanted.connector.tenant_id
    generation = Localized(deps.store).generation(wanted.name)
    job_id = job_making(deps.store, tenant_id, f"{wanted.name}\n{generation}")
    job = None if job_id is None else _job(deps, tenant_id, job_id)
    if job is not None and job.state not in FINAL:
        return Accepted(job, created=False)
    if job is not None:
        # What it made is gone again.
        generation = Localized(deps.store).generation(wanted.name, after=generation)
    _refuse_again(deps, wanted)
    return deps.jobs.accept(_command(deps, wanted, generation))


def _job(deps: Gateway, tenant_id: str, job_id: str) -> Job | None:
    try:
        return deps.jobs.get(tenant_id, job_id)
    except NotFound:
        return None


def _refuse_again(deps: Gateway, wanted: _Wanted) -> None:
    """What just failed for good is not tried again at every look."""
    recent = JobFilter(
        kind="sprite",
        connector_id=wanted.connector.id,
        state="failed",
        from_ms=deps.clock() - REFUSED_FOR_MS,
    )
    found = deps.jobs.list(wanted.connector.tenant_id, recent, limit=_LOOKED_THROUGH)
    for job in found.items:
        if job.request.get("key") != wanted.key or job.error is None:
            continue
        if not job.error.retryable and job.error.code not in _PASSING:
            status = _STATUS.get(job.error.code, 422)
            raise Problem(status, job.error.message, code=job.error.code)


def _command(deps: Gateway, wanted: _Wanted, generation: int) -> MakeThumbnails:
    is_poster, clip = wanted.type == "poster", wanted.clip
    stored_key = _stored(deps, wanted)
    channel = _channel(deps, wanted) if stored_key is None else None
    of_moment = clip is None and channel is not None
    return MakeThumbnails(
        tenant_id=wanted.caller.tenant_id,
        requested_by=wanted.caller.subject,
        request={"fileId": wanted.file_id, "type": wanted.type, "key": wanted.key},
        priority="background",
        dedup_key=f"{wanted.name}\n{generation}",
        connector=wanted.connector.ref,
        file_id=wanted.file_id,
        stored_key=stored_key,
        channel_id="" if channel is None else channel[0],
        range=None if channel is None else channel[1],
        type="poster" if is_poster else "sprite",
        at_ms=wanted.at_ms if is_poster and not of_moment else 0,
        every_ms=None if is_poster else wanted.every_ms,
        count=None if is_poster else wanted.count,
        width=wanted.width,
        format=wanted.format,
        times=wanted.times,
        destination=Destination(key=wanted.key),
    )


def _stored(deps: Gateway, wanted: _Wanted) -> str | None:
    """Where the media store holds a clip that was made; None for one that was not, or a file."""
    if wanted.clip is None:
        return None
    key = media_key(wanted.connector, wanted.clip)
    try:
        deps.media_store.stat(key)
    except SourceNotFound:
        return None
    return key


def _channel(deps: Gateway, wanted: _Wanted) -> tuple[str, TimeRange] | None:
    """The channel and range pictures are taken of, where it is no file."""
    if wanted.clip is not None:
        return wanted.clip.channel_id, wanted.clip.range
    if "reads" in deps.registry.capabilities(wanted.connector.type):
        return None
    return wanted.file_id, TimeRange(start_ms=wanted.at_ms, end_ms=wanted.at_ms + 1)
