"""Which job makes, or has made, a resource, and which one uses a connector."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from schemas.commands import parse_command
from store import keys
from store.client import Store, translated

_UNFINISHED = ("running", "waiting", "queued")
_BATCH = 200


class Using(NamedTuple):
    """A job that has not ended, and its state."""

    job_id: str
    state: str


def job_making(store: Store, tenant_id: str, dedup_key: str) -> str | None:
    """The id of the living or succeeded job of a dedup key."""
    name = f"{keys.PREFIX}dedup:{tenant_id}:{keys.digest(dedup_key)}"
    with translated():
        found = store.client.get(name)
    return found if isinstance(found, str) else None


def job_using(store: Store, tenant_id: str, connector_id: str) -> Using | None:
    """A job that has not ended and reaches a connector, in whatever part of its command."""
    for state in _UNFINISHED:
        with translated():
            ids = [str(i) for i in store.client.zrange(keys.jobs(tenant_id, state), 0, -1)]
        for at in range(0, len(ids), _BATCH):
            batch = ids[at : at + _BATCH]
            with translated(), store.client.pipeline(transaction=False) as pipe:
                for job_id in batch:
                    pipe.hget(keys.job(job_id), "command")
                texts = pipe.execute()
            for job_id, text in zip(batch, texts, strict=True):
                if isinstance(text, str) and _reaches(text, connector_id):
                    return Using(job_id, state)
    return None


def _reaches(command: str, connector_id: str) -> bool:
    # Nearly every command is dismissed without being read: an id stands in it as it is.
    if connector_id not in command:
        return False
    try:
        return any(ref.id == connector_id for ref in parse_command(command).connectors)
    except ValidationError:
        # Written by another version: what may use the connector is taken to use it.
        return True
