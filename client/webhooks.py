"""Webhooks: where events are sent, and what became of each delivery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from client.calls import Calls
from client.values import UNSET, Given, Resource, Told, given, present
from schemas.events import EventType


class Webhook(Resource):
    """A receiver; `secret` is whole only where it was just made."""

    id: str
    url: str
    description: str
    events: tuple[str, ...]
    enabled: bool
    status: str
    secret: str = Field(repr=False)
    previous_secret_until: str | None = None
    disabled_reason: str | None = None
    failing_since: str | None = None
    created_at: str
    updated_at: str


class Delivery(Told):
    """One event on its way to one receiver."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    job_id: str | None = None
    status: str
    attempts: int
    response_code: int | None = None
    reason: str | None = None
    test: bool = False
    created_at: str
    last_attempt_at: str | None = None
    next_attempt_at: str | None = None
    finished_at: str | None = None
    duration_ms: int | None = None


class Webhooks:
    """The tenant's receivers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[Webhook]:
        """Every receiver."""
        return self._calls.pages(Webhook, "listWebhooks")

    def create(
        self,
        url: str,
        *,
        events: Sequence[EventType] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Send events to an address; the answer holds the secret, this once."""
        body = present(url=url, events=events, description=description, enabled=enabled)
        return self._calls.value(Webhook, "createWebhook", body=body)

    def get(self, webhook_id: str) -> Webhook:
        """One receiver."""
        return self._calls.value(Webhook, "getWebhook", {"id": webhook_id})

    def update(
        self,
        webhook_id: str,
        *,
        url: str | Given = UNSET,
        events: Sequence[EventType] | Given | None = UNSET,
        description: str | Given = UNSET,
        enabled: bool | Given = UNSET,
        rotate: bool | Given = UNSET,
        grace_seconds: int | Given = UNSET,
        if_match: str | None = None,
    ) -> Webhook:
        """Change a receiver; `rotate` gives it a new secret, the old one living through a grace."""
        body = given(
            url=url,
            events=events,
            description=description,
            enabled=enabled,
            rotate=rotate,
            grace_seconds=grace_seconds,
        )
        at, said = {"id": webhook_id}, {"If-Match": if_match}
        return self._calls.value(Webhook, "updateWebhook", at, body=body, headers=said)

    def delete(self, webhook_id: str, *, if_match: str | None = None) -> None:
        """Send nothing there any more."""
        said = {"If-Match": if_match}
        self._calls.reply("deleteWebhook", {"id": webhook_id}, headers=said)

    def test(self, webhook_id: str) -> Delivery:
        """Send a test."""
        return self._calls.value(Delivery, "testWebhook", {"id": webhook_id})

    def deliveries(self, webhook_id: str) -> Iterator[Delivery]:
        """What was sent, the newest first."""
        return self._calls.pages(Delivery, "listWebhookDeliveries", {"id": webhook_id})

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send an event once more."""
        at = {"id": webhook_id, "deliveryId": delivery_id}
        return self._calls.value(Delivery, "redeliverWebhook", at)
