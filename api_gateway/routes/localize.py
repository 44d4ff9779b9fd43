"""Localizing: a copy of a connector's file in the media store, asked for and looked at."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Body
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import upstream
from api_gateway.annotations import by_clip
from api_gateway.answers import conditional
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.file_place import clip_of
from api_gateway.jobkeys import JobKey
from api_gateway.jobviews import JobView, job_answer, job_json
from api_gateway.params import FileId, FileIdQuery, Id, IdempotencyKey, IfNoneMatch
from api_gateway.problems import wrong
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.clips import ClipBody, check_range, clip_command, newest_clip
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from connectors.base import Live, Reads
from pipelines.localize import dedup_key, file_digest, folder
from pipelines.recipes import RECIPES, file_suffix
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.commands import CommandBase, CreateRenditions, LocalizeFile
from schemas.connectors import Connector, Destination
from schemas.errors import NotFound
from schemas.file_id import ClipFileId
from schemas.jobs import FINAL, Job
from schemas.ledger import Accepted
from schemas.metadata import Carried
from schemas.profiles import Profile
from store.listing import JobFilter
from store.localized import Localized, Place
from store.lookup import job_making

localize: APIRouter = router("connectors")
_DECLARED = operation("jobs", 400, 404, 409, 413, 415, 422, 501, 502, example={"force": False})
_DECLARED["responses"][200] = {"model": JobView, "description": "The job there is already"}
_LOOKED_THROUGH = 200
_MAX_PLAYLIST_BYTES = 20 * 1024 * 1024


class LocalizeBody(WireValue):
    """How to localize: as it is at its source, fetched anew where forced."""

    rendition_id: str | None = Field(default=None, min_length=1, max_length=200)
    force: StrictBool = False


class _Asked(NamedTuple):
    """A request as every step here needs it."""

    caller: Principal
    connector: Connector
    file_id: str
    wanted: LocalizeBody
    idempotency_key: str | None

    @property
    def name(self) -> str:
        """What is one and the same job, but for how often it was asked for anew."""
        return dedup_key(self.connector.id, self.file_id, self.wanted.rendition_id)

    @property
    def key(self) -> JobKey:
        """Its Idempotency-Key, and the words it came with."""
        words = f"{self.name}\n{self.wanted.model_dump_json()}"
        return JobKey(self.caller.tenant_id, self.idempotency_key, words)


_DEFAULT = LocalizeBody()


@localize.post(
    "/v1/connectors/{id}/files/{fileId}/localize",
    operation_id="localizeFile",
    summary="Keep a copy of a file in the media store",
    status_code=202,
    response_model=JobView,
    **_DECLARED,
)
async def localize_file(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    body: Annotated[LocalizeBody | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """202 and a new job; 200 and the same job where it runs, or its copy is held."""
    requested = file_id_of(file_id, query_file_id)
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    wanted = body or _DEFAULT
    clip = clip_of(deps, connector, requested)
    asked = _Asked(caller, connector, requested, wanted, idempotency_key)
    if wanted.rendition_id is not None:
        await in_thread(_recipes, deps, caller.tenant_id, wanted.rendition_id)
    accepted = await in_thread(asked.key.first, deps) or await _accepted(deps, asked, clip)
    return job_answer(accepted.job, 202 if accepted.created else 200)


@localize.get(
    "/v1/connectors/{id}/files/{fileId}/localize",
    operation_id="getLocalization",
    summary="The job that localizes or localized a file",
    response_model=JobView,
    **operation("read", 404, 422),
)
async def get_localization(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    _: IfNoneMatch = None,
) -> Response:
    """The job that holds the file, else the newest that was to; of a clip, the clip's own."""
    requested = file_id_of(file_id, query_file_id)
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    clip = clip_of(deps, connector, requested)
    if clip is not None:
        job = await in_thread(newest_clip, deps, caller.tenant_id, connector.id, clip)
    else:
        asked = _Asked(caller, connector, requested, _DEFAULT, None)
        job = await in_thread(_newest, deps, asked)
    return conditional(request, job_json(job))


async def _accepted(deps: Gateway, asked: _Asked, clip: ClipFileId | None) -> Accepted:
    if clip is not None:
        carried = await by_clip(deps, asked.connector, clip)
        return await in_thread(_accept_clip, deps, asked, clip, carried)
    known = await in_thread(_known, deps, asked)
    return known or await _accept_new(deps, asked)


def _accept_clip(deps: Gateway, asked: _Asked, clip: ClipFileId, carried: Carried) -> Accepted:
    """A clip is localized by being made: it is one job with the clip of this fileId."""
    if asked.wanted.rendition_id is not None:
        told = "a clip is kept as it is cut: leave renditionId out"
        raise wrong("/renditionId", told, "invalid_field")
    wanted = ClipBody()
    check_range(deps.settings, clip, wanted, deps.clock())
    command = clip_command(asked.caller, asked.connector, clip, asked.file_id, wanted, carried)
    job_id = job_making(deps.store, command.tenant_id, command.dedup_key or "")
    job = None if job_id is None else _job(deps, command.tenant_id, job_id)
    # However that clip was asked for, it is the one that is being made.
    if job is not None and job.request.get("fileId") == command.file_id:
        return asked.key.answered(deps, job)
    return _kept(deps, asked, command)


def _known(deps: Gateway, asked: _Asked) -> Accepted | None:
    """The job at work on the file, or the one whose copy of it will do."""
    job = _doing(deps, asked)
    return None if job is None else asked.key.answered(deps, job)


def _doing(deps: Gateway, asked: _Asked) -> Job | None:
    _, job = _current(deps, asked)
    if job is not None and job.state not in FINAL:
        return job
    if asked.wanted.force:
        return None
    if asked.wanted.rendition_id is not None:
        return job if job is not None and job.state == "succeeded" else None
    return _holding(deps, asked)


async def _accept_new(deps: Gateway, asked: _Asked) -> Accepted:
    """A new job, once the source has been seen to have the file."""
    await upstream.asked(deps, lambda: _look(deps, asked))
    return await in_thread(_accept, deps, asked)


def _look(deps: Gateway, asked: _Asked) -> None:
    opened = deps.registry.open(asked.connector.ref, deps.sealer, deps.env)
    if isinstance(opened, Reads):
        opened.stat(asked.file_id)
    elif isinstance(opened, Live):
        opened.fetch(opened.playlist_url(asked.file_id), max_bytes=_MAX_PLAYLIST_BYTES)


def _accept(deps: Gateway, asked: _Asked) -> Accepted:
    generation, job = _current(deps, asked)
    if job is not None and job.state in FINAL:
        # What it made is gone, or is to be made anew.
        generation = Localized(deps.store).generation(asked.name, after=generation)
    if asked.wanted.rendition_id is not None:
        return _kept(deps, asked, _rendition(deps, asked, asked.wanted.rendition_id, generation))
    return _kept(deps, asked, _command(asked, generation))


def _kept(deps: Gateway, asked: _Asked, command: CommandBase) -> Accepted:
    _, key, words = asked.key
    return deps.jobs.accept(command, idempotency_key=key, body_hash=words)


def _command(asked: _Asked, generation: int) -> LocalizeFile:
    words = asked.wanted.model_dump(mode="json", by_alias=True)
    return LocalizeFile(
        tenant_id=asked.caller.tenant_id,
        requested_by=asked.caller.subject,
        request={"fileId": asked.file_id, **words},
        dedup_key=f"{asked.name}\n{generation}",
        connector=asked.connector.ref,
        file_id=asked.file_id,
        force=asked.wanted.force,
    )


def _rendition(
    deps: Gateway, asked: _Asked, rendition_id: str, generation: int
) -> CreateRenditions:
    """The rendition of a file is localized by being made, into a place of its own."""
    recipes = _recipes(deps, asked.caller.tenant_id, rendition_id)
    connector = asked.connector
    held = folder(connector.tenant_id, connector.fingerprint, file_digest(asked.file_id))
    made = file_digest(f"{rendition_id}\n{[r.model_dump_json() for r in recipes]}")
    key = f"renditions/{held.partition('/')[2]}/{made}-{generation}/rendition"
    words = asked.wanted.model_dump(mode="json", by_alias=True)
    return CreateRenditions(
        tenant_id=asked.caller.tenant_id,
        requested_by=asked.caller.subject,
        request={"fileId": asked.file_id, "renditionIds": [rendition_id], **words},
        dedup_key=f"{asked.name}\n{generation}",
        connector=connector.ref,
        file_id=asked.file_id,
        recipes=recipes,
        rendition_ids=(rendition_id,),
        destination=Destination(key=f"{key}{file_suffix(recipes)}"),
    )


def _recipes(deps: Gateway, tenant_id: str, rendition_id: str) -> tuple[Profile, ...]:
    if rendition_id in RECIPES:
        return RECIPES[rendition_id]
    try:
        with deps.catalog.read() as tx:
            return (tx.renditions.get(tenant_id, rendition_id).recipe,)
    except NotFound as error:
        raise wrong("/renditionId", error.message, "rendition_unknown") from None


def _current(deps: Gateway, asked: _Asked) -> tuple[int, Job | None]:
    """How often the file was asked for anew, and the job that is about it now."""
    generation = Localized(deps.store).generation(asked.name)
    tenant_id = asked.connector.tenant_id
    job_id = job_making(deps.store, tenant_id, f"{asked.name}\n{generation}")
    return generation, None if job_id is None else _job(deps, tenant_id, job_id)


def _newest(deps: Gateway, asked: _Asked) -> Job:
    _, job = _current(deps, asked)
    if job is not None and job.state not in FINAL:
        return job
    return _holding(deps, asked) or job or _newest_ended(deps, asked.connector, asked.file_id)


def _newest_ended(deps: Gateway, connector: Connector, file_id: str) -> Job:
    """A failed or cancelled job has given its name up: look through the newest ones."""
    wanted = JobFilter(kind="localize", connector_id=connector.id)
    for job in deps.jobs.list(connector.tenant_id, wanted, limit=_LOOKED_THROUGH).items:
        if job.request.get("fileId") == file_id:
            return job
    raise NotFound("nobody has asked for this file")


def _holding(deps: Gateway, asked: _Asked) -> Job | None:
    """The job that brought what is held of a file, also for an equal connector deleted since."""
    connector, digest = asked.connector, file_digest(asked.file_id)
    place = Place(connector.tenant_id, connector.fingerprint, digest)
    record = Localized(deps.store).get(place)
    return None if record is None else _job(deps, connector.tenant_id, record.job_id)


def _job(deps: Gateway, tenant_id: str, job_id: str) -> Job | None:
    try:
        return deps.jobs.get(tenant_id, job_id)
    except NotFound:
        return None
