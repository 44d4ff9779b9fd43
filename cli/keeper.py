"""The keeper process: the ledger's chores, and those that need the catalogue."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

import structlog

from api_gateway.compose import sql_url
from catalog.engine import Catalog
from connectors.receiver import Receivers
from connectors.sealing import Sealer
from schemas.errors import NotFound
from schemas.settings import Settings
from schemas.webhooks import DisabledReason, Webhook
from store.client import Store
from store.queues import Queues
from store.webhooks import Deliveries
from workers import logs, webhooks
from workers.keeper import Part, keep

log = structlog.get_logger(__name__)


class CatalogWebhooks:
    """The catalogue's webhooks as the keeper asks for them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def everyone(self) -> tuple[Webhook, ...]:
        """The webhooks of every tenant."""
        with self._catalog.read() as tx:
            return tx.webhooks.everyone()

    def get(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        """One webhook, None where it is no more."""
        try:
            with self._catalog.read() as tx:
                return tx.webhooks.get(tenant_id, webhook_id)
        except NotFound:
            return None

    def disable(self, held: Webhook, reason: DisabledReason) -> bool:
        """Disable a webhook and write that down in its tenant's audit log."""
        with self._catalog.write() as tx:
            done = tx.webhooks.disable(held, reason)
            if done:
                tx.audit.add(
                    held.tenant_id,
                    "service",
                    "disableWebhook",
                    target=held.id,
                    detail={"reason": reason},
                )
            return done


def main(argv: Sequence[str] | None = None) -> None:
    """Keep until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m cli.keeper", description=__doc__)
    parser.add_argument("--metrics-port", type=int, help="answer /metrics there")
    given = parser.parse_args(argv)
    settings = Settings.from_env(os.environ)
    logs.set_up(settings.log_level)
    store = Store.from_url(settings.redis_url.get_secret_value())
    keep(settings, store, parts(settings, store), given.metrics_port)


def parts(settings: Settings, store: Store) -> tuple[Part, ...]:
    """What the keeper does besides the ledger's chores."""
    if not settings.secret_keys.get_secret_value():
        log.error("webhooks are not delivered: CUTTINGROOM_SECRET_KEYS is empty")
        return ()
    return (webhook_part(settings, store),)


def webhook_part(settings: Settings, store: Store) -> Part:
    """The delivery of webhooks."""
    deliveries = Deliveries(store)
    postman = webhooks.Postman(
        deliveries,
        CatalogWebhooks(Catalog(sql_url(settings), clock=_now_ms)),
        Receivers(settings.allow_cidrs),
        Sealer(settings.secret_keys),
        _now_ms,
    )
    return webhooks.part(postman, deliveries, Queues(store))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main()
