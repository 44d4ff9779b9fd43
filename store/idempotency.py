"""Idempotency-Keys of requests that make no job: one key is one request, whatever it asks for.

A job's key is written as the job is accepted (`lua/accept.lua`), under the same name.
"""

from __future__ import annotations

from schemas.errors import Conflict
from store import keys
from store.acceptance import IDEMPOTENCY_TTL_S
from store.client import Store, translated


def check(store: Store, tenant_id: str, key: str, request_hash: str) -> None:
    """Raise Conflict where the key came with another request, one for a job among them."""
    with translated():
        known = store.client.get(keys.idempotency(tenant_id, key))
    if isinstance(known, str) and known.rpartition("|")[0] != request_hash:
        raise Conflict(
            "this Idempotency-Key was used with another request", code="idempotency_conflict"
        )


def note(store: Store, tenant_id: str, key: str, request_hash: str) -> None:
    """The key is this request's from now on."""
    name = keys.idempotency(tenant_id, key)
    with translated():
        store.client.set(name, f"{request_hash}|-", nx=True, ex=IDEMPOTENCY_TTL_S)
