"""A whole gateway for tests: the real application on a real database and an in-memory Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fakeredis
import httpx
from fastapi import FastAPI
from starlette.routing import BaseRoute

from api_gateway.app import create_app
from api_gateway.deps import Gateway
from catalog.engine import Catalog
from connectors.base import ConnectorEnv
from connectors.egress import Egress
from connectors.registry import Registry
from connectors.sealing import Sealer, new_key
from schemas.accounts import SCOPES, Role, Scope, User
from schemas.settings import Settings
from store.async_jobs import AsyncJobs
from store.client import Store
from store.events import AsyncEvents, Events
from store.jobs import Jobs
from tests.empty_catalogue import migrated_sqlite
from tests.fakes import FixedClock
from tests.timelines import a_clip, a_timeline, a_track, of_file

NOW_MS = 1_643_960_000_000
# Hashing is cheap and nobody is held up: what is judged here is what happens, not how slowly.
IN_NO_TIME: dict[str, Any] = {
    "password_memory_kib": 8,
    "password_rounds": 1,
    "answer_floor_ms": 0,
    "login_rate_per_minute": 10_000,
}
PASSWORD = "correct horse battery"
HLS = {
    "type": "hls",
    "name": "News",
    "config": {"url": "http://127.0.0.1:9/live.m3u8"},
    "auth": {},
}
FILE_ID = "761f422bb93edb7c/2022/02/04/range-1643957046-1643957106-clip-123498625"
CANONICAL = "761f422bb93edb7c/2022/02/04/range-1643957046000-1643957106000-clip-123498625"


def clip_path(connector_id: str, file_id: str = FILE_ID) -> str:
    """The path of a clip, its fileId as one segment."""
    return f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}/clip"


@dataclass
class Account:
    """A tenant and a key of it."""

    tenant_id: str
    api_key: str
    key_id: str


@dataclass
class Kit:
    """A gateway, two tenants, and a way to ask it."""

    gateway: Gateway
    app: FastAPI
    clock: FixedClock
    mine: Account
    theirs: Account
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def ask(
        self, method: str, path: str, *, key: str | None = "mine", **options: Any
    ) -> httpx.Response:
        """The answer to one request; `key` is "mine", "theirs", a secret, or None."""
        headers = dict(options.pop("headers", {}))
        secret = {"mine": self.mine.api_key, "theirs": self.theirs.api_key}.get(key or "", key)
        if secret is not None:
            headers["X-Api-Key"] = secret
        return self.runner.run(self._sent(method, path, headers, options))

    async def _sent(
        self, method: str, path: str, headers: dict[str, str], options: dict[str, Any]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            url = client.base_url.copy_with(raw_path=path.encode())
            answer = await client.request(method, url, headers=headers, **options)
            await asyncio.gather(*self.gateway.background)
            return answer

    def at_once(self, *posts: tuple[str, Any], headers: dict[str, str]) -> list[httpx.Response]:
        """The answers to several POSTs sent at the same moment."""
        headers = {"X-Api-Key": self.mine.api_key, **headers}

        async def all_of_them() -> list[httpx.Response]:
            sent = (self._sent("POST", path, headers, {"json": body}) for path, body in posts)
            return await asyncio.gather(*sent)

        return self.runner.run(all_of_them())

    def stream(self, path: str, act: Callable[[], object], *, key: str) -> httpx.Response:
        """What a stream tells until it ends, something being done once it is open."""
        headers = {"Accept": "text/event-stream", "X-Api-Key": key}

        async def told() -> httpx.Response:
            asked = asyncio.create_task(self._sent("GET", path, headers, {}))
            async with asyncio.timeout(30):
                while not self.gateway.streams:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(act)
                return await asked

        return self.runner.run(told())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.ask("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST, with a JSON body where one is given."""
        return self.ask("POST", path, **({"json": body} if body is not None else {}), **options)

    def patch(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """PATCH."""
        return self.ask("PATCH", path, json=body, **options)

    def connector(self, name: str = "News", *, key: str = "mine", **changes: Any) -> str:
        """The id of a new connector."""
        answer = self.post("/v1/connectors", {**HLS, "name": name, **changes}, key=key)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def project(self, *, key: str = "mine") -> str:
        """The id of a new project of one clip."""
        shown = a_clip(media=of_file(self.connector("Filmed", key=key), FILE_ID))
        answer = self.post("/v1/projects", a_timeline(a_track(shown)), key=key)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def annotated(self, connector_id: str, *, key: str = "mine") -> dict[str, str]:
        """The ids of a view of the tenant's own and of a record of a file of the connector."""
        view = {"name": "Known before", "fields": [{"name": "speaker"}]}
        record = {"view": "news-clip", "values": {"headline": "Fire"}}
        path = f"/v1/connectors/{connector_id}/files/ch1/metadata"
        return {
            "view": self.post("/v1/metadata-views", view, key=key).json()["id"],
            "record": self.post(path, record, key=key).json()["id"],
        }

    def clip(self, connector_id: str, file_id: str = FILE_ID, **options: Any) -> httpx.Response:
        """POST a clip."""
        return self.post(clip_path(connector_id, file_id), options.pop("body", {}), **options)

    def user(
        self,
        email: str = "admin@example.com",
        role: Role = "admin",
        *,
        of: str = "mine",
        password: str | None = PASSWORD,
        **more: Any,
    ) -> User:
        """A user with a password."""
        account = self.mine if of == "mine" else self.theirs
        hashed = None if password is None else self.gateway.passwords.hashed(password)
        with self.gateway.catalog.write() as tx:
            return tx.users.create(account.tenant_id, email, email, role, hashed, **more)

    def login(self, email: str = "admin@example.com", password: str = PASSWORD) -> dict[str, Any]:
        """What logging in answers."""
        answer = self.post("/v1/auth/token", {"email": email, "password": password}, key=None)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def bearer(self, role: Role = "admin", *, of: str = "mine") -> str:
        """`Bearer` and an access token of a user of its own with this role."""
        email = f"{role}.of.{of}@example.com"
        account = self.mine if of == "mine" else self.theirs
        with self.gateway.catalog.read() as tx:
            known = bool(tx.users.candidates(email, account.tenant_id, 1))
        if not known:
            self.user(email, role, of=of)
        return f"Bearer {self.login(email)['accessToken']}"

    def as_user(self, method: str, path: str, bearer: str, **options: Any) -> httpx.Response:
        """The answer to a request with an access token."""
        return self.ask(method, path, key=None, headers={"Authorization": bearer}, **options)

    def letters(self) -> list[str]:
        """Every letter that was written, the oldest first."""
        folder = Path(self.gateway.settings.data_dir) / "mail"
        return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.eml"))]

    def api_key(self, *scopes: Scope, name: str = "") -> str:
        """A new secret of my tenant with these scopes."""
        with self.gateway.catalog.write() as tx:
            _, secret = tx.api_keys.create(
                self.mine.tenant_id, name or f"key {'+'.join(scopes)}", scopes
            )
        return secret.secret


def an_account(catalog: Catalog, name: str) -> Account:
    """A tenant with a key that may do everything."""
    with catalog.write() as tx:
        tenant = tx.tenants.create(name)
        key, secret = tx.api_keys.create(tenant.id, "all", SCOPES)
    return Account(tenant.id, secret.secret, key.id)


def an_app(gateway: Gateway) -> FastAPI:
    """An application whose routes are those of this process's first one.

    FastAPI works every operation out anew for each application; none of it is the gateway's.
    """
    app = create_app(gateway)
    app.router.routes = _routes(app)
    return app


_first: list[list[BaseRoute]] = []


def _routes(app: FastAPI) -> list[BaseRoute]:
    if not _first:
        _first.append(app.router.routes)
    return _first[0]


_discovered = cache(Registry.discover)


@contextmanager
def a_kit(folder: Path, *, sql_url: str | None = None, **settings: Any) -> Iterator[Kit]:
    """A kit on a folder, its catalogue on SQLite or at a URL; settings may be changed."""
    clock = FixedClock(NOW_MS)
    url = sql_url or migrated_sqlite(folder)
    chosen = Settings(data_dir=str(folder), secret_keys=new_key(), **{**IN_NO_TIME, **settings})
    server = fakeredis.FakeServer()
    catalog, used = (
        Catalog(url, clock=clock),
        Store(fakeredis.FakeRedis(server=server, decode_responses=True)),
    )
    gateway = Gateway(
        settings=chosen,
        catalog=catalog,
        store=used,
        jobs=Jobs(used, queue_cap=chosen.queue_cap),
        accepting=AsyncJobs(
            fakeredis.FakeAsyncRedis(server=server, decode_responses=True),
            queue_cap=chosen.queue_cap,
        ),
        events=Events(used),
        feed=AsyncEvents(fakeredis.FakeAsyncRedis(server=server, decode_responses=True)),
        registry=_discovered(),
        sealer=Sealer(chosen.secret_keys),
        env=ConnectorEnv(egress=Egress(), settings=chosen, clock=clock),
        clock=clock,
        media_check=lambda: None,
    )
    kit = Kit(
        gateway,
        an_app(gateway),
        clock,
        an_account(catalog, "mine"),
        an_account(catalog, "theirs"),
    )
    try:
        yield kit
    finally:
        kit.runner.run(gateway.close())
        kit.runner.close()
