"""The connection to Redis, the scripts that run there, and its failures in our words."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from schemas.errors import StoreUnavailable
from store import keys

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
PRESSURE_SHARE = 0.8
PRESSURE_CHECK_S = 1.0
_LUA = Path(__file__).parent / "lua"


@cache
def script_source(name: str) -> str:
    """The text of one of our Lua scripts, with what all of them share."""
    common = (_LUA / "common.lua").read_text(encoding="utf-8")
    return f"{common}\n{(_LUA / name).with_suffix('.lua').read_text(encoding='utf-8')}"


@contextmanager
def translated() -> Iterator[None]:
    """Redis's own exceptions leave as StoreUnavailable, without its address."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"Redis did not answer: {type(error).__name__}") from error


def connection(url: str, *, decode: bool = True) -> redis.Redis:
    """A client of a redis://, rediss:// or unix:// URL, with bounded waits, no hidden retries."""
    return redis.Redis.from_url(
        url,
        decode_responses=decode,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def async_connection(url: str, *, at_once: int = 100) -> redis.asyncio.Redis:
    """The same for asyncio; so many calls may be under way at once."""
    return redis.asyncio.Redis.from_url(
        url,
        max_connections=at_once,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )


class Store:
    """One process's way into Redis: scripts by name, and how the server is doing."""

    def __init__(
        self, client: redis.Redis, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.client = client
        self._scripts: dict[str, Any] = {}
        self._monotonic = monotonic
        self._pressure_checked = float("-inf")
        self._pressed = False

    @classmethod
    def from_url(cls, url: str) -> Store:
        """The store at a URL; nothing is sent before the first call."""
        return cls(connection(url))

    def run(self, script: str, *args: str | int | float) -> Any:
        """The answer of one of our Lua scripts, run as one transaction."""
        if script not in self._scripts:
            self._scripts[script] = self.client.register_script(script_source(script))
        with translated():
            return self._scripts[script](keys=[keys.PREFIX], args=args)

    def ping(self) -> None:
        """Raise StoreUnavailable where Redis does not answer."""
        with translated():
            self.client.ping()

    def close(self) -> None:
        """Let the connections go."""
        self.client.close()

    def _info(self, section: str) -> dict[str, Any]:
        try:
            with translated():
                return self.client.info(section)
        except StoreUnavailable as error:
            # A server that refuses INFO (an ACL) still serves jobs.
            if isinstance(error.__cause__, ResponseError):
                return {}
            raise

    def uptime_s(self) -> float | None:
        """How long the server has been up, where it says."""
        uptime = self._info("server").get("uptime_in_seconds")
        return None if uptime is None else float(uptime)

    def pressed(self) -> bool:
        """Whether memory is at 80 % of its limit; asked of the server once a second at most."""
        now = self._monotonic()
        if now - self._pressure_checked >= PRESSURE_CHECK_S:
            self._pressure_checked = now
            self._pressed = under_pressure(self._info("memory"))
        return self._pressed


def under_pressure(memory: Mapping[str, Any]) -> bool:
    """Whether the memory section of INFO tells of a server that is nearly full."""
    limit = int(memory.get("maxmemory", 0))
    return bool(limit) and int(memory["used_memory"]) > PRESSURE_SHARE * limit


def fields(flat: list[str]) -> dict[str, str]:
    """The record a script answered as a flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def awaited(value: Awaitable[Any] | Any) -> Any:
    """The answer of a redis.asyncio call, whose stubs do not say that it is awaitable."""
    return await value if isinstance(value, Awaitable) else value
