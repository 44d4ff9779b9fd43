"""Accepting jobs without a thread: what is asked at the same time goes in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError, ResponseError

from schemas.commands import CommandBase
from schemas.errors import StoreUnavailable
from schemas.ledger import Accepted
from store import keys
from store.acceptance import acceptance
from store.client import (
    PRESSURE_CHECK_S,
    async_connection,
    awaited,
    script_source,
    translated,
    under_pressure,
)

_TOGETHER = 64


class AsyncJobs:
    """`Jobs.accept` for the event loop of the ingress.

    One batch is on its way at a time; what comes meanwhile is the next one. Alone, a job takes one
    round trip; many at once share its cost.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        queue_cap: int = 100_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._queue_cap, self._monotonic = client, queue_cap, monotonic
        self._script = script_source("accept")
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._waiting: list[tuple[tuple[str, str], asyncio.Future[Sequence[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._pressure_checked, self._pressed = float("-inf"), False

    @classmethod
    def from_url(cls, url: str, *, queue_cap: int = 100_000) -> AsyncJobs:
        """The ledger at a URL; nothing is sent before the first call."""
        return cls(async_connection(url), queue_cap=queue_cap)

    async def accept(
        self,
        command: CommandBase,
        *,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
    ) -> Accepted:
        """The same as `Jobs.accept`."""
        wanted = acceptance(command, self._queue_cap, idempotency_key, body_hash)
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted.args, answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return wanted.accepted(await answer)

    async def close(self) -> None:
        """Send what waits, and let the connections go."""
        if self._sender is not None:
            await self._sender
        await self._client.aclose()

    async def _send(self) -> None:
        """Send batch after batch until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            try:
                with translated():
                    await self._check_pressure()
                    answers = await self._answers([args for args, _ in batch])
            except StoreUnavailable as error:
                answers = [error] * len(batch)
            for (_, waiting), answer in zip(batch, answers, strict=True):
                _settle(waiting, answer)

    async def _answers(self, asked: list[tuple[str, str]]) -> list[Any]:
        """What the script says to each; a server that has forgotten it is told it again."""
        found = await self._exchanged(asked)
        forgotten = [n for n, answer in enumerate(found) if isinstance(answer, NoScriptError)]
        if forgotten:
            await awaited(self._client.script_load(self._script))
            again = await self._exchanged([asked[n] for n in forgotten])
            for n, answer in zip(forgotten, again, strict=True):
                found[n] = answer
        return found

    async def _exchanged(self, asked: list[tuple[str, str]]) -> list[Any]:
        """One round trip: all calls out, all answers in, a refusal of one being its answer."""
        pool: Any = self._client.connection_pool
        connection: Any = await pool.get_connection()
        complete = False
        try:
            calls: list[Any] = [("EVALSHA", self._sha, 1, keys.PREFIX, *args) for args in asked]
            await connection.send_packed_command(b"".join(map(hiredis.pack_command, calls)))
            answers = [await _answer(connection) for _ in asked]
            complete = True
        finally:
            if not complete:
                # Answers may still be on their way, and would be taken for the next call's.
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return answers

    async def _check_pressure(self) -> None:
        now = self._monotonic()
        if now - self._pressure_checked >= PRESSURE_CHECK_S:
            self._pressure_checked = now
            try:
                self._pressed = under_pressure(await awaited(self._client.info("memory")))
            except ResponseError:
                # A server that refuses INFO (an ACL) still serves jobs.
                self._pressed = False
        if self._pressed:
            raise StoreUnavailable("Redis is nearly out of memory")


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _settle(waiting: asyncio.Future[Sequence[Any]], answer: Any) -> None:
    if waiting.done():
        return
    if isinstance(answer, RedisError):
        answer = StoreUnavailable(f"Redis did not answer: {type(answer).__name__}")
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
