"""Upkeep of uploads: what nobody finished is removed, what no job or upload knows of is aborted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import structlog

from connectors.base import ConnectorEnv, TempCredentials
from connectors.egress import Egress
from connectors.media_store import MediaStore, open_media_store
from connectors.registry import Registry
from connectors.sealing import Sealer
from schemas.connectors import Destination
from schemas.errors import CuttingRoomError, NotFound
from schemas.jobs import Job
from schemas.settings import Settings
from schemas.uploads import HeldUpload, UploadEnd
from store.client import Store
from store.jobs import Jobs
from store.uploads import Uploads, job_intents, state_of

AGAIN_MS = 3600 * 1000
GIVE_UP_MS = 14 * 24 * 3600 * 1000
# Nothing that is at work leaves what it began untouched for longer.
STALE_MS = 24 * 3600 * 1000
log = structlog.get_logger(__name__)


class Places:
    """Opens what uploads go to; made when first needed, which in most services is never."""

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings, self._clock = settings, clock

    @cached_property
    def media(self) -> MediaStore:
        """The media store."""
        return open_media_store(self._settings)

    def target(self, place: Destination) -> TempCredentials:
        """What takes uploads there."""
        if place.connector is None:
            return cast("TempCredentials", self.media)
        opened = self._registry.open(place.connector, self._sealer, self._env)
        return cast("TempCredentials", opened)

    @cached_property
    def _registry(self) -> Registry:
        return Registry.discover()

    @cached_property
    def _sealer(self) -> Sealer:
        return Sealer(self._settings.secret_keys)

    @cached_property
    def _env(self) -> ConnectorEnv:
        egress = Egress(allow_cidrs=self._settings.allow_cidrs)
        return ConnectorEnv(egress=egress, settings=self._settings, clock=self._clock)


@dataclass(frozen=True)
class UploadUpkeep:
    """What looks after uploads; `clock` answers epoch milliseconds."""

    store: Store
    places: Places
    clock: Callable[[], int]

    def clean(self) -> int:
        """Remove what is left of uploads whose time is over; how many went."""
        uploads = Uploads(self.store)
        return sum(self._cleaned(held, uploads) for held in uploads.due(self.clock()))

    def sweep(self) -> int:
        """Abort in the media store what neither a job nor an upload knows of; how much it was."""
        # What is older than a day and in use was written down long before this is read.
        live = (*job_intents(self.store), *Uploads(self.store).intents())
        aborted = self.places.media.janitor(live, self.clock() - STALE_MS)
        if aborted:
            log.info("unfinished files of the media store removed", count=aborted)
        return aborted

    def _cleaned(self, held: HeldUpload, uploads: Uploads) -> bool:
        upload, now_ms = held.upload, self.clock()
        state = state_of(held, self._job(held), now_ms)
        if state == "checking":
            uploads.later(upload, now_ms + AGAIN_MS)
            return False
        if state in {"open", "expired"}:
            message = "it was not finished in time"
            uploads.end(upload, UploadEnd(state="expired", code="upload_expired", message=message))
        try:
            to = self.places.target(upload.place)
            to.abandon(upload.intent, admitted=state == "completed")
        except CuttingRoomError as error:
            log.warning("an upload's leftovers stay", upload=upload.id, reason=error.message)
            if now_ms - upload.expires_ms < GIVE_UP_MS:
                uploads.later(upload, now_ms + AGAIN_MS)
                return False
        uploads.cleaned(upload)
        log.info("upload cleaned up", upload=upload.id, state=state)
        return True

    def _job(self, held: HeldUpload) -> Job | None:
        if held.job_id is None:
            return None
        try:
            return Jobs(self.store).get(held.upload.tenant_id, held.job_id)
        except NotFound:
            return None
