"""Keepers and Redis are killed while they deliver: every event arrives, and a repetition has the
id it had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from catalog.engine import Catalog, catalog_url, migrate
from connectors.receiver import new_secret
from connectors.sealing import Sealer, new_key
from schemas.errors import StoreUnavailable
from schemas.webhooks import SECRET_FIELD, Webhook
from store.client import Store
from store.events import Events
from store.webhooks import Deliveries
from tests.chaos.processes import ROOT, kill, until
from tests.fakes import FixedClock
from tests.receivers import Receiver, Reply, receiver
from tests.redis_server import RedisServer, redis_server

pytestmark = [pytest.mark.slow, pytest.mark.redis]
COUNT = 150


class Site:
    """A Redis, a catalogue with webhooks, and keepers."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.folder, self.redis, self.key = folder, redis, new_key()
        self.store = Store.from_url(redis.url)
        self.url = catalog_url(str(folder))
        migrate(self.url)
        self.catalog = Catalog(self.url, clock=FixedClock())
        with self.catalog.write() as tx:
            self.tenant = tx.tenants.create("t").id

    def webhook(self, url: str) -> tuple[Webhook, str]:
        """A new webhook and its secret."""
        secret = new_secret()
        with self.catalog.write() as tx:
            hook_id = tx.webhooks.new_id()
            sealed = Sealer(self.key).seal(self.tenant, hook_id, SECRET_FIELD, secret)
            hook = Webhook(
                id=hook_id,
                tenant_id=self.tenant,
                url=url,
                since="0-0",
                sealed_secret=sealed,
                created_ms=1,
                updated_ms=1,
            )
            return tx.webhooks.create(hook), secret

    def happens(self, count: int) -> list[str]:
        """So many events; their ids, in order."""
        events = Events(self.store)
        return sorted(events.emit(self.tenant, "clip.ready", {"n": n}) for n in range(count))

    def ended(self, hook: Webhook) -> int:
        """How many of its deliveries were recorded as taken."""
        found = Deliveries(self.store).page(self.tenant, hook.id, None, 500).items
        return sum(one.state == "delivered" for one in found)

    @contextmanager
    def keeper(self) -> Iterator[subprocess.Popen[bytes]]:
        """A keeper process."""
        env = {
            "PATH": os.environ["PATH"],
            "CUTTINGROOM_DATA_DIR": str(self.folder),
            "CUTTINGROOM_CATALOG_URL": self.url,
            "CUTTINGROOM_REDIS_URL": self.redis.url,
            "CUTTINGROOM_SECRET_KEYS": self.key.get_secret_value(),
            "CUTTINGROOM_ALLOW_CIDRS": "127.0.0.0/8",
        }
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "cli.keeper"], cwd=ROOT, env=env, stderr=log
            )
        try:
            yield child
        finally:
            kill(child.pid)
            child.wait(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as redis:
        made = Site(tmp_path, redis)
        yield made
        made.catalog.close()
        made.store.close()


def ids_by_event(there: Receiver) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in list(there.received):
        found.setdefault(str(one.event["id"]), set()).add(one.message_id)
    return found


def test_a_keeper_killed_in_the_middle_loses_nothing(site: Site) -> None:
    with receiver() as there:
        hook, secret = site.webhook(there.url)
        happened = site.happens(COUNT)
        for at in (COUNT // 5, COUNT // 2):
            with site.keeper() as keeper:
                until(lambda at=at: len(there.received) >= at, "some of it")  # type: ignore[misc]
                kill(keeper.pid)
                keeper.wait(10)
        with site.keeper():
            until(lambda: site.ended(hook) == COUNT, "all of it", 60)

        found = ids_by_event(there)
        for one in there.received:
            one.verified(secret)
    assert sorted(found) == happened
    assert {len(ids) for ids in found.values()} == {1}


def test_several_keepers_send_everything_once(site: Site) -> None:
    with receiver() as there:
        hook, _ = site.webhook(there.url)
        with site.keeper(), site.keeper(), site.keeper():
            happened = site.happens(COUNT)
            until(lambda: site.ended(hook) == COUNT, "all of it", 60)

        times = Counter(str(one.event["id"]) for one in there.received)
    assert sorted(times) == happened
    assert set(times.values()) == {1}


def test_deliveries_go_on_when_redis_is_killed_and_comes_back(site: Site) -> None:
    with receiver() as there:
        hook, _ = site.webhook(there.url)
        happened = site.happens(COUNT)
        with site.keeper():
            until(lambda: len(there.received) >= COUNT // 4, "some of it")
            site.redis.kill()
            site.redis.start()

            def all_of_it() -> bool:
                with suppress(StoreUnavailable):
                    return site.ended(hook) == COUNT
                return False

            until(all_of_it, "all of it", 60)

        found = ids_by_event(there)
    assert sorted(found) == happened
    assert {len(ids) for ids in found.values()} == {1}


def test_errors_and_a_hanging_receiver_beside_a_good_one(site: Site) -> None:
    with (
        receiver(Reply(hangs=True)) as hanging,
        Receiver(lambda before: Reply(500 if before < 3 else 200)) as moody,
        receiver() as good,
    ):
        site.webhook(hanging.url)
        first, _ = site.webhook(moody.url)
        second, _ = site.webhook(good.url)
        happened = site.happens(20)
        with site.keeper():
            until(lambda: site.ended(second) == 20, "all of it at the good one", 20)
            until(lambda: site.ended(first) == 20, "all of it at the moody one", 60)

        assert good.events() == happened
        assert moody.events() == happened
        assert {len(ids) for ids in ids_by_event(moody).values()} == {1}
        assert len(hanging.ids()) <= 4
        assert all(json.loads(one.body)["tenantId"] == site.tenant for one in good.received)
