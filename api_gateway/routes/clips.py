"""Clips: a moment of a live channel, addressed by its fileId."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from api_gateway.annotations import by_clip
from api_gateway.answers import conditional
from api_gateway.clip_address import dedup_key, media_key
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.jobviews import JobView, job_answer, job_json
from api_gateway.params import FileId, FileIdQuery, Id, IdempotencyKey, IfNoneMatch
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from schemas import file_id as file_ids
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.commands import MAX_METADATA_BYTES, ClipFromStream
from schemas.connectors import Connector, Destination
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.errors import FieldInvalid, InFuture, NotFound
from schemas.file_id import ClipFileId
from schemas.jobs import Job, State
from schemas.metadata import NOTHING_CARRIED, Carried
from schemas.settings import Settings
from schemas.times import rfc3339
from store.listing import JobFilter
from store.lookup import job_making

CLIP_PATH = "/v1/connectors/{id}/files/{fileId}/clip"
clips: APIRouter = router("clips")
_MAX_METADATA_FIELDS = 200


class ClipBody(WireValue):
    """How to cut: exactly by default, failing on gaps, waiting for what is still to come."""

    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    metadata: dict[str, str] = Field(default={}, max_length=_MAX_METADATA_FIELDS)

    @field_validator("metadata")
    @classmethod
    def _bounded(cls, metadata: dict[str, str]) -> dict[str, str]:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"metadata is {size} bytes, above {MAX_METADATA_BYTES}")
        return metadata


_DEFAULT = ClipBody()
_GAVE_UP: tuple[State, ...] = ("failed", "cancelled")
_LOOKED_THROUGH = 200


@clips.post(
    CLIP_PATH,
    operation_id="clipFromStream",
    summary="Clip a range of a live channel",
    status_code=202,
    response_model=JobView,
    **operation(
        "jobs",
        400,
        404,
        409,
        410,
        413,
        415,
        422,
        425,
        501,
        example={
            "mode": "exact",
            "gaps": "fail",
            "onFuture": "wait",
            "metadata": {"title": "Opening goal"},
        },
    ),
)
async def clip_from_stream(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    body: Annotated[ClipBody | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept the clip: it is stored and queued before the answer leaves."""
    requested = file_id_of(file_id, query_file_id)
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    deps.registry.require(connector.type, "live")
    clip = file_ids.parse(requested)
    wanted = body or _DEFAULT
    check_range(deps.settings, clip, wanted, deps.clock())
    carried = await by_clip(deps, connector, clip)
    command = clip_command(caller, connector, clip, requested, wanted, carried)
    accepted = await deps.accepting.accept(
        command,
        idempotency_key=idempotency_key,
        body_hash=f"{command.dedup_key}\n{command.file_id}\n{wanted.model_dump_json()}",
    )
    return job_answer(accepted.job)


@clips.get(
    CLIP_PATH,
    operation_id="getClip",
    summary="The job that makes or made a clip",
    response_model=JobView,
    **operation("read", 404, 422),
)
async def get_clip(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    _: IfNoneMatch = None,
) -> Response:
    """The newest job of this fileId."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    clip = file_ids.parse(file_id_of(file_id, query_file_id))
    job = await in_thread(newest_clip, deps, caller.tenant_id, connector.id, clip)
    return conditional(request, job_json(job))


def check_range(settings: Settings, clip: ClipFileId, wanted: ClipBody, now_ms: int) -> None:
    """Refuse what is too long, too far ahead, or in the future of one who will not wait."""
    length, end = clip.range.length_ms, clip.range.end_ms
    if length > settings.max_clip_ms:
        raise FieldInvalid(
            f"the range is {length} ms long; at most {settings.max_clip_ms} ms", code="too_long"
        )
    if end > now_ms and wanted.on_future == "reject":
        raise InFuture(f"the range ends at {rfc3339(end)}, which has not been broadcast yet")
    if end > now_ms + settings.max_future_ms:
        raise FieldInvalid(
            f"the range ends at {rfc3339(end)}, more than {settings.max_future_ms} ms ahead",
            code="too_far_ahead",
        )


def clip_command(
    caller: Principal,
    connector: Connector,
    clip: ClipFileId,
    requested: str,
    wanted: ClipBody,
    carried: Carried = NOTHING_CARRIED,
) -> ClipFromStream:
    """The command, complete in itself."""
    canonical = clip.canonical
    words = {
        "fileId": canonical,
        "requestedFileId": requested,
        "startMs": clip.range.start_ms,
        "endMs": clip.range.end_ms,
        **wanted.model_dump(mode="json", by_alias=True),
    }
    return ClipFromStream(
        tenant_id=caller.tenant_id,
        requested_by=caller.subject,
        request=words,
        dedup_key=dedup_key(connector.id, clip.channel_id, clip.clip_id),
        connector=connector.ref,
        channel_id=clip.channel_id,
        range=clip.range,
        clip_id=clip.clip_id,
        file_id=canonical,
        requested_file_id=requested,
        mode=wanted.mode,
        gaps=wanted.gaps,
        on_future=wanted.on_future,
        metadata=wanted.metadata,
        carried=carried,
        destination=Destination(key=media_key(connector, clip)),
    )


def newest_clip(deps: Gateway, tenant_id: str, connector_id: str, clip: ClipFileId) -> Job:
    """The living or newest job of a clip, or NotFound."""
    name = dedup_key(connector_id, clip.channel_id, clip.clip_id)
    making = job_making(deps.store, tenant_id, name)
    if making is not None:
        job = deps.jobs.get(tenant_id, making)
        if job.request.get("fileId") == clip.canonical:
            return job
    return _newest_ended(deps, tenant_id, connector_id, clip)


def _newest_ended(deps: Gateway, tenant_id: str, connector_id: str, clip: ClipFileId) -> Job:
    """A failed or cancelled job of the clip gave its name up: look through the newest ones."""
    for state in _GAVE_UP:
        wanted = JobFilter(
            kind="clip", state=state, connector_id=connector_id, channel_id=clip.channel_id
        )
        for job in deps.jobs.list(tenant_id, wanted, limit=_LOOKED_THROUGH).items:
            if job.request.get("fileId") == clip.canonical:
                return job
    raise NotFound("nobody has asked for this clip")
