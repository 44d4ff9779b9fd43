"""Uploads under way and ended: what was agreed, which job checks them, which names they hold.

What has become of an upload follows from its job; only an end without one is written down here.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.errors import FieldInvalid, NotFound
from schemas.jobs import Job
from schemas.uploads import HeldUpload, Upload, UploadEnd, UploadState
from store import keys
from store.client import Store, translated

# Shorter than jobs are kept, so that an upload never outlives the job that tells of it.
KEPT_MS = 29 * 24 * 3600 * 1000
MAX_PAGE = 200
_DUE = f"{keys.PREFIX}uploads:due"


class UploadPage(NamedTuple):
    """Some uploads, newest first, and the cursor of the rest."""

    items: tuple[HeldUpload, ...]
    next_cursor: str | None


def state_of(held: HeldUpload, job: Job | None, now_ms: int) -> UploadState:
    """What has become of an upload; a cancelled check leaves it as it was before."""
    if held.end is not None:
        return held.end.state
    match None if job is None else job.state:
        case "queued" | "waiting" | "running":
            return "checking"
        case "succeeded":
            return "completed"
        case "failed":
            return "failed"
    return "expired" if now_ms >= held.upload.expires_ms else "open"


class Uploads:
    """The uploads of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def reserve(self, tenant_id: str, place: str, upload_id: str, lasting_ms: int) -> bool:
        """Hold a place for an upload; False where another upload holds it."""
        with translated():
            held = self._store.client.set(
                _place(tenant_id, place), upload_id, px=max(1, lasting_ms), nx=True
            )
        return bool(held)

    def let_go(self, tenant_id: str, place: str) -> None:
        """The place is nobody's any more."""
        with translated():
            self._store.client.delete(_place(tenant_id, place))

    def open_count(self, tenant_id: str, now_ms: int) -> int:
        """How many of a tenant's uploads are under way."""
        with translated():
            return int(self._store.client.zcount(_open(tenant_id), f"({now_ms}", "+inf"))

    def put(self, upload: Upload, now_ms: int) -> None:
        """Remember a new upload."""
        record = _record(upload.tenant_id, upload.id)
        with translated():
            pipeline = self._store.client.pipeline(transaction=True)
            pipeline.hset(record, "upload", upload.model_dump_json())
            pipeline.pexpire(record, max(1, upload.expires_ms - now_ms) + KEPT_MS)
            pipeline.zadd(_listed(upload.tenant_id, upload.destination_id), {upload.id: 0})
            pipeline.zadd(_open(upload.tenant_id), {upload.id: upload.expires_ms})
            pipeline.zremrangebyscore(_open(upload.tenant_id), "-inf", now_ms)
            pipeline.zadd(_DUE, {f"{upload.tenant_id}/{upload.id}": upload.expires_ms})
            pipeline.execute()

    def get(self, tenant_id: str, upload_id: str) -> HeldUpload:
        """The tenant's upload, or NotFound."""
        with translated():
            found: dict[str, str] = self._store.client.hgetall(_record(tenant_id, upload_id))  # type: ignore[assignment]  # redis-py types sync and async alike
        held = _held(found)
        if held is None:
            raise NotFound("no such upload")
        return held

    def page(
        self, tenant_id: str, destination_id: str, cursor: str | None, limit: int
    ) -> UploadPage:
        """A destination's uploads, newest first, before an id."""
        if cursor is not None and not cursor.startswith("upl_"):
            raise FieldInvalid("the cursor is not one of ours", code="cursor_invalid")
        listed, limit = _listed(tenant_id, destination_id), max(1, min(limit, MAX_PAGE))
        high = "+" if cursor is None else f"({cursor}"
        with translated():
            ids: Any = self._store.client.zrevrangebylex(listed, high, "-", start=0, num=limit + 1)
            pipeline = self._store.client.pipeline(transaction=False)
            for upload_id in ids[:limit]:
                pipeline.hgetall(_record(tenant_id, upload_id))
            records = pipeline.execute()
            found = [_held(record) for record in records]
            forgotten = [i for i, held in zip(ids, found, strict=False) if held is None]
            if forgotten:
                self._store.client.zrem(listed, *forgotten)
        items = tuple(held for held in found if held is not None)
        return UploadPage(items, ids[limit - 1] if len(ids) > limit else None)

    def checking(self, upload: Upload, job_id: str) -> None:
        """A job checks the upload now."""
        record = _record(upload.tenant_id, upload.id)
        with translated():
            pipeline = self._store.client.pipeline(transaction=True)
            pipeline.hset(record, "job", job_id)
            pipeline.pexpire(record, KEPT_MS)
            pipeline.zrem(_open(upload.tenant_id), upload.id)
            pipeline.execute()

    def end(self, upload: Upload, end: UploadEnd) -> bool:
        """The upload has ended without a check; False where an end is written down already."""
        with translated():
            written = self._store.client.hsetnx(
                _record(upload.tenant_id, upload.id), "end", end.model_dump_json()
            )
            self._store.client.zrem(_open(upload.tenant_id), upload.id)
        return bool(written)

    def due(self, now_ms: int, limit: int = 100) -> tuple[HeldUpload, ...]:
        """Uploads whose time is over and whose leftovers nobody has removed."""
        with translated():
            members: Any = self._store.client.zrangebyscore(_DUE, "-inf", now_ms, 0, limit)
        found = []
        for member in members:
            tenant_id, _, upload_id = str(member).partition("/")
            try:
                found.append(self.get(tenant_id, upload_id))
            except NotFound:
                with translated():
                    self._store.client.zrem(_DUE, member)
        return tuple(found)

    def later(self, upload: Upload, at_ms: int) -> None:
        """Look after the upload's leftovers then."""
        with translated():
            self._store.client.zadd(_DUE, {f"{upload.tenant_id}/{upload.id}": at_ms})

    def cleaned(self, upload: Upload) -> None:
        """Nothing is left of the upload that has to be removed."""
        with translated():
            self._store.client.zrem(_DUE, f"{upload.tenant_id}/{upload.id}")

    def intents(self) -> tuple[dict[str, Any], ...]:
        """What every upload that is not cleaned up holds at its destination."""
        with translated():
            members: Any = self._store.client.zrange(_DUE, 0, -1)
            pipeline = self._store.client.pipeline(transaction=False)
            for member in members:
                tenant_id, _, upload_id = str(member).partition("/")
                pipeline.hget(_record(tenant_id, upload_id), "upload")
            texts = pipeline.execute()
        return tuple(json.loads(text)["intent"] for text in texts if text)


def job_intents(store: Store) -> tuple[dict[str, Any], ...]:
    """What every job that has not ended is about to publish."""
    with translated():
        tenants: Any = store.client.smembers(keys.TENANTS)
        pipeline = store.client.pipeline(transaction=False)
        for tenant_id in tenants:
            for state in ("running", "waiting", "queued"):
                pipeline.zrange(keys.jobs(str(tenant_id), state), 0, -1)
        ids = [job_id for found in pipeline.execute() for job_id in found]
        for job_id in ids:
            pipeline.hget(keys.job(job_id), "intent")
        texts = pipeline.execute() if ids else []
    return tuple(json.loads(text) for text in texts if text)


def _held(record: dict[str, str]) -> HeldUpload | None:
    if "upload" not in record:
        return None
    end = record.get("end")
    return HeldUpload(
        upload=Upload.model_validate_json(record["upload"]),
        job_id=record.get("job"),
        end=None if end is None else UploadEnd.model_validate_json(end),
    )


def _record(tenant_id: str, upload_id: str) -> str:
    return f"{keys.PREFIX}upload:{tenant_id}:{upload_id[:64]}"


def _listed(tenant_id: str, destination_id: str) -> str:
    return f"{keys.PREFIX}uploads:{tenant_id}:{destination_id[:64]}"


def _open(tenant_id: str) -> str:
    return f"{keys.PREFIX}uploads-open:{tenant_id}"


def _place(tenant_id: str, place: str) -> str:
    return f"{keys.PREFIX}upload-place:{tenant_id}:{keys.digest(place)}"
