"""Webhooks: where events are sent, signed by a secret shown once, with a log of every delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.answers import Answer, answer, conditional, once, once_outside, page
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import DEFAULT, Cursor, Id, IdempotencyKey, IfMatch, IfNoneMatch, Limit
from api_gateway.patches import Lasting
from api_gateway.problems import wrong
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from connectors.receiver import check_url, new_secret
from schemas.base import WireValue
from schemas.errors import AccessDenied, Conflict
from schemas.events import EventType
from schemas.times import rfc3339
from schemas.webhooks import (
    EVENT_TYPES,
    SECRET_FIELD,
    Delivery,
    DeliveryState,
    DisabledReason,
    Webhook,
)
from store.webhooks import Deliveries

webhooks: APIRouter = router("webhooks")
_KIND = "webhooks"
_MASK = "***"
_MAX_GRACE_S = 30 * 24 * 3600
_DAY_S = 24 * 3600
_EXAMPLE = {
    "url": "https://hooks.example.com/cuttingroom",
    "description": "newsroom automation",
    "events": ["clip.ready", "export.ready", "job.failed"],
}
DeliveryId = Annotated[
    str, Path(alias="deliveryId", max_length=200, description="the delivery's id")
]
Url = Annotated[str, Field(min_length=8, max_length=2000)]
Description = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Events = Annotated[
    tuple[EventType, ...], Field(min_length=1, max_length=len(EVENT_TYPES), description="which")
]


class WebhookBody(WireValue):
    """A receiver; it is sent every type of event where none are named."""

    url: Url
    description: Description = ""
    events: Events | None = None
    enabled: StrictBool = True


class WebhookPatch(WireValue):
    """What to change; `events` null stands for every type. `rotate` makes a new secret, and
    deliveries are signed by both for `graceSeconds`."""

    url: Lasting[Url] = None
    description: Lasting[Description] = None
    events: Events | None = None
    enabled: Lasting[StrictBool] = None
    rotate: StrictBool = False
    grace_seconds: int = Field(default=_DAY_S, ge=0, le=_MAX_GRACE_S)


class WebhookView(WireValue):
    """A receiver and how it is doing; `failing` since a delivery was not taken and none after it
    was. `disabledReason`: it answered 410 (`gone`), or took nothing for a day (`failing`)."""

    id: str
    url: str
    description: str
    events: tuple[EventType, ...]
    enabled: bool
    status: Literal["active", "failing", "disabled"]
    failing_since: str | None
    disabled_reason: DisabledReason | None
    secret: str
    previous_secret_until: str | None
    created_at: str
    updated_at: str


class WebhookPage(WireValue):
    """Some webhooks."""

    items: tuple[WebhookView, ...]
    next_cursor: str | None


class DeliveryView(WireValue):
    """One event on its way to one receiver; `id` is what it comes with as `webhook-id`.

    `responseCode`, `durationMs` and `reason` are of the last try.
    """

    id: str
    webhook_id: str
    status: DeliveryState
    test: bool
    event_id: str
    event_type: str
    job_id: str | None
    attempts: int
    response_code: int | None
    duration_ms: int | None
    reason: str | None
    created_at: str
    last_attempt_at: str | None
    next_attempt_at: str | None
    finished_at: str | None


class DeliveryPage(WireValue):
    """Some deliveries, the newest event first."""

    items: tuple[DeliveryView, ...]
    next_cursor: str | None


@webhooks.get(
    "/v1/webhooks",
    operation_id="listWebhooks",
    summary="The tenant's webhooks",
    response_model=WebhookPage,
    **operation("admin", 422),
)
async def list_webhooks(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made; their secrets show as `***`."""
    after = paging.position(_KIND, cursor)
    found = await deps.read(lambda tx: tx.webhooks.page(caller.tenant_id, after, limit + 1))
    more = paging.cursor(_KIND, found[limit - 1].id) if len(found) > limit else None
    views = await in_thread(_views, deps, caller.tenant_id, found[:limit])
    return page(views, more)


@webhooks.post(
    "/v1/webhooks",
    operation_id="createWebhook",
    summary="Have events sent somewhere; the signing secret is shown this once",
    status_code=201,
    response_model=WebhookView,
    **operation("admin", 400, 409, 413, 415, 422, example=_EXAMPLE),
)
async def create_webhook(
    request: Request, deps: Deps, caller: Caller, body: WebhookBody, _: IdempotencyKey = None
) -> Response:
    """It is sent what happens from now on."""
    _check(deps, body.url)
    since = await in_thread(deps.events.latest, caller.tenant_id)

    def make(tx: Transaction) -> Answer:
        secret = new_secret()
        made = tx.webhooks.create(_made(deps, tx, caller.tenant_id, body, since, secret))
        return answer(
            _view(made, None, secret),
            201,
            Location=f"/v1/webhooks/{made.id}",
            ETag=_tag(made, None),
        )

    return await once(request, deps, caller.tenant_id, make)


@webhooks.get(
    "/v1/webhooks/{id}",
    operation_id="getWebhook",
    summary="One webhook, and whether it takes what it is sent",
    response_model=WebhookView,
    **operation("admin", 404),
)
async def get_webhook(
    request: Request, deps: Deps, caller: Caller, webhook_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    held = await in_thread(_read, deps, caller.tenant_id, webhook_id)
    failing_ms = await in_thread(_failing_ms, deps, held)
    return conditional(request, _view(held, failing_ms), _tag(held, failing_ms))


@webhooks.patch(
    "/v1/webhooks/{id}",
    operation_id="updateWebhook",
    summary="Change a webhook, switch it on or off, or rotate its secret",
    response_model=WebhookView,
    **operation(
        "admin", 400, 404, 409, 412, 413, 415, 422, example={"rotate": True, "graceSeconds": 3600}
    ),
)
async def update_webhook(
    deps: Deps, caller: Caller, webhook_id: Id, body: WebhookPatch, if_match: IfMatch = None
) -> Response:
    """A new secret is shown this once. One that is switched on again begins with what happens
    from then on; what it had not been sent before is not sent."""
    if body.url is not None:
        _check(deps, body.url)
    failing_ms = await in_thread(
        lambda: _failing_ms(deps, _read(deps, caller.tenant_id, webhook_id))
    )
    since = await in_thread(deps.events.latest, caller.tenant_id)
    secret = new_secret() if body.rotate else None

    def change(tx: Transaction) -> Webhook:
        held = tx.webhooks.get(caller.tenant_id, webhook_id)
        etag.check_match(if_match, _tag(held, failing_ms))
        return tx.webhooks.change(held, _changed(deps, held, body, since, secret))

    changed = await deps.write(change)
    tag = _tag(changed, failing_ms)
    return answer(_view(changed, failing_ms, secret or _MASK), ETag=tag).response


@webhooks.delete(
    "/v1/webhooks/{id}",
    operation_id="deleteWebhook",
    summary="Delete a webhook with its log; what is pending is not sent",
    status_code=204,
    response_class=Response,
    **operation("admin", 404, 412),
)
async def delete_webhook(
    deps: Deps, caller: Caller, webhook_id: Id, if_match: IfMatch = None
) -> Response:
    """At once: only a delivery that is being sent just now still arrives."""

    def delete() -> None:
        failing_ms = _failing_ms(deps, _read(deps, caller.tenant_id, webhook_id))
        with deps.catalog.write() as tx:
            held = tx.webhooks.get(caller.tenant_id, webhook_id)
            etag.check_match(if_match, _tag(held, failing_ms))
            tx.webhooks.delete(caller.tenant_id, webhook_id)
        Deliveries(deps.store).forget(caller.tenant_id, webhook_id)

    await in_thread(delete)
    return Response(status_code=204)


@webhooks.post(
    "/v1/webhooks/{id}/test",
    operation_id="testWebhook",
    summary="Send a webhook a test",
    status_code=202,
    response_model=DeliveryView,
    **operation("admin", 400, 404, 409, 413, 415, 422),
)
async def greet(
    request: Request, deps: Deps, caller: Caller, webhook_id: Id, _: IdempotencyKey = None
) -> Response:
    """The delivery, whose log tells what became of it. It is sent once, and to a disabled webhook
    as well: its `type` is `webhook.test`."""
    held = await in_thread(_read, deps, caller.tenant_id, webhook_id)

    def act() -> Answer:
        return answer(_delivery(held.id, Deliveries(deps.store).test(held)), 202)

    return await once_outside(request, deps, caller.tenant_id, act)


@webhooks.get(
    "/v1/webhooks/{id}/deliveries",
    operation_id="listWebhookDeliveries",
    summary="What was sent to a webhook, and what became of it",
    response_model=DeliveryPage,
    **operation("admin", 404, 422),
)
async def list_deliveries(
    deps: Deps, caller: Caller, webhook_id: Id, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The newest event first; what has ended is kept for a week, the last thousand at most."""
    kind = f"deliveries {webhook_id}"
    after = paging.position(kind, cursor)
    held = await in_thread(_read, deps, caller.tenant_id, webhook_id)
    found = await in_thread(Deliveries(deps.store).page, caller.tenant_id, held.id, after, limit)
    more = paging.cursor(kind, found.after) if found.after else None
    return page((_delivery(held.id, one) for one in found.items), more)


@webhooks.post(
    "/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver",
    operation_id="redeliverWebhook",
    summary="Send a delivery again",
    status_code=202,
    response_model=DeliveryView,
    **operation("admin", 400, 404, 409, 413, 415, 422),
)
async def redeliver(
    request: Request,
    deps: Deps,
    caller: Caller,
    webhook_id: Id,
    delivery_id: DeliveryId,
    _: IdempotencyKey = None,
) -> Response:
    """Now, and for another day where it is not taken, under the `webhook-id` it had."""
    held = await in_thread(_read, deps, caller.tenant_id, webhook_id)

    def act() -> Answer:
        log = Deliveries(deps.store)
        log.get(caller.tenant_id, held.id, delivery_id)
        if not held.enabled:
            raise Conflict("the webhook is disabled; enable it first", code="webhook_disabled")
        return answer(_delivery(held.id, log.again(caller.tenant_id, held.id, delivery_id)), 202)

    return await once_outside(request, deps, caller.tenant_id, act)


def _check(deps: Gateway, url: str) -> None:
    try:
        check_url(url, deps.settings.allow_cidrs)
    except AccessDenied as error:
        raise wrong("/url", error.message, "url_invalid") from None


def _read(deps: Gateway, tenant_id: str, webhook_id: str) -> Webhook:
    with deps.catalog.read() as tx:
        return tx.webhooks.get(tenant_id, webhook_id)


def _failing_ms(deps: Gateway, held: Webhook) -> int | None:
    return Deliveries(deps.store).failing_since(held.tenant_id, [held.id])[0]


def _made(
    deps: Gateway, tx: Transaction, tenant_id: str, body: WebhookBody, since: str, secret: str
) -> Webhook:
    webhook_id, now = tx.webhooks.new_id(), deps.clock()
    return Webhook(
        id=webhook_id,
        tenant_id=tenant_id,
        url=body.url,
        description=body.description,
        events=_types(body.events),
        enabled=body.enabled,
        since=since,
        sealed_secret=deps.sealer.seal(tenant_id, webhook_id, SECRET_FIELD, secret),
        created_ms=now,
        updated_ms=now,
    )


def _changed(
    deps: Gateway, held: Webhook, patch: WebhookPatch, since: str, secret: str | None
) -> Webhook:
    given = patch.model_fields_set
    update: dict[str, object] = {
        name: value
        for name in ("url", "description", "enabled")
        if (value := getattr(patch, name)) is not None
    }
    if "events" in given:
        update["events"] = _types(patch.events)
    if patch.enabled is not None:
        update["disabled_reason"] = None
    if patch.enabled and not held.enabled:
        update["since"] = since
    if secret is not None:
        update["sealed_secret"] = deps.sealer.seal(held.tenant_id, held.id, SECRET_FIELD, secret)
        update["sealed_previous"] = held.sealed_secret if patch.grace_seconds else None
        grace_ms = patch.grace_seconds * 1000
        update["previous_until_ms"] = deps.clock() + grace_ms if grace_ms else None
    return held.model_copy(update=update)


def _types(chosen: Sequence[EventType] | None) -> tuple[EventType, ...] | None:
    """In the document's order, each once."""
    if chosen is None:
        return None
    return tuple(one for one in EVENT_TYPES if one in chosen)


def _tag(held: Webhook, failing_ms: int | None) -> str:
    """How it is doing is part of what is shown, but no change of the webhook."""
    tag = etag.of_version(held.version)
    return tag if failing_ms is None else f'{tag[:-1]}-{failing_ms}"'


def _views(deps: Gateway, tenant_id: str, held: Sequence[Webhook]) -> tuple[WebhookView, ...]:
    failing = Deliveries(deps.store).failing_since(tenant_id, [one.id for one in held])
    return tuple(_view(one, since) for one, since in zip(held, failing, strict=True))


def _view(held: Webhook, failing_ms: int | None, secret: str = _MASK) -> WebhookView:
    until = held.previous_until_ms if held.sealed_previous else None
    working: Literal["active", "failing"] = "active" if failing_ms is None else "failing"
    return WebhookView(
        id=held.id,
        url=held.url,
        description=held.description,
        events=held.events or EVENT_TYPES,
        enabled=held.enabled,
        status=working if held.enabled else "disabled",
        failing_since=_instant(failing_ms),
        disabled_reason=held.disabled_reason,
        secret=secret,
        previous_secret_until=_instant(until),
        created_at=rfc3339(held.created_ms),
        updated_at=rfc3339(held.updated_ms),
    )


def _delivery(webhook_id: str, held: Delivery) -> DeliveryView:
    return DeliveryView(
        id=held.id,
        webhook_id=webhook_id,
        status=held.state,
        test=held.kind == "test",
        event_id=held.event_id,
        event_type=held.event_type,
        job_id=held.job_id,
        attempts=held.attempts,
        response_code=held.code,
        duration_ms=held.duration_ms,
        reason=held.reason,
        created_at=rfc3339(held.created_ms),
        last_attempt_at=_instant(held.last_ms),
        next_attempt_at=_instant(held.next_ms),
        finished_at=_instant(held.finished_ms),
    )


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
