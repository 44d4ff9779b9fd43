"""The tus resumable upload protocol 1.0.0, for uploads that `createUploadCredentials` has begun.

Core, expiration, checksum and termination; creation is the credentials' own. Bytes go to the disk
in pieces as they come, never on the event loop and never whole into memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from email.utils import formatdate
from functools import wraps
from typing import Any, NamedTuple, cast

import anyio.to_thread
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import uploads
from api_gateway.auth import address, spend
from api_gateway.deps import Deps, Gateway, gateway, in_thread
from api_gateway.params import Id
from api_gateway.problems import FieldProblem, Problem, of_error
from api_gateway.receiving import Receiving
from api_gateway.routing import operation
from connectors.base import Receiver, Receives
from schemas.errors import Conflict, CuttingRoomError, NotFound, SourceNotFound
from schemas.uploads import Upload, UploadEnd
from store.uploads import Uploads, state_of

EXTENSIONS = "checksum,expiration,termination"
ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}
OFFSET_TYPE = "application/offset+octet-stream"
MAX_AT_ONCE = 128
MAX_OF_A_TENANT = 32
HAND_OVER_S = 5.0
_PATH = f"{uploads.TUS_PATH}/{{id}}"
_ABOUT = {
    "Tus-Resumable": uploads.TUS_VERSION,
    "Tus-Version": uploads.TUS_VERSION,
    "Tus-Extension": EXTENSIONS,
    "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
}
Handler = Callable[..., Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """A route whose body is left to be streamed, and whose every answer names the protocol."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, its refusals in the protocol's words."""
        handle = super().get_route_handler()

        @wraps(handle)
        async def judged(request: Request) -> Response:
            try:
                if request.scope.get("query_string"):
                    raise _takes_none(request)
                answer = await handle(request)
            except Problem as problem:
                raise _in_protocol(problem) from None
            except CuttingRoomError as error:
                raise _in_protocol(of_error(error)) from None
            answer.headers["Tus-Resumable"] = uploads.TUS_VERSION
            return answer

        return judged


tus = APIRouter(tags=["reporter"], route_class=TusRoute)


def _takes_none(request: Request) -> Problem:
    told = "this operation takes no parameters"
    found = [FieldProblem(pointer=f"#query/{n[:60]}", message=told) for n in request.query_params]
    return Problem(422, told, code="query_invalid", found=found[:20])


class _Believed(NamedTuple):
    """An upload whose token was good, and when the token ends."""

    upload: Upload
    expires_ms: int


class _Piece(NamedTuple):
    """What a PATCH says of its body."""

    offset: int
    length: int | None
    checksum: tuple[str, bytes] | None


@tus.options(
    uploads.TUS_PATH,
    operation_id="getTusOptions",
    summary="What of the tus protocol is spoken here",
    status_code=204,
    response_class=Response,
    **operation(None, 422),
)
async def get_tus_options() -> Response:
    """Version, extensions, checksum algorithms."""
    return Response(status_code=204, headers=_ABOUT)


@tus.options(_PATH, include_in_schema=False)
async def get_upload_options(upload_id: Id) -> Response:
    """The same, whatever the upload."""
    return Response(status_code=204, headers=_ABOUT)


@tus.head(
    _PATH,
    operation_id="headTusUpload",
    summary="How much of an upload has arrived; ends what still hangs in an earlier request",
    response_class=Response,
    **operation(None, 401, 404, 410, 412, 422, 429),
)
async def head_tus_upload(request: Request, deps: Deps, upload_id: Id) -> Response:
    """Where to go on; the token of the credentials is the leave to ask."""
    believed = await _believed(request, deps, upload_id)
    _check_version(request)
    hanging = deps.receiving.get(upload_id)
    if hanging is not None:
        hanging.stop()
        # Where its disk is slow, the offset is that of now.
        with suppress(TimeoutError):
            await asyncio.wait_for(hanging.done.wait(), HAND_OVER_S)
    upload, to = believed.upload, _target(deps, believed.upload)
    came = await _written(deps, lambda: to.arrived(upload.intent))
    return Response(status_code=200, headers=_standing(upload, came))


@tus.patch(
    _PATH,
    operation_id="patchTusUpload",
    summary="Send more of an upload: application/offset+octet-stream at Upload-Offset",
    status_code=204,
    response_class=Response,
    **operation(None, 400, 401, 404, 408, 409, 410, 412, 413, 415, 422, 423, 429, 503),
)
async def patch_tus_upload(request: Request, deps: Deps, upload_id: Id) -> Response:
    """What has come stays, also where the connection breaks; a piece with a checksum only whole."""
    believed = await _believed(request, deps, upload_id)
    _check_version(request)
    piece = _piece(request, believed.upload)
    _check_room(deps, believed.upload.tenant_id)
    with ExitStack() as stack:
        receiver = await _opened(deps, believed.upload, piece, stack)
        receiving = Receiving(believed.upload.tenant_id)
        deps.receiving[upload_id] = receiving
        stack.callback(receiving.done.set)
        stack.callback(deps.receiving.pop, upload_id)
        offset = await _received(request, deps, believed, piece, receiver, receiving)
    return Response(status_code=204, headers=_standing(believed.upload, offset))


@tus.delete(
    _PATH,
    operation_id="deleteTusUpload",
    summary="Give an upload up by the token alone",
    status_code=204,
    response_class=Response,
    **operation(None, 401, 404, 409, 410, 412, 422, 429),
)
async def delete_tus_upload(request: Request, deps: Deps, upload_id: Id) -> Response:
    """What has come of it is removed."""
    believed = await _believed(request, deps, upload_id)
    _check_version(request)
    end = UploadEnd(state="failed", code="cancelled", message="the client gave it up")
    await uploads.let_go(deps, believed.upload, end)
    return Response(status_code=204)


@tus.post(_PATH, include_in_schema=False)
async def post_tus_upload(request: Request, deps: Deps, upload_id: Id) -> Response:
    """For clients that cannot say PATCH or DELETE: X-HTTP-Method-Override does."""
    match request.headers.get("x-http-method-override", "").upper():
        case "PATCH":
            return await patch_tus_upload(request, deps, upload_id)
        case "DELETE":
            return await delete_tus_upload(request, deps, upload_id)
        case "HEAD":
            return await head_tus_upload(request, deps, upload_id)
    raise Problem(405, "POST is for X-HTTP-Method-Override alone", headers={"Allow": "PATCH, HEAD"})


async def _believed(request: Request, deps: Gateway, upload_id: str) -> _Believed:
    """The upload a token opens; without a good one nobody learns whether it is there."""
    given = request.headers.get(uploads.TOKEN_HEADER, "")
    opened = uploads.token_expiry(deps, upload_id, given)
    if opened is None:
        spend(request, gateway(request).addresses.take(address(request)))
        raise Problem(404, "no such upload, or its Upload-Token is missing or another's")
    tenant_id, expires_ms = opened
    if expires_ms <= deps.clock():
        raise Problem(
            401,
            "the credentials have expired; renew them",
            code="credentials_expired",
            headers={"WWW-Authenticate": uploads.TOKEN_HEADER},
        )
    upload = await in_thread(_open_upload, deps, tenant_id, upload_id, request.method)
    return _Believed(upload, expires_ms)


def _open_upload(deps: Gateway, tenant_id: str, upload_id: str, method: str) -> Upload:
    try:
        held = Uploads(deps.store).get(tenant_id, upload_id)
    except NotFound:
        raise uploads.gone("upload_gone", "the upload is long over") from None
    job = uploads.job_of(deps, held)
    # Whoever lost the last answer may still ask how much came.
    if method == "HEAD" and state_of(held, job, deps.clock()) in {"checking", "completed"}:
        return held.upload
    uploads.still_open(deps, held)
    return held.upload


def _check_room(deps: Gateway, tenant_id: str) -> None:
    """Every body under way holds a file and a mebibyte; no tenant gets all of them."""
    wait = {"Retry-After": "1"}
    if len(deps.receiving) >= MAX_AT_ONCE:
        raise Problem(503, "too many uploads are being sent now; try again", headers=wait)
    if sum(one.tenant_id == tenant_id for one in deps.receiving.values()) >= MAX_OF_A_TENANT:
        raise Problem(
            429, f"{MAX_OF_A_TENANT} uploads of this tenant are being sent now", headers=wait
        )


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != uploads.TUS_VERSION:
        raise Problem(
            412,
            f"send Tus-Resumable: {uploads.TUS_VERSION}",
            code="tus_version",
            headers={"Tus-Version": uploads.TUS_VERSION},
        )


def _piece(request: Request, upload: Upload) -> _Piece:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != OFFSET_TYPE:
        raise Problem(415, f"the body must be {OFFSET_TYPE}", headers={"Accept-Patch": OFFSET_TYPE})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must come without a content encoding")
    offset = _number(request, "upload-offset")
    if offset is None:
        raise Problem(400, "Upload-Offset is missing")
    length = _number(request, "content-length")
    if offset + (length or 0) > upload.size:
        raise _too_long(upload)
    return _Piece(offset, length, _checksum(request))


def _number(request: Request, name: str) -> int | None:
    given = request.headers.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 17):
        raise Problem(400, f"{name} is not a number of bytes")
    return int(given)


def _checksum(request: Request) -> tuple[str, bytes] | None:
    given = request.headers.get("upload-checksum")
    if given is None:
        return None
    name, _, value = given.strip().partition(" ")
    if name not in ALGORITHMS:
        raise Problem(
            400, f"checksums are told by {', '.join(ALGORITHMS)}", code="checksum_unknown"
        )
    try:
        return name, base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "the checksum is not base64", code="checksum_unknown") from None


def _target(deps: Gateway, upload: Upload) -> Any:
    to = uploads.target(deps, upload.place)
    if upload.mode != "tus" or not isinstance(to, Receives):
        raise Problem(
            409, f"this upload is sent by {upload.mode}, not here", code="mode_unavailable"
        )
    return to


async def _written(deps: Gateway, act: Callable[[], Any]) -> Any:
    """What a disk answers, waited for beside everything else."""
    try:
        return await anyio.to_thread.run_sync(act, limiter=deps.writers)
    except SourceNotFound:
        raise uploads.gone("upload_gone", "the upload is gone from its destination") from None


async def _opened(deps: Gateway, upload: Upload, piece: _Piece, stack: ExitStack) -> Receiver:
    """The upload, nobody else's for now, if it stands where the client thinks."""
    to = cast("Receives", _target(deps, upload))
    whole = piece.checksum is not None
    try:
        opened = to.receive(upload.intent, whole=whole)
        receiver: Receiver = await _written(deps, lambda: stack.enter_context(opened))
    except Conflict as error:
        raise Problem(
            423, error.message, code=error.error_code, headers={"Retry-After": "1"}
        ) from None
    if receiver.offset != piece.offset:
        raise Problem(
            409,
            f"the upload stands at {receiver.offset}, not at {piece.offset}",
            code="offset_mismatch",
            headers={"Upload-Offset": str(receiver.offset)},
        )
    return receiver


async def _received(
    request: Request,
    deps: Gateway,
    believed: _Believed,
    piece: _Piece,
    receiver: Receiver,
    receiving: Receiving,
) -> int:
    """The offset once the body is on the disk; what broke off is kept, unless it had a checksum."""
    digest = ALGORITHMS[piece.checksum[0]]() if piece.checksum else None
    left_s = (believed.expires_ms - deps.clock()) / 1000
    until_s, came = asyncio.get_running_loop().time() + left_s, 0
    async for data in receiving.pieces(request, until_s):
        came += len(data)
        if piece.offset + came > believed.upload.size:
            await _written(deps, receiver.discard)
            raise _too_long(believed.upload, "close")
        if digest is not None:
            await _written(deps, lambda data=data: digest.update(data))  # type: ignore[misc]
        await _written(deps, lambda data=data: receiver.write(data))  # type: ignore[misc]
    if receiving.broken is not None:
        if piece.checksum is None:
            await _written(deps, receiver.commit)
        raise _broken(receiving.broken)
    if digest is not None and piece.checksum is not None and digest.digest() != piece.checksum[1]:
        raise Problem(460, "the bytes are not those of Upload-Checksum", code="checksum_mismatch")
    offset: int = await _written(deps, receiver.commit)
    return offset


def _too_long(upload: Upload, connection: str = "keep-alive") -> Problem:
    headers = {"Connection": "close"} if connection == "close" else {}
    return Problem(
        413, f"the upload has {upload.size} bytes, not more", code="too_large", headers=headers
    )


def _broken(why: str) -> Problem:
    headers = {"Connection": "close"}
    if why == "expired":
        return Problem(
            401, "the credentials have expired; renew them", code="credentials_expired",
            headers=headers,
        )  # fmt: skip
    return Problem(408, f"the body broke off: {why}", code="timed_out", headers=headers)


def _standing(upload: Upload, offset: int) -> dict[str, str]:
    return {
        "Upload-Offset": str(offset),
        "Upload-Length": str(upload.size),
        "Upload-Expires": formatdate(upload.expires_ms / 1000, usegmt=True),
        "Cache-Control": "no-store",
    }


def _in_protocol(problem: Problem) -> Problem:
    problem.headers = {"Tus-Resumable": uploads.TUS_VERSION, **problem.headers}
    return problem
