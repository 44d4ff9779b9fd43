"""Uploads between a client and a destination: agreed on, told of, let go; and the leave to send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TypeVar, cast

import anyio.to_thread
import structlog
from starlette.requests import Request

from api_gateway.deps import Gateway, in_thread
from api_gateway.destination import own_folder
from api_gateway.problems import FieldProblem, Problem, wrong
from connectors.base import TempCredentials
from pipelines import upload as rules
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.connectors import Connector, Destination
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DestinationRejected,
    DiskFull,
    NotFound,
    RetryableError,
    SourceNotFound,
)
from schemas.jobs import Job, JobError
from schemas.times import rfc3339
from schemas.uploads import (
    AnyGrant,
    HeldUpload,
    MultipartGrant,
    PostGrant,
    ReporterDestination,
    StsGrant,
    TusGrant,
    Upload,
    UploadEnd,
    UploadMode,
    UploadState,
    UploadWanted,
)
from store.uploads import Uploads, state_of

TUS_PATH = "/v1/reporter/tus"
TOKEN_HEADER = "Upload-Token"  # noqa: S105 - its name alone
TUS_VERSION = "1.0.0"
_FIELD = "upload"
_FOLDER = "uploads"
_TIMEOUT_S = 15.0
_log = structlog.get_logger("uploads")
T = TypeVar("T")


class Told(WireValue):
    """What all credentials say: which upload, until when, and what to do next.

    `serverTime` is our clock, for whoever's own is wrong.
    """

    upload_id: str
    path: str
    expires_at: str
    upload_expires_at: str
    server_time: str
    renew_url: str
    complete_url: str


class MultipartCredentials(MultipartGrant, Told):
    """Presigned URLs of the missing parts; renew for those of more than a hundred."""


class StsCredentials(StsGrant, Told):
    """Temporary keys to put one key with."""


class PostCredentials(PostGrant, Told):
    """A signed form to post the file with."""


class TusCredentials(TusGrant, Told):
    """An upload of the tus protocol at `endpoint`, created already."""


Credentials = MultipartCredentials | StsCredentials | PostCredentials | TusCredentials
_SHOWN: dict[UploadMode, type[Credentials]] = {
    "s3-multipart": MultipartCredentials,
    "s3-sts": StsCredentials,
    "s3-post": PostCredentials,
    "tus": TusCredentials,
}


class UploadView(WireValue):
    """An upload and what has become of it; `error` says why one failed or expired."""

    id: str
    destination_id: str
    state: UploadState
    mode: UploadMode
    file_name: str
    path: str
    size: int
    content_type: str
    sha256: str | None
    requested_by: str
    created_at: str
    expires_at: str
    job_id: str | None
    error: JobError | None
    links: dict[str, str]


def agreed(
    destination: ReporterDestination, size: int, content_type: str, modes: tuple[UploadMode, ...]
) -> None:
    """Refuse a file that the destination will not have, before a byte of it is sent."""
    most = destination.max_bytes
    if not modes or (most is not None and size > most):
        bound = "that this system takes" if most is None else f"of {most} bytes"
        raise Problem(413, f"{size} bytes are more than the most {bound}", code="too_large")
    if not rules.allows(destination.allowed_types, content_type):
        allowed = ", ".join(destination.allowed_types or ())
        raise _type_refused(f"{content_type} is not allowed here; {allowed} are")
    if content_type not in rules.KNOWN:
        raise _type_refused(f"{content_type} is nothing that can be checked once it has come")


def _type_refused(message: str) -> Problem:
    found = [FieldProblem(pointer="/contentType", message=message)]
    return Problem(415, message, code="type_not_allowed", found=found)


def chosen(modes: tuple[UploadMode, ...], asked: UploadMode | None) -> UploadMode:
    """The mode asked for, else the destination's best; refused where it has no such way."""
    if asked is None or asked in modes:
        return asked or modes[0]
    message = f"this destination takes {', '.join(modes)} for a file of this size"
    raise wrong("/mode", message, "mode_unavailable")


def connector_of(deps: Gateway, destination: ReporterDestination) -> Connector | None:
    """The destination's connector, None for the media store; a deleted one is a conflict."""
    if destination.connector_id is None:
        return None
    try:
        with deps.catalog.read() as tx:
            return tx.connectors.get(destination.tenant_id, destination.connector_id)
    except NotFound:
        raise Problem(
            409, "the destination's connector was deleted", code="connector_gone"
        ) from None


def target(deps: Gateway, place: Destination) -> TempCredentials:
    """What takes the upload; nothing is contacted yet."""
    if place.connector is None:
        return cast("TempCredentials", deps.media_store)
    deps.registry.require(place.connector.type, "temp_credentials")
    opened = deps.registry.open(place.connector, deps.sealer, deps.env)
    return cast("TempCredentials", opened)


async def beside(deps: Gateway, call: Callable[[], T]) -> T:
    """What the destination's system answers; 502 `upstream` where it fails or takes too long."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=deps.probes)
    except TimeoutError:
        told = f"the destination did not answer within {_TIMEOUT_S:.0f} s"
        raise Problem(502, told, code="upstream") from None
    except DiskFull:
        raise
    except (RetryableError, AccessDenied, DestinationRejected) as error:
        raise Problem(502, error.message, code="upstream") from None


def free_place(
    deps: Gateway, tenant_id: str, connector: Connector | None, key: str, upload_id: str
) -> Destination:
    """Where an upload will lie: under its key, or beside it where another upload holds that."""
    lasting_ms = deps.settings.upload_hours * 3600 * 1000
    place = _place(connector, key)
    if not Uploads(deps.store).reserve(tenant_id, place, upload_id, lasting_ms):
        path = PurePosixPath(key)
        key = str(path.with_name(f"{path.stem}.{upload_id}{path.suffix}"))
    return Destination(connector=None if connector is None else connector.ref, key=key)


def free_again(deps: Gateway, tenant_id: str, connector: Connector | None, key: str) -> None:
    """The key is no upload's any more."""
    Uploads(deps.store).let_go(tenant_id, _place(connector, key))


def _place(connector: Connector | None, key: str) -> str:
    return f"{'' if connector is None else connector.fingerprint}\n{key}"


async def begun(deps: Gateway, upload: Upload, mode: UploadMode) -> Upload:
    """The upload once its destination is ready for it, and it is written down."""
    to = target(deps, upload.place)
    wanted = UploadWanted(
        upload_id=upload.id,
        key=upload.place.key,
        size=upload.size,
        content_type=upload.content_type,
        sha256=upload.sha256,
    )
    intent = await beside(deps, lambda: to.open_upload(wanted, mode))
    place = upload.place.model_copy(update={"key": intent["key"]})
    made = upload.model_copy(update={"intent": intent, "place": place})
    await in_thread(Uploads(deps.store).put, made, deps.clock())
    return made


async def granted(request: Request, deps: Gateway, upload: Upload) -> Credentials:
    """Fresh credentials of an upload; 410 where it is gone at its destination."""
    now_ms, to = deps.clock(), target(deps, upload.place)
    left_s = max(1, (upload.expires_ms - now_ms) // 1000)
    ttl_s = min(deps.settings.upload_credentials_s, left_s)
    try:
        grant = await beside(deps, lambda: to.grant(upload.intent, ttl_s))
    except SourceNotFound:
        raise gone("upload_gone", "the upload is gone from its destination") from None
    expires_ms = grant.expires_ms or now_ms + ttl_s * 1000
    if isinstance(grant, TusGrant):
        grant = _ours(request, deps, upload, grant, expires_ms)
    return _shown(request, deps, upload, grant, expires_ms)


def _ours(
    request: Request, deps: Gateway, upload: Upload, grant: TusGrant, expires_ms: int
) -> TusGrant:
    return grant.model_copy(
        update={
            "endpoint": absolute(request, deps, f"{TUS_PATH}/{upload.id}"),
            "headers": {
                TOKEN_HEADER: token(deps, upload, expires_ms),
                "Tus-Resumable": TUS_VERSION,
            },
        }
    )


def _shown(
    request: Request, deps: Gateway, upload: Upload, grant: AnyGrant, expires_ms: int
) -> Credentials:
    here = absolute(request, deps, address(upload))
    # Copied by attribute: what is excluded on the wire is not needed here either.
    given = {name: getattr(grant, name) for name in type(grant).model_fields}
    return _SHOWN[upload.mode].model_construct(
        **given,
        upload_id=upload.id,
        path=upload.place.key,
        expires_at=rfc3339(expires_ms),
        upload_expires_at=rfc3339(upload.expires_ms),
        server_time=rfc3339(deps.clock()),
        renew_url=f"{here}/credentials",
        complete_url=f"{here}/complete",
    )


def address(upload: Upload) -> str:
    """The path of an upload."""
    return f"/v1/reporter/destinations/{upload.destination_id}/uploads/{upload.id}"


def absolute(request: Request, deps: Gateway, path: str) -> str:
    """A URL for somebody who may not know where this API is: as configured, else as asked."""
    if "public_url" in deps.settings.model_fields_set:
        return deps.settings.public_url.rstrip("/") + path
    return str(request.base_url).rstrip("/") + path


def token(deps: Gateway, upload: Upload, expires_ms: int) -> str:
    """Leave to send one upload until then; it opens only with this tenant and upload."""
    sealed = deps.sealer.seal(upload.tenant_id, upload.id, _FIELD, str(expires_ms))
    return f"{upload.tenant_id}.{sealed}"


def token_expiry(deps: Gateway, upload_id: str, given: str) -> tuple[str, int] | None:
    """Whose upload a token opens and until when; None where it is none of ours, or another's."""
    tenant_id, _, sealed = given.partition(".")
    try:
        opened = deps.sealer.open(tenant_id, upload_id, _FIELD, sealed)
    except AccessDenied:
        return None
    return tenant_id, int(opened.get_secret_value())


def gone(code: str, message: str) -> Problem:
    """The refusal of an upload that can never go on."""
    return Problem(410, message, code=code)


def found(deps: Gateway, tenant_id: str, destination_id: str, upload_id: str) -> HeldUpload:
    """The upload, if it is the tenant's and this destination's; NotFound else."""
    held = Uploads(deps.store).get(tenant_id, upload_id)
    if held.upload.destination_id != destination_id:
        raise NotFound("no such upload")
    return held


def job_of(deps: Gateway, held: HeldUpload) -> Job | None:
    """The job that checks or checked an upload."""
    if held.job_id is None:
        return None
    try:
        return deps.jobs.get(held.upload.tenant_id, held.job_id)
    except NotFound:
        return None


def still_open(deps: Gateway, held: HeldUpload) -> None:
    """Refuse what asks for an upload that goes on: 409 while it is checked, 410 afterwards."""
    state = state_of(held, job_of(deps, held), deps.clock())
    if state == "checking":
        raise Problem(409, "the upload is being checked", code="upload_checking")
    if state != "open":
        why = "" if held.end is None else f": {held.end.message}"
        raise gone(f"upload_{state}", f"the upload has {_ENDED[state]}{why}")


_ENDED: dict[UploadState, str] = {
    "completed": "been completed",
    "failed": "failed",
    "expired": "expired; begin another",
}


def view(deps: Gateway, held: HeldUpload) -> UploadView:
    """The upload as a client sees it."""
    upload, job = held.upload, job_of(deps, held)
    here = address(upload)
    links = {"self": here, "renew": f"{here}/credentials", "complete": f"{here}/complete"}
    if held.job_id is not None:
        links["job"] = f"/v1/jobs/{held.job_id}"
    state = state_of(held, job, deps.clock())
    return UploadView(
        id=upload.id,
        destination_id=upload.destination_id,
        state=state,
        mode=upload.mode,
        file_name=upload.file_name,
        path=upload.place.key,
        size=upload.size,
        content_type=upload.content_type,
        sha256=upload.sha256,
        requested_by=upload.requested_by,
        created_at=rfc3339(upload.created_ms),
        expires_at=rfc3339(upload.expires_ms),
        job_id=held.job_id,
        error=_error(held, job, state),
        links=links,
    )


def _error(held: HeldUpload, job: Job | None, state: UploadState) -> JobError | None:
    if held.end is not None:
        return JobError(code=held.end.code, message=held.end.message, retryable=False)
    if state == "expired":
        return JobError(
            code="upload_expired", message="it was not finished in time", retryable=False
        )
    return job.error if job is not None and state == "failed" else None


async def let_go(deps: Gateway, upload: Upload, end: UploadEnd) -> None:
    """End an upload, and remove what has come of it, now or by the keeper."""
    uploads = Uploads(deps.store)
    await in_thread(uploads.end, upload, end)
    try:
        to = target(deps, upload.place)
        await beside(deps, lambda: to.abandon(upload.intent))
    except (Problem, CuttingRoomError):
        _log.warning("an upload's leftovers stay for the keeper", upload=upload.id)
        await in_thread(uploads.later, upload, deps.clock())
        return
    await in_thread(uploads.cleaned, upload)


def key_for(
    deps: Gateway, caller: Principal, destination: ReporterDestination, name: str, upload_id: str
) -> str:
    """The key a file of this name gets at a destination."""
    moment = rfc3339(deps.clock())
    values = {
        "fileName": name,
        "date": moment[:10],
        "time": moment[11:19].replace(":", ""),
        "uploadId": upload_id,
        "user": caller.user_id or caller.key_id or caller.subject,
        "destination": destination.name,
    }
    key = rules.key(destination.path_template, values)
    if destination.connector_id is None:
        return f"{_FOLDER}/{own_folder(caller.tenant_id)}/{key}"
    return key
