"""The body of an upload's request: in pieces, ended by silence, by time, or by who resumes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request

from api_gateway.receiving import PIECE_BYTES, Receiving

Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]


def a_body(*chunks: bytes, ends: str = "well") -> Request:
    """A request whose body comes so, and ends well, with a disconnection, or never."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if left:
            data = left.pop(0)
            return {"type": "http.request", "body": data, "more_body": bool(left) or ends != "well"}
        if ends == "cut":
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http", "method": "PATCH", "headers": []}, receive)


def received(
    request: Request, receiving: Receiving, lasts_s: float = 60, stop: bool = False
) -> list[bytes]:
    async def read() -> list[bytes]:
        if stop:
            asyncio.get_running_loop().call_soon(receiving.stop)
        until_s = asyncio.get_running_loop().time() + lasts_s
        return [piece async for piece in receiving.pieces(request, until_s)]

    return asyncio.run(read())


def test_small_chunks_become_pieces_worth_a_write() -> None:
    receiving = Receiving()

    pieces = received(a_body(*[b"x" * 65536] * 20, b"end"), receiving)

    assert [len(piece) for piece in pieces] == [PIECE_BYTES, 4 * 65536 + 3]
    assert receiving.broken is None


def test_what_came_before_the_client_vanished_is_kept() -> None:
    receiving = Receiving()

    assert received(a_body(b"abc", b"def", ends="cut"), receiving) == [b"abcdef"]
    assert receiving.broken == "the client is gone"


def test_silence_ends_it() -> None:
    receiving = Receiving(idle_s=0.01)

    assert received(a_body(b"abc", ends="never"), receiving) == [b"abc"]
    assert receiving.broken == "too slow"


def test_credentials_end_it() -> None:
    receiving = Receiving()

    assert received(a_body(b"abc", ends="never"), receiving, lasts_s=0.01) == [b"abc"]
    assert receiving.broken == "expired"


def test_whoever_goes_on_ends_it() -> None:
    receiving = Receiving()

    assert received(a_body(b"abc", ends="never"), receiving, stop=True) == [b"abc"]
    assert receiving.broken == "stopped"
