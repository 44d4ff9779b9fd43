"""Answers: JSON with an ETag, and the first answer given again to a repeated POST."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.deps import Gateway, body_hash, in_thread
from catalog.engine import Transaction
from schemas.base import Value
from store import idempotency

_JSON = "application/json"
_FIELD = "answer"

T = TypeVar("T")


class Answer(Value):
    """An answer as it is kept: what a repeated request gets again."""

    status: int
    body: str
    headers: dict[str, str] = {}

    @property
    def response(self) -> Response:
        """The answer as it is sent."""
        return Response(self.body, status_code=self.status, media_type=_JSON, headers=self.headers)


def answer(body: BaseModel, status: int = 200, **headers: str) -> Answer:
    """An answer from a value; header names are spelled with underscores."""
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=body.model_dump_json(by_alias=True), headers=spelled)


def conditional(request: Request, body: BaseModel | bytes, tag: str | None = None) -> Response:
    """JSON under its ETag, or 304 where the client holds it."""
    text = body if isinstance(body, bytes) else body.model_dump_json(by_alias=True).encode()
    current = tag or etag.of_bytes(text)
    headers = {"ETag": current, "Cache-Control": "no-cache"}
    if etag.is_known(request.headers.get("if-none-match"), current):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type=_JSON, headers=headers)


def page(items: Iterable[BaseModel], next_cursor: str | None) -> Response:
    """The one form of a list."""
    shown = [one.model_dump(mode="json", by_alias=True) for one in items]
    return Response(json.dumps({"items": shown, "nextCursor": next_cursor}), media_type=_JSON)


def page_of(
    kind: str,
    found: Sequence[T],
    limit: int,
    view: Callable[[T], BaseModel],
    place: Callable[[T], str] = attrgetter("id"),
) -> Response:
    """The first `limit` of what was found; where that is more, the cursor leads behind them."""
    more = paging.cursor(kind, place(found[limit - 1])) if len(found) > limit else None
    return page(map(view, found[:limit]), more)


async def once(
    request: Request, gateway: Gateway, tenant_id: str, make: Callable[[Transaction], Answer]
) -> Response:
    """What `make` answers, in one transaction with the record that it was answered."""
    key, hashed = request.headers.get("idempotency-key"), body_hash(request)

    def made(tx: Transaction) -> Answer:
        first = _first(gateway, tx, tenant_id, key, hashed)
        if first is not None:
            return first
        answered = make(tx)
        _keep(gateway, tx, tenant_id, key, hashed, answered)
        return answered

    def run() -> Answer:
        check_key(request, gateway, tenant_id)
        with gateway.catalog.write() as tx:
            answered = made(tx)
        note_key(request, gateway, tenant_id)
        return answered

    return (await in_thread(run)).response


async def once_outside(
    request: Request, gateway: Gateway, tenant_id: str, act: Callable[[], Answer]
) -> Response:
    """The same for an act outside the catalogue that may harmlessly be repeated."""
    key, hashed = request.headers.get("idempotency-key"), body_hash(request)
    if key is None:
        return (await in_thread(act)).response

    def run() -> Answer:
        check_key(request, gateway, tenant_id)
        with gateway.catalog.read() as tx:
            first = _first(gateway, tx, tenant_id, key, hashed)
        if first is not None:
            return first
        made = act()
        with gateway.catalog.write() as tx:
            _keep(gateway, tx, tenant_id, key, hashed, made)
        note_key(request, gateway, tenant_id)
        return made

    return (await in_thread(run)).response


def check_key(request: Request, gateway: Gateway, tenant_id: str) -> None:
    """Refuse a key that came with another request, be it for a job."""
    key = request.headers.get("idempotency-key")
    if key is not None:
        idempotency.check(gateway.store, tenant_id, key, body_hash(request))


def note_key(request: Request, gateway: Gateway, tenant_id: str) -> None:
    """No other request is taken under this one's key, not for a job either."""
    key = request.headers.get("idempotency-key")
    if key is not None:
        idempotency.note(gateway.store, tenant_id, key, body_hash(request))


def first_answer(
    request: Request, gateway: Gateway, tx: Transaction, tenant_id: str
) -> Answer | None:
    """What this request was answered before, for a caller who has no credential yet."""
    key = request.headers.get("idempotency-key")
    return _first(gateway, tx, tenant_id, key, body_hash(request))


def keep_answer(
    request: Request, gateway: Gateway, tx: Transaction, tenant_id: str, made: Answer
) -> None:
    """Keep what this request is answered, where it may be repeated."""
    key = request.headers.get("idempotency-key")
    _keep(gateway, tx, tenant_id, key, body_hash(request), made)


def _first(
    gateway: Gateway, tx: Transaction, tenant_id: str, key: str | None, hashed: str
) -> Answer | None:
    sealed = tx.answers.first(tenant_id, key, hashed) if key else None
    if sealed is None:
        return None
    opened = gateway.sealer.open(tenant_id, f"answer:{key}", _FIELD, sealed)
    return Answer.model_validate(json.loads(opened.get_secret_value()))


def _keep(
    gateway: Gateway, tx: Transaction, tenant_id: str, key: str | None, hashed: str, made: Answer
) -> None:
    if key is not None:
        text = json.dumps(made.model_dump(mode="json"))
        sealed = gateway.sealer.seal(tenant_id, f"answer:{key}", _FIELD, text)
        tx.answers.keep(tenant_id, key, hashed, sealed)
