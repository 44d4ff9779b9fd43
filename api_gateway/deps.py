"""What the routes need, made once by the composition root and handed to `create_app`."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends
from starlette.requests import Request

from api_gateway.accesstokens import AccessTokens
from api_gateway.cache import Cache
from api_gateway.mail import Mailer, mailer
from api_gateway.measures import Measures
from api_gateway.oidc import Oidc
from api_gateway.ratelimit import Buckets
from api_gateway.receiving import Receiving
from catalog.accounts import LAST_USED_STEP_MS
from catalog.engine import Catalog, Transaction
from catalog.passwords import Passwords
from connectors.base import ConnectorEnv
from connectors.media_store import MediaStore, open_media_store
from connectors.registry import Registry
from connectors.sealing import Sealer
from schemas.accounts import KeyCheck, Principal, SessionCheck
from schemas.connectors import Connector
from schemas.settings import Settings
from store.async_jobs import AsyncJobs
from store.client import Store
from store.events import AsyncEvents, Events
from store.jobs import Jobs

KEY_CACHE_MS = 5_000
CONNECTOR_CACHE_MS = 2_000
VERSION_CACHE_MS = 30_000
LOOKED_AT_MS = 300_000
_CACHED = 4_096
_PROBES = 8
_HASHES = 2
_WRITERS = 8

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Gateway:
    """Everything the routes use; `clock` answers epoch milliseconds."""

    settings: Settings
    catalog: Catalog
    store: Store
    jobs: Jobs
    accepting: AsyncJobs
    events: Events
    feed: AsyncEvents
    registry: Registry
    sealer: Sealer
    env: ConnectorEnv
    clock: Callable[[], int]
    media_check: Callable[[], None]
    measures: Measures = field(default_factory=Measures)
    # How often a quiet stream says that it lives, and its credential is judged again.
    heartbeat_s: float = 15.0
    # Streams would go on for ever: they end when the process is to.
    closing: bool = False
    keys: Cache[KeyCheck | None] = field(init=False)
    connectors: Cache[Connector] = field(init=False)
    annotated: Cache[bool] = field(init=False)
    uses: Cache[int] = field(init=False)
    versions: Cache[str] = field(init=False)
    looked_at: Cache[bool] = field(init=False)
    credentials: Buckets = field(init=False)
    addresses: Buckets = field(init=False)
    logins: Buckets = field(init=False)
    sessions: Cache[SessionCheck | None] = field(init=False)
    tokens: AccessTokens = field(init=False)
    passwords: Passwords = field(init=False)
    mailer: Mailer = field(init=False)
    oidc: Oidc = field(init=False)
    streams: Counter[str] = field(default_factory=Counter)
    # What waits for other people's systems never takes the threads that answer requests.
    probes: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _PROBES))
    # Two hashes at once: log-ins never take the processor from everybody else.
    hashing: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _HASHES))
    # Bytes of uploads wait for a disk; who sends to which upload now, so that it can be ended.
    writers: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _WRITERS))
    receiving: dict[str, Receiving] = field(default_factory=dict)
    background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.keys = Cache(KEY_CACHE_MS, _CACHED, self.clock)
        self.connectors = Cache(CONNECTOR_CACHE_MS, _CACHED, self.clock)
        self.annotated = Cache(CONNECTOR_CACHE_MS, _CACHED, self.clock)
        self.credentials = Buckets(self.settings.rate_per_minute, self.clock)
        self.addresses = Buckets(self.settings.anonymous_rate_per_minute, self.clock)
        self.uses = Cache(LAST_USED_STEP_MS, _CACHED, self.clock)
        self.versions = Cache(VERSION_CACHE_MS, _CACHED, self.clock)
        self.looked_at = Cache(LOOKED_AT_MS, _CACHED, self.clock)
        given = self.settings
        self.logins = Buckets(given.login_rate_per_minute, self.clock)
        self.sessions = Cache(KEY_CACHE_MS, _CACHED, self.clock)
        self.tokens = AccessTokens(
            self.catalog,
            self.sealer,
            self.clock,
            issuer=given.public_url,
            lives_s=given.access_token_s,
        )
        self.passwords = Passwords(given.password_memory_kib, given.password_rounds)
        self.mailer = mailer(given)
        self.oidc = Oidc(self.env.egress, self.clock)

    @cached_property
    def media_store(self) -> MediaStore:
        """What the product keeps its own output in; opened when first needed."""
        return open_media_store(self.settings, self.clock)

    async def read(self, look: Callable[[Transaction], T]) -> T:
        """What a look into the catalogue finds, in one transaction beside the event loop."""

        def call() -> T:
            with self.catalog.read() as tx:
                return look(tx)

        return await in_thread(call)

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """What a change of the catalogue answers; it is committed whole or not at all."""

        def call() -> T:
            with self.catalog.write() as tx:
                return change(tx)

        return await in_thread(call)

    def behind(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something behind the answer; closing waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def close(self) -> None:
        """Finish what runs behind the answers, and let go of everything."""
        await asyncio.gather(*self.background)
        await self.feed.close()
        await self.accepting.close()
        self.catalog.close()
        self.store.close()


def gateway(request: Request) -> Gateway:
    """The gateway an app was made with."""
    made: Gateway = request.app.state.gateway
    return made


def caller(request: Request) -> Principal:
    """Who asks; the route has believed the credential before its function runs."""
    principal: Principal = request.state.principal
    return principal


def body_hash(request: Request) -> str:
    """What tells two requests under one Idempotency-Key apart."""
    raw: bytes = getattr(request.state, "raw_body", b"")
    query: bytes = request.scope.get("query_string", b"")
    place = f"{request.method} {request.scope['path']}".encode() + (query and b"?" + query)
    return hashlib.sha256(place + b"\0" + raw).hexdigest()


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer of a blocking call, made beside the event loop."""
    return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))


# Declared async only so that FastAPI calls them here, and not in a thread of their own.
async def _gateway(request: Request) -> Gateway:
    return gateway(request)


async def _caller(request: Request) -> Principal:
    return caller(request)


Deps = Annotated[Gateway, Depends(_gateway)]
Caller = Annotated[Principal, Depends(_caller)]
