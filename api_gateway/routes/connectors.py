"""Connectors: other people's storage, streams and guides, as a tenant has set them up."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, guides, paging
from api_gateway.answers import Answer, answer, conditional, once, page_of
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import (
    DEFAULT,
    Cursor,
    Id,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    KeyOfAsking,
    Limit,
    TrueOrFalse,
)
from api_gateway.patches import Lasting
from api_gateway.problems import Problem, about
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from connectors.base import Connector as Opened
from connectors.registry import ConnectorType
from connectors.sealing import masked, merged
from schemas.base import WireValue
from schemas.connectors import Capability, Connector, ConnectorRef
from schemas.errors import AccessDenied, CuttingRoomError
from schemas.times import rfc3339
from store.localized import Localized
from store.lookup import job_using

connectors: APIRouter = router("connectors")
_KIND = "connectors"
_CHECK_TIMEOUT_S = 10.0
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ConnectorBody(WireValue):
    """A connector to make; `config` and `auth` follow the type's JSON Schema."""

    type: str = Field(min_length=1, max_length=60)
    name: Name
    config: dict[str, Any] = {}
    auth: dict[str, Any] = {}


class ConnectorPatch(WireValue):
    """A JSON merge patch: what is left out stays, a secret left out or `***` stays too."""

    name: Lasting[Name] = None
    config: dict[str, Any] = {}
    auth: dict[str, Any] = {}


class ConnectorView(WireValue):
    """A connector; its secrets show as `***`."""

    id: str
    type: str
    name: str
    config: dict[str, Any]
    auth: dict[str, Any]
    capabilities: tuple[Capability, ...]
    localized: bool
    created_at: str
    updated_at: str
    deleted_at: str | None = None
    links: dict[str, str]


class ConnectorPage(WireValue):
    """Some connectors."""

    items: tuple[ConnectorView, ...]
    next_cursor: str | None


class ConnectorTypeView(WireValue):
    """A connector type: what it can do, and JSON Schemas of its config and auth."""

    type: str
    capabilities: tuple[Capability, ...]
    config: dict[str, Any]
    auth: dict[str, Any]


class ConnectorTypePage(WireValue):
    """Every connector type there is."""

    items: tuple[ConnectorTypeView, ...]
    next_cursor: None = None


@connectors.get(
    "/v1/connector-types",
    operation_id="listConnectorTypes",
    summary="The connector types there are, with a JSON Schema of each one's config and auth",
    response_model=ConnectorTypePage,
    **operation("read"),
)
async def list_connector_types(request: Request, deps: Deps) -> Response:
    """Every type the service was started with."""
    items = await in_thread(_type_views, deps)
    listed = ConnectorTypePage(items=items)
    return conditional(request, listed)


@connectors.post(
    "/v1/connectors",
    operation_id="createConnector",
    summary="Set up a connector",
    status_code=201,
    response_model=ConnectorView,
    **operation(
        "connectors",
        400,
        409,
        413,
        415,
        422,
        example={
            "type": "hls",
            "name": "News, live",
            "config": {"url": "https://stream.example.com/news/live.m3u8"},
            "auth": {},
        },
    ),
)
async def create_connector(
    request: Request,
    deps: Deps,
    caller: Caller,
    body: ConnectorBody,
    _: IdempotencyKey = None,
) -> Response:
    """Check config and auth by the type's schema, seal the secrets, keep the connector."""

    def make(tx: Transaction) -> Answer:
        made = _created(tx, deps, caller.tenant_id, body)
        return answer(
            _view(deps, made),
            201,
            Location=f"/v1/connectors/{made.id}",
            ETag=etag.of_version(made.version),
        )

    return await once(request, deps, caller.tenant_id, make)


@connectors.get(
    "/v1/connectors",
    operation_id="listConnectors",
    summary="The tenant's connectors",
    response_model=ConnectorPage,
    **operation("read", 422),
)
async def list_connectors(
    deps: Deps,
    caller: Caller,
    type: Annotated[str | None, Query(max_length=60)] = None,  # noqa: A002
    capability: Annotated[Capability | None, Query()] = None,
    with_localized: Annotated[
        bool,
        Query(alias="withLocalized", description="deleted ones too whose files are held here"),
        TrueOrFalse,
    ] = False,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """In the order they were made."""
    after = paging.position(_KIND, cursor)
    types = _types(deps, type, capability)

    def read() -> Response:
        holding = Localized(deps.store).sources(caller.tenant_id)
        deleted = holding if with_localized else frozenset[str]()
        with deps.catalog.read() as tx:
            found = tx.connectors.page(
                caller.tenant_id, after, limit + 1, types=types, deleted=deleted
            )
        return page_of(_KIND, found, limit, lambda one: _shown(deps, one, holding))

    return await in_thread(read)


@connectors.get(
    "/v1/connectors/{id}",
    operation_id="getConnector",
    summary="One connector",
    response_model=ConnectorView,
    **operation("read", 404),
)
async def get_connector(
    request: Request, deps: Deps, caller: Caller, connector_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    found = await in_thread(_read, deps, caller.tenant_id, connector_id)
    view = await in_thread(_view, deps, found)
    return conditional(request, view, etag.of_version(found.version))


@connectors.patch(
    "/v1/connectors/{id}",
    operation_id="updateConnector",
    summary="Change a connector",
    response_model=ConnectorView,
    **operation(
        "connectors", 400, 404, 409, 412, 413, 415, 422, example={"name": "News, live (HD)"}
    ),
)
async def update_connector(
    deps: Deps, caller: Caller, connector_id: Id, body: ConnectorPatch, if_match: IfMatch = None
) -> Response:
    """Merge a patch into the connector; running jobs keep what they began with."""

    def change(tx: Transaction) -> Connector:
        held = tx.connectors.get(caller.tenant_id, connector_id)
        etag.check_match(if_match, etag.of_version(held.version))
        return tx.connectors.change(caller.tenant_id, _patched(deps, held, body))

    changed = await deps.write(change)
    deps.connectors.drop(caller.tenant_id, connector_id)
    await guides.forget(deps, caller.tenant_id, connector_id)
    view = await in_thread(_view, deps, changed)
    return answer(view, ETag=etag.of_version(changed.version)).response


@connectors.delete(
    "/v1/connectors/{id}",
    operation_id="deleteConnector",
    summary="Delete a connector; content localized from it stays",
    status_code=204,
    response_class=Response,
    **operation("connectors", 404, 409, 412),
)
async def delete_connector(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    force: Annotated[
        bool, Query(description="also where jobs of it are not finished"), TrueOrFalse
    ] = False,
    if_match: IfMatch = None,
) -> Response:
    """Refused while jobs of it run, unless forced."""
    if not force:
        await in_thread(_refuse_busy, deps, caller.tenant_id, connector_id)

    def delete(tx: Transaction) -> None:
        held = tx.connectors.get(caller.tenant_id, connector_id)
        etag.check_match(if_match, etag.of_version(held.version))
        tx.connectors.delete(caller.tenant_id, connector_id)

    await deps.write(delete)
    await guides.forget(deps, caller.tenant_id, connector_id)
    deps.connectors.drop(caller.tenant_id, connector_id)
    return Response(status_code=204)


class AuthCheckBody(WireValue):
    """Credentials to try instead of those that are kept; nothing is stored."""

    auth: dict[str, Any] | None = None


class CapabilityCheck(WireValue):
    """What became of trying one capability."""

    capability: Capability
    works: bool
    code: str
    detail: str
    latency_ms: int


class AuthCheckView(WireValue):
    """Whether the credentials work; `code` and `detail` say what is wrong where they do not.

    `capabilities` are those that work; `code` is `partial` where not all of the type's do, and
    `checks` tells of each.
    """

    valid: bool
    code: str
    detail: str
    latency_ms: int
    capabilities: tuple[Capability, ...]
    checks: tuple[CapabilityCheck, ...]


@connectors.post(
    "/v1/connectors/{id}/auth-check",
    operation_id="checkConnectorAuth",
    summary="Try a connector's credentials; not valid is an answer, not an error",
    response_model=AuthCheckView,
    **operation("connectors", 400, 404, 413, 415, 422, 504, example={"auth": {}}),
)
async def check_connector_auth(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    body: Annotated[AuthCheckBody | None, Body()] = None,
    _: KeyOfAsking = None,
) -> Response:
    """Asks the system itself, within ten seconds."""
    held = await in_thread(_read, deps, caller.tenant_id, connector_id)
    kind = deps.registry.get(held.type)
    ref = held.ref
    if body is not None and body.auth is not None:
        auth = kind.parse_auth(merged(kind.auth, _opened(deps, held), body.auth))
        sealed = deps.sealer.seal_auth(held.tenant_id, held.id, auth)
        ref = ref.model_copy(update={"sealed_auth": sealed})
    checked = await _tried(deps, ref, kind)
    given = body is not None and body.auth is not None
    if not given and checked.code == AccessDenied.code:
        await in_thread(_tell_denied, deps, held, checked)
    return Response(checked.model_dump_json(by_alias=True), media_type="application/json")


def _tell_denied(deps: Gateway, held: Connector, checked: AuthCheckView) -> None:
    """What was tried is what the connector's jobs will be refused with."""
    told = {"connectorId": held.id, "code": checked.code, "message": checked.detail}
    deps.events.emit(held.tenant_id, "connector.auth_failed", told)


async def _tried(deps: Gateway, ref: ConnectorRef, kind: ConnectorType) -> AuthCheckView:
    started = deps.clock()
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            checks = await anyio.to_thread.run_sync(
                lambda: _each_tried(deps, ref, kind),
                abandon_on_cancel=True,
                limiter=deps.probes,
            )
    except TimeoutError:
        message = f"the system did not answer within {_CHECK_TIMEOUT_S:.0f} s"
        raise Problem(504, message, code="timed_out") from None
    code, detail = _verdict(checks)
    return AuthCheckView(
        valid=any(check.works for check in checks),
        code=code,
        detail=detail,
        latency_ms=max(0, deps.clock() - started),
        capabilities=tuple(check.capability for check in checks if check.works),
        checks=checks,
    )


def _each_tried(
    deps: Gateway, ref: ConnectorRef, kind: ConnectorType
) -> tuple[CapabilityCheck, ...]:
    """One connector for all: it may keep the connection it has logged in on."""
    try:
        opened = deps.registry.open(ref, deps.sealer, deps.env)
    except CuttingRoomError as error:
        return tuple(_refused(capability, error, 0) for capability in sorted(kind.capabilities))
    return tuple(_checked(deps, opened, capability) for capability in sorted(kind.capabilities))


def _checked(deps: Gateway, opened: Opened, capability: Capability) -> CapabilityCheck:
    started = deps.clock()
    try:
        opened.check(capability)
    except CuttingRoomError as error:
        return _refused(capability, error, max(0, deps.clock() - started))
    return CapabilityCheck(
        capability=capability,
        works=True,
        code="ok",
        detail="works",
        latency_ms=max(0, deps.clock() - started),
    )


def _refused(capability: Capability, error: CuttingRoomError, latency_ms: int) -> CapabilityCheck:
    return CapabilityCheck(
        capability=capability,
        works=False,
        code=error.error_code,
        detail=error.message,
        latency_ms=latency_ms,
    )


def _verdict(checks: tuple[CapabilityCheck, ...]) -> tuple[str, str]:
    failed = [check for check in checks if not check.works]
    if not failed:
        return "ok", "the credentials work"
    if len(failed) == len(checks):
        return failed[0].code, failed[0].detail
    told = "; ".join(f"{check.capability}: {check.detail}" for check in failed)
    return "partial", f"not everything works: {told}"


async def known_connector(deps: Gateway, tenant_id: str, connector_id: str) -> Connector:
    """The tenant's connector, as it was a moment ago at most."""
    cached = deps.connectors.get(tenant_id, connector_id)
    if cached is not None:
        return cached[0]
    found = await in_thread(_read, deps, tenant_id, connector_id)
    return deps.connectors.put(found, tenant_id, connector_id)


def _read(deps: Gateway, tenant_id: str, connector_id: str) -> Connector:
    with deps.catalog.read() as tx:
        return tx.connectors.get(tenant_id, connector_id)


def _created(tx: Transaction, deps: Gateway, tenant_id: str, body: ConnectorBody) -> Connector:
    with about("/type"):
        kind = deps.registry.get(body.type)
    wanted, auth = kind.parse_config(body.config), kind.parse_auth(body.auth)
    kind.refuse(wanted, auth, deps.env)
    config = wanted.model_dump(mode="json", by_alias=True)
    connector_id = tx.connectors.new_id()
    return tx.connectors.create(
        tenant_id,
        connector_id,
        kind=kind.name,
        name=body.name,
        config=config,
        sealed_auth=deps.sealer.seal_auth(tenant_id, connector_id, auth),
        fingerprint=kind.fingerprint(tenant_id, config),
    )


def _patched(deps: Gateway, held: Connector, body: ConnectorPatch) -> Connector:
    kind = deps.registry.get(held.type)
    config = kind.parse_config(merged(kind.config, held.config, body.config))
    auth = kind.parse_auth(merged(kind.auth, _opened(deps, held), body.auth))
    kind.refuse(config, auth, deps.env)
    values = config.model_dump(mode="json", by_alias=True)
    return held.model_copy(
        update={
            "name": body.name or held.name,
            "config": values,
            "sealed_auth": deps.sealer.seal_auth(held.tenant_id, held.id, auth),
            "fingerprint": kind.fingerprint(held.tenant_id, values),
        }
    )


def _refuse_busy(deps: Gateway, tenant_id: str, connector_id: str) -> None:
    """Whatever a job does with the connector: its source, one of its sources, where it delivers."""
    using = job_using(deps.store, tenant_id, connector_id)
    if using is not None:
        raise Problem(
            409,
            f"job {using.job_id} of this connector is {using.state}; wait, or use ?force=true",
            code="connector_busy",
        )


def _opened(deps: Gateway, held: Connector) -> dict[str, Any]:
    if held.sealed_auth is None:
        return {}
    opened = deps.sealer.open_auth(held.tenant_id, held.id, held.sealed_auth)
    fields = deps.registry.get(held.type).auth.model_fields
    return {fields[name].alias or name: value for name, value in opened.items() if name in fields}


def _types(deps: Gateway, kind: str | None, capability: Capability | None) -> frozenset[str] | None:
    if kind is None and capability is None:
        return None
    return frozenset(
        one.name
        for one in deps.registry.types()
        if kind in {None, one.name} and (capability is None or capability in one.capabilities)
    )


def _view(deps: Gateway, held: Connector) -> ConnectorView:
    return _shown(deps, held, Localized(deps.store).sources(held.tenant_id))


def _shown(deps: Gateway, held: Connector, holding: frozenset[str]) -> ConnectorView:
    """The connector as a client sees it; `holding` are the fingerprints with content here."""
    kind = deps.registry.get(held.type)
    return ConnectorView(
        id=held.id,
        type=held.type,
        name=held.name,
        config=held.config,
        auth=masked(kind.auth, _opened(deps, held)),
        capabilities=tuple(sorted(kind.capabilities)),
        localized=held.fingerprint in holding,
        created_at=rfc3339(held.created_ms),
        updated_at=rfc3339(held.updated_ms),
        deleted_at=None if held.deleted_ms is None else rfc3339(held.deleted_ms),
        links={"self": f"/v1/connectors/{held.id}"},
    )


def _type_views(deps: Gateway) -> tuple[ConnectorTypeView, ...]:
    return tuple(_type_view(kind, deps) for kind in deps.registry.types())


def _type_view(kind: ConnectorType, deps: Gateway) -> ConnectorTypeView:
    schemas = kind.schemas(deps.env)
    return ConnectorTypeView(
        type=kind.name,
        capabilities=tuple(sorted(kind.capabilities)),
        config=schemas["config"],
        auth=schemas["auth"],
    )
