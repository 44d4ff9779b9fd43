"""Asking other people's systems while a client waits: beside other requests, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread

from api_gateway.deps import Gateway
from api_gateway.problems import Problem
from schemas.errors import AccessDenied, RetryableError

TIMEOUT_S = 10.0
T = TypeVar("T")


async def asked(deps: Gateway, call: Callable[[], T]) -> T:
    """What the system answers; 502 `upstream` where it fails, refuses us or takes too long."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=deps.probes)
    except TimeoutError:
        told = f"the source did not answer within {TIMEOUT_S:.0f} s"
        raise Problem(502, told, code="upstream") from None
    except (RetryableError, AccessDenied) as error:
        raise Problem(502, error.message, code="upstream") from None
