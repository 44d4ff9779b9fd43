"""Files of a job in the media store: read through the gateway, whole or in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import ranges
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import Id, IfNoneMatch
from api_gateway.ranges import Held
from api_gateway.routing import operation, router
from schemas.errors import FieldInvalid, NotFound, SourceNotFound
from schemas.jobs import Job

job_files: APIRouter = router("jobs")
_PATH = "/v1/jobs/{id}/files/{name}"
_TYPES = {
    "mp4": "video/mp4",
    "m4s": "video/iso.segment",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "vtt": "text/vtt",
    "json": "application/json",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "xmp": "application/rdf+xml",
    "otio": "application/json",
    "fcpxml": "application/xml",
    "edl": "text/plain",
}
Name = Annotated[str, Path(alias="name", max_length=1024, description="as `url` in the result")]
RangeHeader = Annotated[
    str | None, Header(alias="Range", max_length=200, description="one range of bytes")
]
IfRange = Annotated[
    str | None, Header(alias="If-Range", max_length=200, description="the ETag a range belongs to")
]


@job_files.head(_PATH, include_in_schema=False, **operation("read", 404, 416, 422))
@job_files.get(
    _PATH,
    operation_id="getJobFile",
    summary="A file the job made, in the media store",
    response_class=Response,
    **operation("read", 404, 416, 422),
)
async def get_job_file(
    request: Request,
    deps: Deps,
    caller: Caller,
    job_id: Id,
    name: Name,
    _range: RangeHeader = None,
    _if_range: IfRange = None,
    _: IfNoneMatch = None,
) -> Response:
    """As the job's result names it; of a ladder also everything its manifest names."""
    job = await in_thread(deps.jobs.get, caller.tenant_id, job_id)
    return ranges.answer(request, await in_thread(_held, deps, job, name))


def _held(deps: Gateway, job: Job, name: str) -> Held:
    key = _key(job, name)
    if key is None:
        raise NotFound(f"job {job.id} has no file of this name here")
    store = deps.media_store
    try:
        entry = store.stat(key)
    except (SourceNotFound, FieldInvalid):
        raise NotFound(f"job {job.id} has no file of this name here any more") from None
    return Held(
        name=name,
        size=entry.size or 0,
        tag=entry.etag or f'"{entry.size}-{entry.modified_ms}"',
        media_type=_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream"),
        read=lambda offset, length: store.read_range(key, offset, length),
    )


def _key(job: Job, name: str) -> str | None:
    """The key behind a name: of a file of the result, or of one beside a manifest of it."""
    if "/" in name or not name:
        return None
    base = f"/v1/jobs/{job.id}/files/"
    ours = [
        key for url, key in _addressed(job.result) if isinstance(key, str) and url.startswith(base)
    ]
    for key in ours:
        if key.rpartition("/")[2] == name:
            return key
    told = (job.result or {}).get("manifests")
    manifests = [key for _, key in _addressed(told) if key in ours]
    folder = manifests[0].rpartition("/")[0] if manifests else ""
    return f"{folder}/{name}" if folder else None


def _addressed(value: Any) -> Iterator[tuple[str, str]]:
    """Every address in a result, with the key it stands for."""
    if isinstance(value, list):
        for each in value:
            yield from _addressed(each)
    elif isinstance(value, dict):
        url, key = value.get("url"), value.get("key")
        if isinstance(url, str) and isinstance(key, str):
            yield url, key
        for each in value.values():
            yield from _addressed(each)
