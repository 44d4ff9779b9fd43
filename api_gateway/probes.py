"""What a file holds, as routes need it: known already, or looked at by a worker while we wait."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from pydantic import ValidationError

from api_gateway.deps import Gateway, in_thread
from pipelines import probe as pipeline
from pipelines.localize import file_digest, same_version
from schemas.accounts import Principal
from schemas.commands import ProbeFile
from schemas.connectors import Connector
from schemas.jobs import FINAL, Job
from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo
from schemas.probes import Probed, ProbeFailure
from store.localized import Localized, Place
from store.lookup import job_making

POLL_S = 0.1


class Looked(NamedTuple):
    """What is known of a file: what it holds, or why that cannot be said, or the job at it."""

    info: MediaInfo | None = None
    failure: ProbeFailure | None = None
    job: Job | None = None


class Target(NamedTuple):
    """One version of a file; `stored_key` where the media store holds it and not its system."""

    connector: Connector
    file_id: str
    validators: Validators
    stored_key: str | None = None


def copy_of(deps: Gateway, connector: Connector, file_id: str) -> LocalizedFile | None:
    """The copy that is held of a file, if one is."""
    place = Place(connector.tenant_id, connector.fingerprint, file_digest(file_id))
    return Localized(deps.store).get(place)


async def looked_at(
    deps: Gateway, caller: Principal, target: Target, copy: LocalizedFile | None
) -> Looked:
    """What is known, after a few seconds at most; a job that goes on is answered as one."""
    if copy is not None and same_version(copy.validators, target.validators):
        return Looked(info=copy.media)
    job = await in_thread(_job_of, deps, caller, target)
    waited_s = 0.0
    while job.state not in FINAL and waited_s < deps.settings.source_wait_s:
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S
        job = await in_thread(deps.jobs.get, caller.tenant_id, job.id)
    return _told(job)


def _job_of(deps: Gateway, caller: Principal, target: Target) -> Job:
    """The job that looks or has looked at this version of the file: its result is the record."""
    connector = target.connector
    key = pipeline.dedup_key(connector.fingerprint, target.file_id, target.validators, deps.clock())
    known = job_making(deps.store, caller.tenant_id, key)
    if known is not None:
        return deps.jobs.get(caller.tenant_id, known)
    command = ProbeFile(
        tenant_id=caller.tenant_id,
        requested_by=caller.subject,
        request={"fileId": target.file_id},
        dedup_key=key,
        connector=connector.ref,
        file_id=target.file_id,
        stored_key=target.stored_key,
    )
    return deps.jobs.accept(command).job


def _told(job: Job) -> Looked:
    if job.state == "failed" and job.error is not None:
        failure = ProbeFailure(code=job.error.code, message=job.error.message)
        return Looked(failure=failure, job=job)
    if job.result is None:
        return Looked(job=job)
    try:
        found = Probed.model_validate(job.result)
        return Looked(info=found.info, failure=found.failure, job=job)
    except (ValidationError, KeyError):
        # Written by another version of the service.
        return Looked(job=job)
