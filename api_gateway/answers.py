"""Answers: JSON with an ETag, and the first answer given again to a repeated POST."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.deps import Gateway, body_hash, in_thread
from catalog.engine import Transaction
from schemas.base import Value
from schemas.errors import StoreUnavailable, UnderWay
from store import idempotency, keys

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


class Keyed(NamedTuple):
    """A request under its Idempotency-Key, or under none: what it was answered is kept."""

    gateway: Gateway
    tenant_id: str
    key: str | None
    words: str
    under_way: bool = False

    def before(self, tenant_id: str) -> Keyed:
        """The same of a caller who is no member of the tenant, and is told of none of its keys."""
        # No Idempotency-Key holds a blank.
        key = None if self.key is None else f"anonymous {keys.digest(self.key)}"
        return self._replace(tenant_id=tenant_id, key=key)

    def first(self, tx: Transaction) -> Answer | None:
        """What an equal request was answered before; UnderWay where it is not yet."""
        sealed = tx.answers.first(self.tenant_id, self.key, self.words) if self.key else None
        if sealed is not None:
            opened = self.gateway.sealer.open(self.tenant_id, f"answer:{self.key}", _FIELD, sealed)
            return Answer.model_validate(json.loads(opened.get_secret_value()))
        if self.under_way:
            raise UnderWay("a request with this Idempotency-Key is being answered; try again")
        return None

    def keep(self, tx: Transaction, made: Answer) -> Answer:
        """The answer, kept where it may be asked for again."""
        if self.key is not None:
            text = json.dumps(made.model_dump(mode="json"))
            sealed = self.gateway.sealer.seal(self.tenant_id, f"answer:{self.key}", _FIELD, text)
            tx.answers.keep(self.tenant_id, self.key, self.words, sealed)
        return made


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

    def run() -> Answer:
        with keyed(request, gateway, tenant_id) as key, gateway.catalog.write() as tx:
            first = key.first(tx)
            return first if first is not None else key.keep(tx, make(tx))

    return (await in_thread(run)).response


async def once_outside(
    request: Request, gateway: Gateway, tenant_id: str, act: Callable[[], Answer]
) -> Response:
    """The same for an act outside the catalogue that may harmlessly be repeated."""
    if "idempotency-key" not in request.headers:
        return (await in_thread(act)).response

    def run() -> Answer:
        with keyed(request, gateway, tenant_id) as key:
            with gateway.catalog.read() as tx:
                first = key.first(tx)
            if first is not None:
                return first
            made = act()
            with gateway.catalog.write() as tx:
                return key.keep(tx, made)

    return (await in_thread(run)).response


@contextmanager
def keyed(request: Request, gateway: Gateway, tenant_id: str) -> Iterator[Keyed]:
    """The request's Idempotency-Key, in its hands alone until it is answered or refused."""
    key, words = request.headers.get("idempotency-key"), body_hash(request)
    if key is None:
        yield Keyed(gateway, tenant_id, key, words)
        return
    claim = idempotency.claim(gateway.store, tenant_id, key, words)
    try:
        yield Keyed(gateway, tenant_id, key, words, under_way=claim.under_way)
    except BaseException:
        with suppress(StoreUnavailable):  # it lapses by itself
            idempotency.release(gateway.store, claim)
        raise
    idempotency.settle(gateway.store, claim)
