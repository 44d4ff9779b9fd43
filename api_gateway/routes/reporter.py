"""Reporter: destinations that people in the field upload to, and their uploads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import AfterValidator, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging, uploads
from api_gateway.answers import (
    Answer,
    Keyed,
    answer,
    conditional,
    keyed,
    once,
    page,
    page_of,
)
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.jobkeys import JobKey
from api_gateway.jobviews import JobView, job_answer
from api_gateway.params import (
    DEFAULT,
    Cursor,
    Id,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Limit,
    TrueOrFalse,
)
from api_gateway.patches import Lasting
from api_gateway.problems import Problem, about, wrong
from api_gateway.routes.connectors import Name
from api_gateway.routing import operation, router
from api_gateway.uploads import Credentials, UploadView
from catalog.engine import Transaction
from catalog.ids import new_id
from pipelines import upload as rules
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.commands import CheckUpload
from schemas.errors import FieldInvalid, NotFound, SourceNotFound
from schemas.jobs import Job
from schemas.ledger import Accepted
from schemas.times import rfc3339
from schemas.uploads import (
    SHA256,
    HeldUpload,
    ReporterDestination,
    Upload,
    UploadEnd,
    UploadMode,
)
from store.uploads import Uploads, state_of

reporter: APIRouter = router("reporter")
_KIND = "destinations"
_UPLOADS = "uploads"
_LARGEST_PAGE = 200
_MAX_TYPES = 50
_MAX_BYTES = 5 * 2**40
_LOOKED_THROUGH = 1000
_EXAMPLE = {
    "name": "Phones",
    "pathTemplate": "field/{date}/{user}/{fileName}",
    "maxBytes": 4_000_000_000,
    "allowedTypes": ["video/*", "image/jpeg"],
}
_WANTED = {"fileName": "IMG_0001.MOV", "size": 73_400_320, "contentType": "video/quicktime"}
_UPLOAD = "/v1/reporter/destinations/{id}/uploads/{uploadId}"
MediaType = Annotated[str, Field(min_length=3, max_length=200)]
UploadId = Annotated[
    str, Path(alias="uploadId", max_length=200, description="`uploadId` of the credentials")
]


def _template(template: str) -> str:
    try:
        return rules.checked_template(template)
    except FieldInvalid as error:
        raise ValueError(error.message) from error


def _media_types(types: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(map(rules.media_type, types)))
    except FieldInvalid as error:
        raise ValueError(error.message) from error


ConnectorId = Annotated[str, Field(min_length=1, max_length=200)]
PathTemplate = Annotated[
    str,
    Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_template),
]
MaxBytes = Annotated[int, Field(ge=1, le=_MAX_BYTES)]
AllowedTypes = Annotated[
    tuple[MediaType, ...],
    Field(min_length=1, max_length=_MAX_TYPES),
    AfterValidator(_media_types),
]


class ReporterDestinationBody(WireValue):
    """Where uploads go: a connector that takes them, the media store where none is named.

    The path is made of `{fileName}`, `{date}`, `{time}`, `{uploadId}`, `{user}` and
    `{destination}`; `allowedTypes` are media types, `video/*` being any video.
    """

    name: Name
    connector_id: ConnectorId | None = None
    path_template: PathTemplate
    max_bytes: MaxBytes | None = None
    allowed_types: AllowedTypes | None = None


class ReporterDestinationPatch(WireValue):
    """A JSON merge patch: null takes a limit away, or goes back to the media store."""

    name: Lasting[Name] = None
    connector_id: ConnectorId | None = None
    path_template: Lasting[PathTemplate] = None
    max_bytes: MaxBytes | None = None
    allowed_types: AllowedTypes | None = None


class ReporterDestinationView(ReporterDestinationBody):
    """A destination under its id."""

    id: str
    created_at: str
    updated_at: str
    links: dict[str, str]


class ReporterDestinationPage(WireValue):
    """Some destinations."""

    items: tuple[ReporterDestinationView, ...]
    next_cursor: str | None


class UploadBody(WireValue):
    """The file that will be sent; `mode` only where the destination's first choice will not do."""

    file_name: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")
    size: int = Field(ge=1, le=2**53)
    content_type: str = Field(min_length=3, max_length=200)
    sha256: str | None = Field(default=None, pattern=SHA256)
    mode: UploadMode | None = None

    @field_validator("content_type")
    @classmethod
    def _is_a_type(cls, told: str) -> str:
        try:
            named = rules.media_type(told)
        except FieldInvalid as error:
            raise ValueError(error.message) from error
        if named.endswith("/*"):
            raise ValueError("a file has one type")
        return named


class UploadPage(WireValue):
    """Some uploads, newest first."""

    items: tuple[UploadView, ...]
    next_cursor: str | None


@reporter.get(
    "/v1/reporter/destinations",
    operation_id="listDestinations",
    summary="The tenant's upload destinations",
    response_model=ReporterDestinationPage,
    **operation("read", 422),
)
async def list_destinations(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made."""
    after = paging.position(_KIND, cursor)
    found = await deps.read(lambda tx: tx.destinations.page(caller.tenant_id, after, limit + 1))
    return page_of(_KIND, found, limit, _view)


@reporter.post(
    "/v1/reporter/destinations",
    operation_id="createDestination",
    summary="Set up where uploads go",
    status_code=201,
    response_model=ReporterDestinationView,
    **operation("connectors", 400, 409, 413, 415, 422, example=_EXAMPLE),
)
async def create_destination(
    request: Request,
    deps: Deps,
    caller: Caller,
    body: ReporterDestinationBody,
    _: IdempotencyKey = None,
) -> Response:
    """Kept where its connector takes uploads and its path is safe."""

    def make(tx: Transaction) -> Answer:
        _check_connector(tx, deps, caller.tenant_id, body.connector_id)
        made = tx.destinations.create(
            caller.tenant_id,
            name=body.name,
            connector_id=body.connector_id,
            path_template=body.path_template,
            max_bytes=body.max_bytes,
            allowed_types=body.allowed_types,
        )
        return answer(
            _view(made),
            201,
            Location=f"/v1/reporter/destinations/{made.id}",
            ETag=etag.of_version(made.version),
        )

    return await once(request, deps, caller.tenant_id, make)


@reporter.get(
    "/v1/reporter/destinations/{id}",
    operation_id="getDestination",
    summary="One upload destination",
    response_model=ReporterDestinationView,
    **operation("read", 404),
)
async def get_destination(
    request: Request, deps: Deps, caller: Caller, destination_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    found = await in_thread(_read, deps, caller.tenant_id, destination_id)
    return conditional(request, _view(found), etag.of_version(found.version))


@reporter.patch(
    "/v1/reporter/destinations/{id}",
    operation_id="updateDestination",
    summary="Change an upload destination; uploads under way keep what was agreed",
    response_model=ReporterDestinationView,
    **operation(
        "connectors",
        400,
        404,
        409,
        412,
        413,
        415,
        422,
        example={"maxBytes": None, "allowedTypes": ["video/*"]},
    ),
)
async def update_destination(
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    body: ReporterDestinationPatch,
    if_match: IfMatch = None,
) -> Response:
    """Merge a JSON merge patch into the destination."""

    def change(tx: Transaction) -> ReporterDestination:
        held = tx.destinations.get(caller.tenant_id, destination_id)
        etag.check_match(if_match, etag.of_version(held.version))
        wanted = held.model_copy(update=body.model_dump(exclude_unset=True, by_alias=False))
        _check_connector(tx, deps, caller.tenant_id, wanted.connector_id)
        return tx.destinations.change(wanted)

    changed = await deps.write(change)
    return answer(_view(changed), ETag=etag.of_version(changed.version)).response


@reporter.delete(
    "/v1/reporter/destinations/{id}",
    operation_id="deleteDestination",
    summary="Delete an upload destination; what was uploaded stays",
    status_code=204,
    response_class=Response,
    **operation("connectors", 404, 409, 412, 422),
)
async def delete_destination(
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    force: Annotated[
        bool, Query(description="also where uploads are under way: they end"), TrueOrFalse
    ] = False,
    if_match: IfMatch = None,
) -> Response:
    """Refused while uploads to it are under way, unless forced."""
    left = await in_thread(_under_way, deps, caller.tenant_id, destination_id)
    if left and not force:
        raise Problem(
            409,
            f"upload {left[0].id} is under way; wait, or use ?force=true",
            code="destination_busy",
        )

    def delete(tx: Transaction) -> None:
        held = tx.destinations.get(caller.tenant_id, destination_id)
        etag.check_match(if_match, etag.of_version(held.version))
        tx.destinations.delete(caller.tenant_id, destination_id)

    await deps.write(delete)
    end = UploadEnd(state="failed", code="cancelled", message="its destination was deleted")
    for upload in left:
        await in_thread(_end_later, deps, upload, end)
    return Response(status_code=204)


@reporter.post(
    "/v1/reporter/destinations/{id}/credentials",
    operation_id="createUploadCredentials",
    summary="Begin an upload, and get credentials that write this one file and read nothing",
    status_code=201,
    response_model=Credentials,
    **operation("jobs", 400, 404, 409, 410, 413, 415, 422, 501, 502, example=_WANTED),
)
async def create_upload_credentials(
    request: Request,
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    body: UploadBody,
    _: IdempotencyKey = None,
) -> Response:
    """The answer's form follows from `mode`; it is an hour's leave at most, and can be renewed."""
    destination = await in_thread(_read, deps, caller.tenant_id, destination_id)

    async def make() -> Answer:
        upload = await _begun(deps, caller, destination, body)
        told = await uploads.granted(request, deps, upload)
        return answer(told, 201, Location=uploads.address(upload))

    return await _once(request, deps, caller.tenant_id, make)


@reporter.post(
    f"{_UPLOAD}/credentials",
    operation_id="renewUploadCredentials",
    summary="Get fresh credentials for the same upload, and learn what has arrived already",
    response_model=Credentials,
    **operation("jobs", 400, 404, 409, 410, 415, 422, 501, 502),
)
async def renew_upload_credentials(
    request: Request,
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    upload_id: UploadId,
    _: IdempotencyKey = None,
) -> Response:
    """The same key and the same upload; 410 once it has ended."""
    held = await in_thread(_found, deps, caller.tenant_id, destination_id, upload_id)

    async def make() -> Answer:
        await in_thread(uploads.still_open, deps, held)
        return answer(await uploads.granted(request, deps, held.upload))

    return await _once(request, deps, caller.tenant_id, make)


_COMPLETED = operation("jobs", 400, 404, 409, 410, 415, 422, 501, 502)
_COMPLETED["responses"][200] = {"model": JobView, "description": "The job there is already"}


@reporter.post(
    f"{_UPLOAD}/complete",
    operation_id="completeUpload",
    summary="Say that everything was sent; a job checks it and lets it in",
    status_code=202,
    response_model=JobView,
    **_COMPLETED,
)
async def complete_upload(
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    upload_id: UploadId,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """202 and a new job; 200 and the same job where it was said before."""
    held = await in_thread(_found, deps, caller.tenant_id, destination_id, upload_id)
    key = JobKey(caller.tenant_id, idempotency_key, f"upload\n{held.upload.id}")
    known = await in_thread(key.first, deps) or await in_thread(_checked, deps, held, key)
    if known is not None:
        return _accepted(known)
    await in_thread(uploads.still_open, deps, held)
    await _refuse_incomplete(deps, held.upload)
    return _accepted(await in_thread(_accept, deps, caller, held.upload, key))


@reporter.get(
    "/v1/reporter/destinations/{id}/uploads",
    operation_id="listUploads",
    summary="A destination's uploads of the last weeks, newest first",
    response_model=UploadPage,
    **operation("read", 404, 422),
)
async def list_uploads(
    deps: Deps, caller: Caller, destination_id: Id, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """What has become of each."""
    after = paging.position(_UPLOADS, cursor)

    def read() -> Response:
        _read(deps, caller.tenant_id, destination_id)
        with about("#query/cursor"):
            found = Uploads(deps.store).page(
                caller.tenant_id, destination_id, after, min(limit, _LARGEST_PAGE)
            )
        more = paging.cursor(_UPLOADS, found.next_cursor) if found.next_cursor else None
        return page((uploads.view(deps, held) for held in found.items), more)

    return await in_thread(read)


@reporter.get(
    _UPLOAD,
    operation_id="getUpload",
    summary="One upload, and what has become of it",
    response_model=UploadView,
    **operation("read", 404),
)
async def get_upload(
    request: Request,
    deps: Deps,
    caller: Caller,
    destination_id: Id,
    upload_id: UploadId,
    _: IfNoneMatch = None,
) -> Response:
    """Its state: open, checking, completed, failed or expired."""

    def read() -> bytes:
        held = _found(deps, caller.tenant_id, destination_id, upload_id)
        return uploads.view(deps, held).model_dump_json(by_alias=True).encode()

    return conditional(request, await in_thread(read))


@reporter.delete(
    _UPLOAD,
    operation_id="cancelUpload",
    summary="Give an upload up; what has come of it is removed",
    status_code=204,
    response_class=Response,
    **operation("jobs", 404, 409, 410, 501),
)
async def cancel_upload(
    deps: Deps, caller: Caller, destination_id: Id, upload_id: UploadId
) -> Response:
    """Only while it is open; its check is cancelled as any job is."""
    held = await in_thread(_found, deps, caller.tenant_id, destination_id, upload_id)
    await in_thread(uploads.still_open, deps, held)
    end = UploadEnd(state="failed", code="cancelled", message="it was given up")
    await uploads.let_go(deps, held.upload, end)
    return Response(status_code=204)


def _read(deps: Gateway, tenant_id: str, destination_id: str) -> ReporterDestination:
    with deps.catalog.read() as tx:
        return tx.destinations.get(tenant_id, destination_id)


def _found(deps: Gateway, tenant_id: str, destination_id: str, upload_id: str) -> HeldUpload:
    """The upload of a destination that is there still."""
    _read(deps, tenant_id, destination_id)
    return uploads.found(deps, tenant_id, destination_id, upload_id)


def _check_connector(
    tx: Transaction, deps: Gateway, tenant_id: str, connector_id: str | None
) -> None:
    if connector_id is None:
        return
    try:
        kind = tx.connectors.get(tenant_id, connector_id).type
    except NotFound as error:
        raise _wrong_connector(error.message, "connector_unknown") from None
    if "temp_credentials" not in deps.registry.capabilities(kind):
        raise _wrong_connector(f"{kind} connectors take no uploads", "not_supported")


def _wrong_connector(message: str, code: str) -> Problem:
    return wrong("/connectorId", message, code)


def _body_of(held: ReporterDestination) -> ReporterDestinationBody:
    names = ReporterDestinationBody.model_fields
    return ReporterDestinationBody.model_construct(**{n: getattr(held, n) for n in names})


def _view(held: ReporterDestination) -> ReporterDestinationView:
    here = f"/v1/reporter/destinations/{held.id}"
    return ReporterDestinationView.model_construct(
        **dict(_body_of(held)),
        id=held.id,
        created_at=rfc3339(held.created_ms),
        updated_at=rfc3339(held.updated_ms),
        links={"self": here, "credentials": f"{here}/credentials", "uploads": f"{here}/uploads"},
    )


async def _begun(
    deps: Gateway, caller: Principal, destination: ReporterDestination, body: UploadBody
) -> Upload:
    """A new upload: agreed on, ready at its destination, written down."""
    tenant_id, now_ms = caller.tenant_id, deps.clock()
    connector = await in_thread(uploads.connector_of, deps, destination)
    upload_id = new_id("upl", now_ms)
    key = uploads.key_for(deps, caller, destination, body.file_name, upload_id)
    await in_thread(_check_count, deps, tenant_id)
    place = await in_thread(uploads.free_place, deps, tenant_id, connector, key, upload_id)
    try:
        modes = uploads.target(deps, place).upload_modes(body.size)
        uploads.agreed(destination, body.size, body.content_type, modes)
        upload = Upload(
            id=upload_id,
            tenant_id=tenant_id,
            destination_id=destination.id,
            requested_by=caller.subject,
            mode=uploads.chosen(modes, body.mode),
            place=place,
            intent={},
            file_name=body.file_name,
            size=body.size,
            content_type=body.content_type,
            sha256=body.sha256,
            allowed_types=destination.allowed_types,
            created_ms=now_ms,
            expires_ms=now_ms + deps.settings.upload_hours * 3600 * 1000,
        )
        return await uploads.begun(deps, upload, upload.mode)
    except BaseException:
        if place.key == key:
            uploads.free_again(deps, tenant_id, connector, key)
        raise


def _check_count(deps: Gateway, tenant_id: str) -> None:
    most = deps.settings.uploads_open
    if Uploads(deps.store).open_count(tenant_id, deps.clock()) >= most:
        raise Problem(
            429,
            f"{most} uploads are under way; finish or cancel some",
            code="too_many_uploads",
            headers={"Retry-After": "60"},
        )


async def _once(
    request: Request, deps: Gateway, tenant_id: str, make: Callable[[], Awaitable[Answer]]
) -> Response:
    """What `make` answers, or answered first under this Idempotency-Key."""
    if "idempotency-key" not in request.headers:
        return (await make()).response

    def keep(key: Keyed, made: Answer) -> Answer:
        with deps.catalog.write() as tx:
            return key.keep(tx, made)

    async with contextmanager_in_threadpool(keyed(request, deps, tenant_id)) as key:
        first = await deps.read(key.first)
        done = first if first is not None else await in_thread(keep, key, await make())
    return done.response


async def _refuse_incomplete(deps: Gateway, upload: Upload) -> None:
    to = uploads.target(deps, upload.place)
    try:
        came = await uploads.beside(deps, lambda: to.arrived(upload.intent))
    except SourceNotFound:
        raise uploads.gone("upload_gone", "the upload is gone from its destination") from None
    if came < upload.size:
        raise Problem(409, f"{came} of {upload.size} bytes have come", code="upload_incomplete")


def _checked(deps: Gateway, held: HeldUpload, key: JobKey) -> Accepted | None:
    """The job that checks or has checked the upload."""
    job = uploads.job_of(deps, held)
    if job is None or job.state == "cancelled":
        return None
    return key.answered(deps, job)


def _accept(deps: Gateway, caller: Principal, upload: Upload, key: JobKey) -> Accepted:
    command = CheckUpload(
        tenant_id=upload.tenant_id,
        requested_by=caller.subject,
        request={
            "destinationId": upload.destination_id,
            "uploadId": upload.id,
            "fileName": upload.file_name,
        },
        # A check that was cancelled has given its name up.
        dedup_key=f"upload\n{upload.id}",
        upload_id=upload.id,
        size=upload.size,
        content_type=upload.content_type,
        sha256=upload.sha256,
        allowed_types=upload.allowed_types,
        intent=upload.intent,
        destination=upload.place,
    )
    accepted = deps.jobs.accept(command, idempotency_key=key.key, body_hash=key.words)
    Uploads(deps.store).checking(upload, accepted.job.id)
    return accepted


def _accepted(accepted: Accepted) -> Response:
    job: Job = accepted.job
    return job_answer(job, 202 if accepted.created else 200)


def _under_way(deps: Gateway, tenant_id: str, destination_id: str) -> list[Upload]:
    """The uploads to a destination that have not ended, among the newest."""
    _read(deps, tenant_id, destination_id)
    found, cursor = list[Upload](), None
    for _ in range(_LOOKED_THROUGH // _LARGEST_PAGE):
        listed = Uploads(deps.store).page(tenant_id, destination_id, cursor, _LARGEST_PAGE)
        for held in listed.items:
            state = state_of(held, uploads.job_of(deps, held), deps.clock())
            if state in {"open", "checking"}:
                found.append(held.upload)
        cursor = listed.next_cursor
        if cursor is None:
            break
    return found


def _end_later(deps: Gateway, upload: Upload, end: UploadEnd) -> None:
    Uploads(deps.store).end(upload, end)
    Uploads(deps.store).later(upload, deps.clock())
