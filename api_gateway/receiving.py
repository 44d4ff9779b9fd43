"""The body of a request on its way into an upload: bounded, in pieces, ended by who resumes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

PIECE_BYTES = 1024 * 1024
IDLE_S = 30.0


class Receiving:
    """One request's body. `stop` ends it from outside; `done` is set once it is written."""

    def __init__(self, tenant_id: str = "", idle_s: float = IDLE_S) -> None:
        self.tenant_id = tenant_id
        self.done = asyncio.Event()
        self.broken: str | None = None
        self._idle_s = idle_s
        self._clock: asyncio.Timeout | None = None
        self._stopped = False

    def stop(self) -> None:
        """Have no more read: whoever sends it has turned up again."""
        self._stopped = True
        if self._clock is not None:
            self._clock.reschedule(asyncio.get_running_loop().time())

    async def pieces(self, request: Request, until_s: float) -> AsyncIterator[bytes]:
        """The body in pieces of about a mebibyte; `broken` says why it ended early, if it did.

        What came before it broke is answered too: with it the client need not begin again.
        """
        stream, held, size = request.stream(), [], 0
        while (chunk := await self._next(stream, until_s)) is not None:
            held.append(chunk)
            size += len(chunk)
            if size >= PIECE_BYTES:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    async def _next(self, stream: AsyncIterator[bytes], until_s: float) -> bytes | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(loop.time() + self._idle_s, until_s)) as self._clock:
                if self._stopped:
                    self._clock.reschedule(loop.time())
                return await anext(stream)
        except StopAsyncIteration:
            return None
        except ClientDisconnect:
            self.broken = "the client is gone"
        except TimeoutError:
            late = loop.time() >= until_s
            self.broken = "stopped" if self._stopped else "expired" if late else "too slow"
        finally:
            self._clock = None
        return None
