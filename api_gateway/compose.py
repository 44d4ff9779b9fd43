"""Settings -> a gateway: every part made, nothing contacted yet."""

from __future__ import annotations

from collections.abc import Callable

from api_gateway.deps import Gateway
from catalog.engine import Catalog, catalog_url
from connectors.base import ConnectorEnv
from connectors.egress import Egress
from connectors.media_store import open_media_store
from connectors.registry import Registry
from connectors.sealing import Sealer
from schemas.settings import Settings
from store.async_jobs import AsyncJobs
from store.client import Store
from store.events import AsyncEvents, Events
from store.jobs import Jobs

NO_KEYS = "CUTTINGROOM_SECRET_KEYS is empty: set a Fernet key (cuttingroom keys new makes one)"


def compose(settings: Settings, clock: Callable[[], int]) -> Gateway:
    """The gateway these settings describe."""
    redis_url = settings.redis_url.get_secret_value()
    store = Store.from_url(redis_url)
    egress = Egress(allow_cidrs=settings.allow_cidrs)
    return Gateway(
        settings=settings,
        catalog=Catalog(sql_url(settings), clock=clock),
        store=store,
        jobs=Jobs(store, queue_cap=settings.queue_cap),
        accepting=AsyncJobs.from_url(redis_url, queue_cap=settings.queue_cap),
        events=Events(store),
        feed=AsyncEvents.from_url(redis_url),
        registry=Registry.discover(),
        sealer=Sealer(settings.secret_keys),
        env=ConnectorEnv(egress=egress, settings=settings, clock=clock),
        clock=clock,
        media_check=lambda: open_media_store(settings).check("writes"),
    )


def sql_url(settings: Settings) -> str:
    """Where the catalogue lies."""
    if settings.catalog_url is not None:
        return settings.catalog_url.get_secret_value()
    return catalog_url(settings.data_dir)
