"""The audit log: who did what, when, and from where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api_gateway import paging
from api_gateway.answers import page_of
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import DEFAULT, Cursor, Limit, instant
from api_gateway.problems import wrong
from api_gateway.routing import operation, router
from catalog.audit import AuditFilter
from schemas.accounts import AuditEntry
from schemas.base import WireValue
from schemas.times import rfc3339

audit: APIRouter = router("audit")
_KIND = "audit"
_BATCH = 500
Subject = Annotated[str | None, Query(max_length=80, description="`user:…` or `key:…`")]
Action = Annotated[str | None, Query(max_length=80, description="an operationId")]
Since = Annotated[str | None, Query(alias="from", max_length=40, description="RFC 3339; is in")]
Until = Annotated[str | None, Query(alias="to", max_length=40, description="RFC 3339; is out")]


class EntryView(WireValue):
    """An entry; `address` is the peer's, or what a trusted proxy said of it."""

    id: str
    occurred_at: str
    subject: str
    action: str
    target: str | None
    address: str | None
    agent: str | None
    detail: dict[str, str]


class EntryPage(WireValue):
    """Some entries, the newest first."""

    items: tuple[EntryView, ...]
    next_cursor: str | None


@audit.get(
    "/v1/audit",
    operation_id="listAudit",
    summary="The audit log, the newest first",
    response_model=EntryPage,
    **operation("admin", 422),
)
async def list_audit(
    deps: Deps,
    caller: Caller,
    subject: Subject = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Log-ins, and every change of accounts, keys and connectors; jobs name who asked for them."""
    wanted = _wanted(subject, action, since, until)
    before = paging.position(_KIND, cursor)
    found = await in_thread(_read, deps, caller.tenant_id, before, limit + 1, wanted)
    return page_of(_KIND, found, limit, _view)


@audit.get(
    "/v1/audit/export",
    operation_id="exportAudit",
    summary="The whole audit log, one JSON object a line",
    response_class=Response,
    **operation("admin", 422),
)
async def export_audit(
    deps: Deps,
    caller: Caller,
    subject: Subject = None,
    action: Action = None,
    since: Since = None,
    until: Until = None,
) -> Response:
    """The newest first, as `application/x-ndjson`."""
    wanted = _wanted(subject, action, since, until)
    return StreamingResponse(
        _lines(deps, caller.tenant_id, wanted),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="audit.ndjson"'},
    )


async def _lines(gateway: Gateway, tenant_id: str, wanted: AuditFilter) -> AsyncIterator[bytes]:
    before: str | None = None
    while True:
        found = await in_thread(_read, gateway, tenant_id, before, _BATCH, wanted)
        if found:
            texts = (_view(entry).model_dump_json(by_alias=True) for entry in found)
            yield ("\n".join(texts) + "\n").encode()
        if len(found) < _BATCH:
            return
        before = found[-1].id


def _read(
    gateway: Gateway, tenant_id: str, before: str | None, limit: int, wanted: AuditFilter
) -> tuple[AuditEntry, ...]:
    with gateway.catalog.read() as tx:
        return tx.audit.page(tenant_id, before, limit, wanted)


def _wanted(
    subject: str | None, action: str | None, since: str | None, until: str | None
) -> AuditFilter:
    return AuditFilter(
        subject=_text("subject", subject),
        action=_text("action", action),
        from_ms=instant("from", since),
        to_ms=instant("to", until),
    )


def _text(name: str, text: str | None) -> str | None:
    if text is not None and "\0" in text:
        raise wrong(f"#query/{name}", f"{name}: a NUL is in no name", "query_invalid")
    return text


def _view(entry: AuditEntry) -> EntryView:
    return EntryView(
        id=entry.id,
        occurred_at=rfc3339(entry.occurred_ms),
        subject=entry.subject,
        action=entry.action,
        target=entry.target,
        address=entry.address,
        agent=entry.agent,
        detail=entry.detail,
    )
