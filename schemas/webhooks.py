"""Webhooks as values: where a tenant wants its events sent, and what became of each delivery."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import Field

from schemas.base import Value, WireValue
from schemas.events import EventType

EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
TEST_TYPE = "webhook.test"
DAY_MS = 24 * 3600 * 1000
SECRET_FIELD = "secret"  # noqa: S105 - the name of a field
DisabledReason = Literal["gone", "failing"]
DeliveryState = Literal["pending", "delivered", "failed"]
DeliveryKind = Literal["event", "test"]
_DELIVERY_ID = re.compile(r"dlv_\d{19}_[0-9a-z]{16}", re.ASCII)


class Webhook(Value):
    """A receiver of a tenant's events; the secrets are sealed, times are epoch milliseconds.

    `events` None means every type. `since` is the event after which its deliveries begin.
    `disabled_reason` is set where the service itself disabled it.
    """

    id: str
    tenant_id: str
    url: str = Field(repr=False)
    description: str = ""
    events: tuple[EventType, ...] | None = None
    enabled: bool = True
    disabled_reason: DisabledReason | None = None
    since: str
    sealed_secret: str = Field(repr=False)
    sealed_previous: str | None = Field(default=None, repr=False)
    previous_until_ms: int | None = None
    created_ms: int
    updated_ms: int
    version: int = 1


class Message(WireValue):
    """The body of a delivery: an event as every list and stream shows it, or a test."""

    id: str
    seq: int
    type: EventType | Literal["webhook.test"]
    tenant_id: str
    job_id: str | None
    attempt: int
    occurred_at: str
    data: dict[str, Any] = {}


class Claim(Value):
    """The right to try one delivery until it lapses; `fence` grows with every claim.

    `attempts` counts this one, `age_ms` is how long the delivery has been tried for.
    """

    tenant_id: str
    webhook_id: str
    delivery_id: str
    fence: int
    attempts: int
    age_ms: int
    kind: DeliveryKind
    message: Message


class Outcome(Value):
    """How a try ended: a status, or none where nothing was answered."""

    code: int | None = None
    duration_ms: int = 0
    reason: str | None = None
    retry_after_s: float | None = None


class Delivery(Value):
    """A delivery as its log tells of it."""

    id: str
    state: DeliveryState
    kind: DeliveryKind
    event_id: str
    event_type: str
    job_id: str | None
    attempts: int
    created_ms: int
    last_ms: int | None = None
    next_ms: int | None = None
    finished_ms: int | None = None
    code: int | None = None
    duration_ms: int | None = None
    reason: str | None = None


def is_delivery_id(text: str) -> bool:
    """Whether a client's text can name a delivery.

    >>> is_delivery_id("dlv_1763881200000000000_01j8z3k4m5n6p7q8"), is_delivery_id("dlv_1:log")
    (True, False)
    """
    return _DELIVERY_ID.fullmatch(text) is not None
