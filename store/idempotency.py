"""Idempotency-Keys: one key is one request, whatever it asks for, and one at a time carries it out.

A key holds the request's words and what came of it: the id of a job, a mark where the answer is in
the catalogue, or the claim of whoever carries the request out. A new job's key is written as the
job is accepted (`lua/accept.lua`), under the same name.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from schemas.errors import Conflict
from store import keys
from store.acceptance import IDEMPOTENCY_TTL_S
from store.client import Store, translated

# A process that dies while it answers leaves its claim: the key is free again after so long.
CLAIM_S = 60
_ANSWERED = "-"
_CLAIM = "~"


class Claim(NamedTuple):
    """A key in the hands of one request."""

    tenant_id: str
    key: str
    words: str
    mark: str
    found: str

    @property
    def under_way(self) -> bool:
        """Whether an equal request is being carried out: only its answer will do."""
        return self.found.startswith(_CLAIM) and self.found != self.mark


def claim(store: Store, tenant_id: str, key: str, words: str) -> Claim:
    """Have the key for a request of these words; Conflict where it is another's."""
    mark = f"{_CLAIM}{secrets.token_hex(8)}"
    found = _claimed(store, tenant_id, key, words, mark, CLAIM_S)
    return Claim(tenant_id, key, words, mark, found)


def settle(store: Store, held: Claim) -> None:
    """The request was carried out, and its answer kept: the key is its own for a day."""
    _settled(store, held, _ANSWERED)


def release(store: Store, held: Claim) -> None:
    """The request was refused: whoever comes next may have the key."""
    _settled(store, held, "")


def job_of(store: Store, tenant_id: str, key: str, words: str, job_id: str) -> str:
    """The job a request of these words is answered with: this one, unless it was another before.

    Conflict where the key is another request's.
    """
    return _claimed(store, tenant_id, key, words, job_id, IDEMPOTENCY_TTL_S)


def known_job(store: Store, tenant_id: str, key: str, words: str) -> str | None:
    """The job a request of these words was answered with before; Conflict as above."""
    with translated():
        known = store.client.get(keys.idempotency(tenant_id, key))
    if not isinstance(known, str):
        return None
    said, _, found = known.rpartition("|")
    if said != words:
        raise _another()
    return found if keys.is_job_id(found) else None


def _claimed(store: Store, tenant_id: str, key: str, words: str, mark: str, lives_s: int) -> str:
    found = store.run("claim_key", tenant_id, keys.digest(key), words, mark, lives_s)
    if found is None:
        raise _another()
    return str(found)


def _settled(store: Store, held: Claim, word: str) -> None:
    if held.found == held.mark:
        digest = keys.digest(held.key)
        given = (held.tenant_id, digest, held.words, held.mark, word, IDEMPOTENCY_TTL_S)
        store.run("settle_key", *given)


def _another() -> Conflict:
    return Conflict(
        "this Idempotency-Key was used with another request", code="idempotency_conflict"
    )
