"""Tenants whose grace is over: their jobs, objects, Redis keys and rows are deleted, and a report
is kept that names nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import structlog

from api_gateway.deps import Gateway, in_thread
from connectors.base import Entry, Query
from connectors.media_store import MediaStore, open_media_store
from schemas.accounts import DeletionReport
from schemas.errors import Conflict, CuttingRoomError, NotFound, SourceNotFound
from store.forgetting import forget_tenant, unfinished

EVERY_S = 60.0
_log = structlog.get_logger("purge")


class Removed(NamedTuple):
    """How much was removed from the media store."""

    objects: int
    size: int


async def purge_forever(gateway: Gateway) -> None:
    """Look once a minute; what cannot be reached now is deleted later."""
    while True:
        try:
            await in_thread(purge_due, gateway)
        except CuttingRoomError as error:
            _log.warning("a deletion has to wait", code=error.error_code)
        await asyncio.sleep(EVERY_S)


def purge_due(gateway: Gateway) -> tuple[DeletionReport, ...]:
    """Delete every tenant that is due; one whose jobs still run waits for the next time."""
    with gateway.catalog.read() as tx:
        due = tx.tenants.due()
    if not due:
        return ()
    media = open_media_store(gateway.settings)
    reports = (_purged(gateway, media, tenant_id) for tenant_id in due)
    return tuple(report for report in reports if report is not None)


def _purged(gateway: Gateway, media: MediaStore, tenant_id: str) -> DeletionReport | None:
    if _stopped(gateway, tenant_id):
        return None
    gone = _remove_objects(media, tenant_id)
    redis_keys = forget_tenant(gateway.store, tenant_id)
    # The rows last: until they are gone the tenant is due, and everything is done again.
    with gateway.catalog.write() as tx:
        purged = tx.deletions.purge(tenant_id)
        if purged is None:
            return None
        report = DeletionReport(
            tenant_id=tenant_id,
            requested_ms=purged[0],
            finished_ms=gateway.clock(),
            rows=purged[1],
            objects=gone.objects,
            object_bytes=gone.size,
            redis_keys=redis_keys,
        )
        tx.deletions.report(report)
    _log.info("a tenant was deleted", **report.model_dump())
    return report


def _stopped(gateway: Gateway, tenant_id: str) -> int:
    """Have every job of the tenant stopped; how many have not stopped yet."""
    for job_id in unfinished(gateway.store, tenant_id):
        try:
            gateway.jobs.cancel(tenant_id, job_id)
        except (Conflict, NotFound):
            # It ended meanwhile.
            continue
    return len(unfinished(gateway.store, tenant_id))


def _remove_objects(media: MediaStore, tenant_id: str) -> Removed:
    """Every area of the media store keeps a tenant's files in a folder of the tenant's id."""
    count = size = 0
    for area in list(_entries(media, "")):
        if area.kind != "folder":
            continue
        for entry in list(_files(media, f"{area.file_id}/{tenant_id}")):
            media.delete(entry.file_id)
            count, size = count + 1, size + (entry.size or 0)
    return Removed(count, size)


def _files(media: MediaStore, folder: str) -> Iterator[Entry]:
    folders = [folder]
    while folders:
        for entry in _entries(media, folders.pop()):
            if entry.kind == "folder":
                folders.append(entry.file_id)
            else:
                yield entry


def _entries(media: MediaStore, path: str) -> Iterator[Entry]:
    cursor: str | None = None
    while True:
        try:
            page = media.query(Query(path=path, limit=1000, cursor=cursor))
        except SourceNotFound:
            return
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
