"""Pages of a tenant's jobs: newest first, filtered, resumed by a cursor."""

from __future__ import annotations

from typing import NamedTuple

from schemas.base import Value
from schemas.errors import FieldInvalid
from schemas.jobs import Job, Kind, State
from store import keys
from store.client import Store, translated
from store.records import job_of

MAX_LIMIT = 200
_SCANNED_AT_MOST = 5_000
_BATCH = 200
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class JobFilter(Value):
    """Which jobs a client asks for; `from_ms` is in, `to_ms` is out."""

    state: State | None = None
    kind: Kind | None = None
    connector_id: str | None = None
    channel_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def keeps(self, job: Job) -> bool:
        """Whether a job read now still is what was asked for."""
        pairs = (
            (self.state, job.state),
            (self.kind, job.kind),
            (self.connector_id, job.connector_id),
            (self.channel_id, job.channel_id),
        )
        return all(wanted is None or wanted == found for wanted, found in pairs)


class Page(NamedTuple):
    """Some jobs, and the cursor of the rest."""

    items: tuple[Job, ...]
    next_cursor: str | None


def id_bound(epoch_ms: int) -> str:
    """The smallest job id of an instant: ids sort by time."""
    ms, text = max(0, min(epoch_ms, 32**10 - 1)), ""
    for _ in range(10):
        ms, digit = divmod(ms, 32)
        text = _ALPHABET[digit] + text
    return f"job_{text}"


def list_jobs(
    store: Store, tenant_id: str, wanted: JobFilter, limit: int, cursor: str | None
) -> Page:
    """One page; a filter that keeps little may give a short page with a cursor."""
    if cursor is not None and not keys.is_job_id(cursor):
        raise FieldInvalid("the cursor is not one of ours", code="cursor_invalid")
    limit = max(1, min(limit, MAX_LIMIT))
    found: list[Job] = []
    for _ in range(0, _SCANNED_AT_MOST, _BATCH):
        ids = _ids(store, tenant_id, wanted, cursor)
        for job in _read(store, ids):
            cursor = job.id
            if wanted.keeps(job):
                found.append(job)
            if len(found) == limit:
                return Page(tuple(found), cursor)
        if len(ids) < _BATCH:
            return Page(tuple(found), None)
        cursor = ids[-1]
    return Page(tuple(found), cursor)


def _ids(store: Store, tenant_id: str, wanted: JobFilter, cursor: str | None) -> list[str]:
    low = "-" if wanted.from_ms is None else f"[{id_bound(wanted.from_ms)}"
    high = "+" if wanted.to_ms is None else f"({id_bound(wanted.to_ms)}"
    if cursor is not None and (wanted.to_ms is None or cursor < high[1:]):
        high = f"({cursor}"
    with translated():
        ids: list[str] = store.client.zrevrangebylex(  # type: ignore[assignment]  # redis-py types sync and async alike
            keys.jobs(tenant_id, wanted.state), high, low, start=0, num=_BATCH
        )
    return ids


def _read(store: Store, ids: list[str]) -> list[Job]:
    with translated():
        pipeline = store.client.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hgetall(keys.job(job_id))
        records = pipeline.execute()
    return [job_of(i, record) for i, record in zip(ids, records, strict=True) if record]
