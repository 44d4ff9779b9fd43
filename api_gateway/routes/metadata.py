"""Metadata of files: a tenant's views, and records that stay with their source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.annotations import place_of, view_of
from api_gateway.answers import Answer, answer, conditional, once, page_of
from api_gateway.deps import Caller, Deps, Gateway
from api_gateway.file_place import named
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
from api_gateway.patches import Lasting
from api_gateway.problems import FieldProblem, Problem, wrong
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from catalog.metadata import Position, Wanted, position
from schemas.base import WireValue
from schemas.connectors import Connector
from schemas.errors import NotFound, Unsupported
from schemas.metadata import (
    BUILT_IN,
    MAX_FIELDS,
    PLAIN,
    KeptRecord,
    MetadataField,
    MetadataView,
    OwnView,
    Scalar,
    checked,
)
from schemas.times import MAX_EPOCH_MS, rfc3339

metadata: APIRouter = router("connectors")
_VIEWS, _RECORDS, _FOUND = "metadata-views", "metadata", "metadata-search"
# Anybody can make up a cursor that passes for ours; what it says must still be a place.
_PLACE = re.compile(r"(-1|\d{1,14}) (mdr_[0-9a-z]{26})", re.ASCII)
_HOLDING = frozenset({"lists", "reads", "live"})


def _each_once(fields: tuple[MetadataField, ...]) -> tuple[MetadataField, ...]:
    if len({field.name for field in fields}) != len(fields):
        raise ValueError("two fields have the same name")
    return fields


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PLAIN)]
Fields = Annotated[
    tuple[MetadataField, ...],
    Field(min_length=1, max_length=MAX_FIELDS),
    AfterValidator(_each_once),
]
Instant = Annotated[StrictInt, Field(ge=0, le=MAX_EPOCH_MS)]
ViewId = Annotated[str | None, Query(max_length=200, description="records of this view alone")]


class MetadataViewView(MetadataView):
    """A view; `builtIn` where every tenant has it."""

    built_in: bool


class MetadataDefinitions(WireValue):
    """Every view that files of a connector may have records of."""

    items: tuple[MetadataViewView, ...]
    next_cursor: None = None


class OwnViewBody(WireValue):
    """A view of the tenant's own; the records of a `timed` one are of stretches of a file."""

    name: Name
    timed: StrictBool = False
    fields: Fields


class OwnViewPatch(WireValue):
    """A JSON merge patch: `fields` replaces all of them; records keep what they hold."""

    name: Lasting[Name] = None
    fields: Lasting[Fields] = None


class OwnViewView(MetadataViewView):
    """A view of the tenant's own."""

    created_at: str
    updated_at: str
    links: dict[str, str]


class OwnViewPage(WireValue):
    """Some views."""

    items: tuple[OwnViewView, ...]
    next_cursor: str | None


class MetadataBody(WireValue):
    """Values of one view, of a whole file or, where the view is timed, of a stretch of it.

    `startMs` counts from the media's first moment; of a channel it is epoch milliseconds.
    """

    view: str = Field(min_length=1, max_length=200)
    values: dict[str, Any] = Field(max_length=2 * MAX_FIELDS)
    start_ms: Instant | None = None
    end_ms: Instant | None = None


class MetadataPatch(WireValue):
    """A JSON merge patch: a value of null is removed."""

    values: dict[str, Any] = Field(default={}, max_length=2 * MAX_FIELDS)
    start_ms: Instant | None = None
    end_ms: Instant | None = None


class MetadataRecordView(WireValue):
    """A record of a file."""

    id: str
    view: str
    file_id: str
    values: dict[str, Any]
    start_ms: int | None
    end_ms: int | None
    created_at: str
    updated_at: str
    links: dict[str, str]


class MetadataPage(WireValue):
    """Some records."""

    items: tuple[MetadataRecordView, ...]
    next_cursor: str | None


_VIEW_EXAMPLE = {
    "name": "Interviews",
    "timed": True,
    "fields": [
        {"name": "speaker", "type": "string", "required": True},
        {"name": "mood", "type": "string", "enum": ["calm", "angry", "moved"]},
        {"name": "quotable", "type": "boolean"},
    ],
}
_RECORD_EXAMPLE = {
    "view": "news-clip",
    "values": {"headline": "Opening goal", "priority": 2, "status": "approved"},
}


# --- a tenant's own views


@metadata.get(
    "/v1/metadata-views",
    operation_id="listMetadataViews",
    summary="The tenant's own metadata views",
    response_model=OwnViewPage,
    **operation("read", 422),
)
async def list_metadata_views(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made; those every tenant has are not among them."""
    after = paging.position(_VIEWS, cursor)
    found = await deps.read(lambda tx: tx.metadata.views(caller.tenant_id, after, limit + 1))
    return page_of(_VIEWS, found, limit, _own_view)


@metadata.post(
    "/v1/metadata-views",
    operation_id="createMetadataView",
    summary="Write down a view: a set of typed fields",
    status_code=201,
    response_model=OwnViewView,
    **operation("connectors", 400, 409, 413, 415, 422, example=_VIEW_EXAMPLE),
)
async def create_metadata_view(
    request: Request, deps: Deps, caller: Caller, body: OwnViewBody, _: IdempotencyKey = None
) -> Response:
    """Files of every connector of the tenant may have records of it."""
    _check_name(body.name)

    def make(tx: Transaction) -> Answer:
        made = tx.metadata.create_view(
            caller.tenant_id, body.name, timed=body.timed, fields=body.fields
        )
        view = _own_view(made)
        return answer(view, 201, Location=view.links["self"], ETag=etag.of_version(made.version))

    return await once(request, deps, caller.tenant_id, make)


@metadata.get(
    "/v1/metadata-views/{id}",
    operation_id="getMetadataView",
    summary="One view of the tenant's own",
    response_model=OwnViewView,
    **operation("read", 404),
)
async def get_metadata_view(
    request: Request, deps: Deps, caller: Caller, view_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    found = await deps.read(lambda tx: tx.metadata.view(caller.tenant_id, view_id))
    return conditional(request, _own_view(found), etag.of_version(found.version))


@metadata.patch(
    "/v1/metadata-views/{id}",
    operation_id="updateMetadataView",
    summary="Change a view's name or fields; records keep what they hold",
    response_model=OwnViewView,
    **operation(
        "connectors", 400, 404, 409, 412, 413, 415, 422, example={"name": "Interviews, long"}
    ),
)
async def update_metadata_view(
    deps: Deps, caller: Caller, view_id: Id, body: OwnViewPatch, if_match: IfMatch = None
) -> Response:
    """What is written from now on is checked by the new fields."""
    if body.name is not None:
        _check_name(body.name)

    def change(tx: Transaction) -> OwnView:
        held = tx.metadata.view(caller.tenant_id, view_id)
        etag.check_match(if_match, etag.of_version(held.version))
        return tx.metadata.change_view(held, body.name or held.name, body.fields or held.fields)

    changed = await deps.write(change)
    return answer(_own_view(changed), ETag=etag.of_version(changed.version)).response


@metadata.delete(
    "/v1/metadata-views/{id}",
    operation_id="deleteMetadataView",
    summary="Delete a view that has no records",
    status_code=204,
    response_class=Response,
    **operation("connectors", 404, 409, 412),
)
async def delete_metadata_view(
    deps: Deps, caller: Caller, view_id: Id, if_match: IfMatch = None
) -> Response:
    """409 `view_in_use` while there are records of it."""

    def delete(tx: Transaction) -> None:
        held = tx.metadata.view(caller.tenant_id, view_id)
        etag.check_match(if_match, etag.of_version(held.version))
        tx.metadata.delete_view(caller.tenant_id, view_id)

    await deps.write(delete)
    return Response(status_code=204)


# --- of a connector


@metadata.get(
    "/v1/connectors/{id}/metadata-definitions",
    operation_id="listMetadataDefinitions",
    summary="The metadata views that files of a connector may have",
    response_model=MetadataDefinitions,
    **operation("read", 404, 501),
)
async def list_metadata_definitions(
    request: Request, deps: Deps, caller: Caller, connector_id: Id, _: IfNoneMatch = None
) -> Response:
    """Those every tenant has, then the tenant's own."""
    await _content(deps, caller.tenant_id, connector_id)

    own = await deps.read(lambda tx: tx.metadata.views(caller.tenant_id))
    items = (
        *(MetadataViewView(**dict(view), built_in=True) for view in BUILT_IN.values()),
        *(_definition(view) for view in own),
    )
    listed = MetadataDefinitions(items=items)
    return conditional(request, listed)


@metadata.get(
    "/v1/connectors/{id}/metadata",
    operation_id="searchMetadata",
    summary="Look for files by what is known of them",
    response_model=MetadataPage,
    **operation("read", 404, 422, 501),
)
async def search_metadata(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    view: ViewId = None,
    field: Annotated[str | None, Query(max_length=64, description="in this field alone")] = None,
    value: Annotated[
        str | None, Query(max_length=255, description="the whole value, in any case of letters")
    ] = None,
    text: Annotated[
        str | None, Query(min_length=1, max_length=200, description="anywhere in a value")
    ] = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """In the order the records were made."""
    connector = await _content(deps, caller.tenant_id, connector_id)
    wanted = Wanted(view, field, value, text)
    for name, each in {"view": view, "field": field, "value": value, "text": text}.items():
        _check_text(name, each)
    kind = f"{_FOUND}\n{connector.fingerprint}\n{wanted}"
    after = paging.position(kind, cursor)
    found = await deps.read(
        lambda tx: tx.metadata.search(place_of(connector), wanted, after, limit + 1)
    )
    return page_of(kind, found, limit, _record)


@metadata.get(
    "/v1/connectors/{id}/files/{fileId}/metadata",
    operation_id="listMetadata",
    summary="What is known of a file, in time order",
    response_model=MetadataPage,
    **operation("read", 404, 422, 501),
)
async def list_metadata(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    view: ViewId = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Records of the whole file first."""
    connector = await _content(deps, caller.tenant_id, connector_id)
    meant = named(deps, connector, file_id_of(file_id, query_file_id)).file_id
    _check_text("view", view)
    kind = f"{_RECORDS}\n{connector.fingerprint}\n{meant}\n{view}"
    after = _position(paging.position(kind, cursor))
    found = await deps.read(
        lambda tx: tx.metadata.of_file(
            place_of(connector), meant, view=view, after=after, limit=limit + 1
        )
    )
    return page_of(kind, found, limit, _record, _place)


@metadata.post(
    "/v1/connectors/{id}/files/{fileId}/metadata",
    operation_id="createMetadata",
    summary="Write down what is known of a file",
    status_code=201,
    response_model=MetadataRecordView,
    **operation("jobs", 400, 404, 409, 413, 415, 422, 501, example=_RECORD_EXAMPLE),
)
async def create_metadata(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    body: MetadataBody,
    query_file_id: FileIdQuery = None,
    _: IdempotencyKey = None,
) -> Response:
    """Every wrong field is named; the file itself is not asked for."""
    connector = await _content(deps, caller.tenant_id, connector_id)
    meant = named(deps, connector, file_id_of(file_id, query_file_id)).file_id
    place = place_of(connector)

    def make(tx: Transaction) -> Answer:
        view = _named_view(tx, caller.tenant_id, body.view)
        values = _values(view, body.values, body.start_ms, body.end_ms)
        made = tx.metadata.add(place, meant, view.id, values, body.start_ms, body.end_ms)
        shown = _record(made)
        return answer(shown, 201, Location=shown.links["self"], ETag=etag.of_version(made.version))

    made = await once(request, deps, caller.tenant_id, make)
    deps.annotated.drop(*place)
    return made


# --- one record


@metadata.get(
    "/v1/metadata/{id}",
    operation_id="getMetadata",
    summary="One record of metadata",
    response_model=MetadataRecordView,
    **operation("read", 404),
)
async def get_metadata(
    request: Request, deps: Deps, caller: Caller, record_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag; also where its connector was deleted."""
    found = await deps.read(lambda tx: tx.metadata.get(caller.tenant_id, record_id))
    return conditional(request, _record(found), etag.of_version(found.version))


@metadata.patch(
    "/v1/metadata/{id}",
    operation_id="updateMetadata",
    summary="Change a record of metadata",
    response_model=MetadataRecordView,
    **operation(
        "jobs",
        400,
        404,
        409,
        412,
        413,
        415,
        422,
        example={"values": {"status": "published", "priority": None}},
    ),
)
async def update_metadata(
    deps: Deps, caller: Caller, record_id: Id, body: MetadataPatch, if_match: IfMatch = None
) -> Response:
    """Merge a patch into the record, and check the whole again by its view."""

    def change(tx: Transaction) -> KeptRecord:
        held = tx.metadata.get(caller.tenant_id, record_id)
        etag.check_match(if_match, etag.of_version(held.version))
        view = view_of(tx, caller.tenant_id, held.view)
        given = body.model_fields_set
        start_ms = body.start_ms if "start_ms" in given else held.start_ms
        end_ms = body.end_ms if "end_ms" in given else held.end_ms
        # What a field held that the view has no more goes with the first change.
        kept = {name: v for name, v in held.values.items() if view.field(name)}
        values = _values(view, {**kept, **body.values}, start_ms, end_ms)
        return tx.metadata.change(held, values, start_ms, end_ms)

    changed = await deps.write(change)
    return answer(_record(changed), ETag=etag.of_version(changed.version)).response


@metadata.delete(
    "/v1/metadata/{id}",
    operation_id="deleteMetadata",
    summary="Delete a record of metadata",
    status_code=204,
    response_class=Response,
    **operation("jobs", 404, 412),
)
async def delete_metadata(
    deps: Deps, caller: Caller, record_id: Id, if_match: IfMatch = None
) -> Response:
    """What was made with it keeps it."""

    def delete(tx: Transaction) -> None:
        held = tx.metadata.get(caller.tenant_id, record_id)
        etag.check_match(if_match, etag.of_version(held.version))
        tx.metadata.delete(caller.tenant_id, record_id)

    await deps.write(delete)
    return Response(status_code=204)


async def _content(deps: Gateway, tenant_id: str, connector_id: str) -> Connector:
    """The connector, which must be of a type that holds anything to know of."""
    connector = await known_connector(deps, tenant_id, connector_id)
    if not deps.registry.capabilities(connector.type) & _HOLDING:
        raise Unsupported(f"{connector.type} connectors hold no files, so none has metadata")
    return connector


def _named_view(tx: Transaction, tenant_id: str, view_id: str) -> MetadataView:
    try:
        return view_of(tx, tenant_id, view_id)
    except NotFound as error:
        raise _wrong("view_unknown", (("/view", error.message),)) from None


def _values(
    view: MetadataView, given: Mapping[str, Any], start_ms: int | None, end_ms: int | None
) -> dict[str, Scalar]:
    """The values as they are kept; 422 naming every field that is wrong."""
    kept, faults = checked(view, given)
    wrong = [(f"/values/{_escaped(name)}" if name else "/values", told) for name, told in faults]
    wrong += _span_faults(view, start_ms, end_ms)
    if wrong:
        raise _wrong("metadata_invalid", wrong)
    return kept


def _span_faults(
    view: MetadataView, start_ms: int | None, end_ms: int | None
) -> list[tuple[str, str]]:
    if not view.timed:
        given = {"/startMs": start_ms, "/endMs": end_ms}
        told = "records of this view are of whole files"
        return [(pointer, told) for pointer, value in given.items() if value is not None]
    if start_ms is None:
        return [("/startMs", "is required: records of this view are of stretches of a file")]
    if end_ms is not None and end_ms <= start_ms:
        return [("/endMs", f"the stretch ends at {end_ms}, not after its start {start_ms}")]
    return []


def _wrong(code: str, faults: Iterable[tuple[str, str]]) -> Problem:
    found = [FieldProblem(pointer=where, message=told) for where, told in faults][:50]
    detail = "; ".join(f"{one.pointer}: {one.message}" for one in found[:3])
    return Problem(422, detail, code=code, found=found)


def _escaped(name: str) -> str:
    plain = name[:64].encode("utf-8", "replace").decode()
    return plain.replace("~", "~0").replace("/", "~1")


def _check_name(name: str) -> None:
    if name in {view.name for view in BUILT_IN.values()}:
        raise Problem(409, f"a view is named {name!r} already", code="name_taken")


def _check_text(name: str, text: str | None) -> None:
    """A text with a NUL is in no value, and some databases refuse to be asked for it."""
    if text is not None and "\0" in text:
        raise wrong(f"#query/{name}", "a text cannot hold a NUL", "query_invalid")


def _position(text: str | None) -> Position | None:
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None:
        raise paging.refused()
    return Position(int(match[1]), match[2])


def _place(record: KeptRecord) -> str:
    last = position(record)
    return f"{last.start_ms} {last.id}"


def _definition(view: OwnView) -> MetadataViewView:
    return MetadataViewView(
        id=view.id, name=view.name, timed=view.timed, fields=view.fields, built_in=False
    )


def _own_view(view: OwnView) -> OwnViewView:
    return OwnViewView(
        **dict(_definition(view)),
        created_at=rfc3339(view.created_ms),
        updated_at=rfc3339(view.updated_ms),
        links={"self": f"/v1/metadata-views/{view.id}"},
    )


def _record(record: KeptRecord) -> MetadataRecordView:
    return MetadataRecordView(
        id=record.id,
        view=record.view,
        file_id=record.file_id,
        values=record.values,
        start_ms=record.start_ms,
        end_ms=record.end_ms,
        created_at=rfc3339(record.created_ms),
        updated_at=rfc3339(record.updated_ms),
        links={"self": f"/v1/metadata/{record.id}"},
    )
