"""The repository of webhooks; the tenant is the first argument of every call of a tenant's."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog.ids import new_id
from catalog.models import TenantRow, WebhookRow
from schemas.errors import Conflict, NotFound
from schemas.webhooks import DisabledReason, Webhook

MAX_WEBHOOKS = 20
_CHANGEABLE = (
    *("url", "description", "enabled", "disabled_reason", "since"),
    *("sealed_secret", "sealed_previous", "previous_until_ms"),
)


class Webhooks:
    """Receivers of events."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def new_id(self) -> str:
        """An id for a webhook to be: its secret is sealed before it is stored."""
        return new_id("whk", self._clock())

    def create(self, made: Webhook) -> Webhook:
        """Keep a new webhook; Conflict where the tenant has as many as one may have."""
        # Two that are made at once would each count without the other.
        self._session.get(TenantRow, made.tenant_id, with_for_update=True)
        count = self._session.scalar(
            select(func.count()).where(WebhookRow.tenant_id == made.tenant_id)
        )
        if (count or 0) >= MAX_WEBHOOKS:
            raise Conflict(
                f"a tenant has {MAX_WEBHOOKS} webhooks at most", code="too_many_webhooks"
            )
        row = WebhookRow(
            **{name: getattr(made, name) for name in _CHANGEABLE},
            id=made.id,
            tenant_id=made.tenant_id,
            events=_written(made),
            created_ms=made.created_ms,
            updated_ms=made.updated_ms,
            version=1,
        )
        self._session.add(row)
        self._session.flush()
        return _webhook(row)

    def get(self, tenant_id: str, webhook_id: str) -> Webhook:
        """The webhook, or NotFound."""
        return _webhook(self._row(tenant_id, webhook_id))

    def page(self, tenant_id: str, after: str | None, limit: int) -> tuple[Webhook, ...]:
        """Up to `limit` webhooks in the order they were made, after an id."""
        query = select(WebhookRow).where(WebhookRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(WebhookRow.id > after)
        rows = self._session.scalars(query.order_by(WebhookRow.id).limit(limit))
        return tuple(_webhook(row) for row in rows)

    def change(self, held: Webhook, changed: Webhook) -> Webhook:
        """Store a changed webhook; `held.version` is the version it was read at."""
        row = self._row(held.tenant_id, held.id)
        if row.version != held.version:
            raise Conflict("the webhook was changed meanwhile; read it again", code="stale")
        for name in _CHANGEABLE:
            setattr(row, name, getattr(changed, name))
        row.events = _written(changed)
        row.updated_ms = self._clock()
        row.version += 1
        self._session.flush()
        return _webhook(row)

    def disable(self, held: Webhook, reason: DisabledReason) -> bool:
        """Disable a webhook of itself; False where it was changed since it was read."""
        row = self._session.scalar(
            select(WebhookRow).where(WebhookRow.id == held.id).with_for_update()
        )
        if row is None or row.version != held.version or not row.enabled:
            return False
        row.enabled, row.disabled_reason = False, reason
        row.updated_ms = self._clock()
        row.version += 1
        self._session.flush()
        return True

    def delete(self, tenant_id: str, webhook_id: str) -> None:
        """Forget a webhook."""
        self._session.delete(self._row(tenant_id, webhook_id))
        self._session.flush()

    def everyone(self) -> tuple[Webhook, ...]:
        """The webhooks of every tenant, a tenant's together; for the service itself."""
        rows = self._session.scalars(select(WebhookRow).order_by(WebhookRow.tenant_id))
        return tuple(_webhook(row) for row in rows)

    def _row(self, tenant_id: str, webhook_id: str) -> WebhookRow:
        row = self._session.scalar(
            select(WebhookRow).where(WebhookRow.tenant_id == tenant_id, WebhookRow.id == webhook_id)
        )
        if row is None:
            raise NotFound("no such webhook")
        return row


def _written(webhook: Webhook) -> list[str]:
    """The chosen types; none stands for all, those to come included."""
    return list(webhook.events or ())


def _webhook(row: WebhookRow) -> Webhook:
    values = {name: getattr(row, name) for name in _CHANGEABLE}
    return Webhook.model_validate(
        {
            **values,
            "id": row.id,
            "tenant_id": row.tenant_id,
            "events": row.events or None,
            "created_ms": row.created_ms,
            "updated_ms": row.updated_ms,
            "version": row.version,
        }
    )
