"""Renditions: named recipes, and the jobs that make files by them."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.answers import Answer, answer, conditional, once, page_of
from api_gateway.clip_address import media_key
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.destination import DestinationBody, destination
from api_gateway.jobviews import JobView, job_answer
from api_gateway.params import (
    DEFAULT,
    Cursor,
    FileId,
    FileIdQuery,
    Id,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Limit,
)
from api_gateway.problems import Problem, of_validation, wrong
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from connectors.base import key_parts
from pipelines.recipes import RECIPES
from pipelines.rendition import check_together
from schemas import file_id as file_ids
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.commands import CreateRenditions
from schemas.connectors import Connector, Destination
from schemas.errors import NotFound, Unsupported
from schemas.jobs import State
from schemas.profiles import Profile
from schemas.renditions import Rendition
from schemas.times import rfc3339
from store.listing import JobFilter

renditions: APIRouter = router("renditions")
MAX_RECIPES = 16
_KIND = "renditions"
_UNFINISHED: tuple[State, ...] = ("running", "waiting", "queued")
_LOOKED_THROUGH = 200
_PAGES = 50
_RECIPE = TypeAdapter(Profile)
_EXAMPLE = {
    "name": "720p",
    "container": "mp4",
    "video": {"codec": "h264", "width": 1280, "height": 720, "bitrate": 3_000_000},
    "audio": {"codec": "aac", "bitrate": 128_000, "channels": 2},
}


class RenditionView(Profile):
    """A recipe under its id."""

    id: str
    created_at: str
    updated_at: str


class RenditionPage(WireValue):
    """Some renditions."""

    items: tuple[RenditionView, ...]
    next_cursor: str | None


class RenditionJobBody(WireValue):
    """What to make and where to; below the tenant's own folder of the media store by default.

    `renditionIds` are those of the tenant's own renditions, or names of the built-in ones.
    """

    rendition_ids: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        min_length=1, max_length=MAX_RECIPES
    )
    destination: DestinationBody | None = None


@renditions.get(
    "/v1/renditions",
    operation_id="listRenditions",
    summary="The tenant's renditions",
    response_model=RenditionPage,
    **operation("read", 422),
)
async def list_renditions(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made."""
    after = paging.position(_KIND, cursor)
    found = await deps.read(lambda tx: tx.renditions.page(caller.tenant_id, after, limit + 1))
    return page_of(_KIND, found, limit, _view)


@renditions.post(
    "/v1/renditions",
    operation_id="createRendition",
    summary="Write down a recipe; one that cannot be made is refused",
    status_code=201,
    response_model=RenditionView,
    **operation("jobs", 400, 409, 413, 415, 422, example=_EXAMPLE),
)
async def create_rendition(
    request: Request, deps: Deps, caller: Caller, body: Profile, _: IdempotencyKey = None
) -> Response:
    """Kept under its name, which is the tenant's own."""

    def make(tx: Transaction) -> Answer:
        made = tx.renditions.create(caller.tenant_id, body)
        return answer(
            _view(made),
            201,
            Location=f"/v1/renditions/{made.id}",
            ETag=etag.of_version(made.version),
        )

    return await once(request, deps, caller.tenant_id, make)


@renditions.get(
    "/v1/renditions/{id}",
    operation_id="getRendition",
    summary="One rendition",
    response_model=RenditionView,
    **operation("read", 404),
)
async def get_rendition(
    request: Request, deps: Deps, caller: Caller, rendition_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    found = await deps.read(lambda tx: tx.renditions.get(caller.tenant_id, rendition_id))
    return conditional(request, _view(found), etag.of_version(found.version))


@renditions.patch(
    "/v1/renditions/{id}",
    operation_id="updateRendition",
    summary="Change a recipe; a running job keeps the one it began with",
    response_model=RenditionView,
    **operation(
        "jobs", 400, 404, 409, 412, 413, 415, 422, example={"video": {"bitrate": 2_500_000}}
    ),
)
async def update_rendition(
    deps: Deps,
    caller: Caller,
    rendition_id: Id,
    body: Annotated[dict[str, Any], Body()],
    if_match: IfMatch = None,
) -> Response:
    """Merge a JSON merge patch into the recipe, and check the whole again."""

    def change(tx: Transaction) -> Rendition:
        held = tx.renditions.get(caller.tenant_id, rendition_id)
        etag.check_match(if_match, etag.of_version(held.version))
        return tx.renditions.change(held, patched(held.recipe, body))

    changed = await deps.write(change)
    return answer(_view(changed), ETag=etag.of_version(changed.version)).response


@renditions.delete(
    "/v1/renditions/{id}",
    operation_id="deleteRendition",
    summary="Delete a rendition; what was made by it stays",
    status_code=204,
    response_class=Response,
    **operation("jobs", 404, 409, 412),
)
async def delete_rendition(
    deps: Deps, caller: Caller, rendition_id: Id, if_match: IfMatch = None
) -> Response:
    """Refused while unfinished jobs were asked for by its id."""

    def delete() -> None:
        _refuse_used(deps, caller.tenant_id, rendition_id)
        with deps.catalog.write() as tx:
            held = tx.renditions.get(caller.tenant_id, rendition_id)
            etag.check_match(if_match, etag.of_version(held.version))
            tx.renditions.delete(caller.tenant_id, rendition_id)

    await in_thread(delete)
    return Response(status_code=204)


@renditions.post(
    "/v1/connectors/{id}/files/{fileId}/renditions",
    operation_id="createRenditionJob",
    summary="Make renditions of a file",
    status_code=202,
    response_model=JobView,
    **operation(
        "jobs",
        400,
        404,
        409,
        413,
        415,
        422,
        501,
        example={"renditionIds": ["h264-720p"], "destination": {"path": "web/opening-goal"}},
    ),
)
async def create_rendition_job(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    body: RenditionJobBody,
    query_file_id: FileIdQuery = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept the job with the recipes as they are now: all of them are made in one run."""
    requested = file_id_of(file_id, query_file_id)
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    stored_key = _stored(deps, connector, requested)
    recipes = await in_thread(_recipes, deps, caller.tenant_id, body.rendition_ids)
    check_together(recipes)
    to = await _destination(deps, caller, body)
    command = _command(caller, connector, requested, body, recipes, stored_key, to)
    accepted = await in_thread(
        deps.jobs.accept,
        command,
        idempotency_key=idempotency_key,
        body_hash=f"rendition\n{connector.id}\n{requested}\n{body.model_dump_json()}",
    )
    return job_answer(accepted.job)


def patched(recipe: Profile, patch: dict[str, Any]) -> Profile:
    """The recipe after a JSON merge patch (RFC 7396); refused where it can no longer be made."""
    merged = _merged(recipe.model_dump(mode="json", by_alias=True), patch)
    try:
        return _RECIPE.validate_json(json.dumps(merged), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise of_validation([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    held = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            held.pop(name, None)
        else:
            held[name] = _merged(held.get(name), part)
    return held


def _stored(deps: Gateway, connector: Connector, file_id: str) -> str | None:
    """Where the media store holds a clip of a live channel; None for a file of the connector."""
    capabilities = deps.registry.capabilities(connector.type)
    if "live" in capabilities and "/" in file_id:
        return media_key(connector, file_ids.parse(file_id))
    if "reads" not in capabilities:
        raise Unsupported(f"{connector.type} connectors hold no files")
    key_parts(file_id)
    return None


def _recipes(deps: Gateway, tenant_id: str, ids: tuple[str, ...]) -> tuple[Profile, ...]:
    found: list[Profile] = []
    with deps.catalog.read() as tx:
        for number, one in enumerate(ids):
            found += RECIPES.get(one) or (_own(tx, tenant_id, one, number),)
    if len(found) > MAX_RECIPES:
        told = f"{len(found)} recipes are more than one job makes: {MAX_RECIPES}"
        raise wrong("/renditionIds", told, "invalid")
    return tuple(found)


def _own(tx: Transaction, tenant_id: str, rendition_id: str, number: int) -> Profile:
    try:
        return tx.renditions.get(tenant_id, rendition_id).recipe
    except NotFound as error:
        where = f"/renditionIds/{number}"
        raise wrong(where, error.message, "rendition_unknown") from None


async def _destination(deps: Gateway, caller: Principal, body: RenditionJobBody) -> Destination:
    wanted = body.destination or DestinationBody(path=secrets.token_hex(16))
    return await destination(deps, caller.tenant_id, wanted, "renditions")


def _command(
    caller: Principal,
    connector: Connector,
    file_id: str,
    body: RenditionJobBody,
    recipes: tuple[Profile, ...],
    stored_key: str | None,
    to: Destination,
) -> CreateRenditions:
    words = body.model_dump(mode="json", by_alias=True)
    return CreateRenditions(
        tenant_id=caller.tenant_id,
        requested_by=caller.subject,
        request={"fileId": file_id, **words},
        priority="background",
        connector=connector.ref,
        file_id=file_id,
        recipes=recipes,
        rendition_ids=body.rendition_ids,
        stored_key=stored_key,
        destination=to,
    )


def _refuse_used(deps: Gateway, tenant_id: str, rendition_id: str) -> None:
    for state in _UNFINISHED:
        cursor: str | None = None
        for _ in range(_PAGES):
            wanted = JobFilter(state=state)
            found = deps.jobs.list(tenant_id, wanted, limit=_LOOKED_THROUGH, cursor=cursor)
            for job in found.items:
                asked = job.request.get("renditionIds") or [job.request.get("renditionId")]
                if rendition_id in asked:
                    raise Problem(
                        409, f"job {job.id} by this rendition is {state}", code="rendition_in_use"
                    )
            cursor = found.next_cursor
            if cursor is None:
                break


def _view(held: Rendition) -> RenditionView:
    return RenditionView(
        id=held.id,
        created_at=rfc3339(held.created_ms),
        updated_at=rfc3339(held.updated_ms),
        **{name: getattr(held.recipe, name) for name in Profile.model_fields},
    )
