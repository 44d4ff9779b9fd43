"""The keeper removes what nobody finished, and nothing that somebody is at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Intent
from connectors.local import Folder
from connectors.publishing import artifact_of
from connectors.sealing import new_key
from schemas.commands import CheckUpload
from schemas.connectors import ConnectorRef, Destination
from schemas.jobs import JobError
from schemas.settings import Settings
from schemas.uploads import Upload, UploadWanted
from store.jobs import Jobs, RedisLedger
from store.uploads import Uploads
from tests.builders import a_clip_command
from tests.fakes import FixedClock, fake_store
from workers.upload_upkeep import AGAIN_MS, GIVE_UP_MS, STALE_MS, Places, UploadUpkeep

HOUR_MS = 3600 * 1000


class Desk:
    """A media store, the uploads to it, and what looks after them."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data_dir=str(folder), secret_keys=new_key())
        self.clock, self.store = FixedClock(), fake_store()
        self.media = Folder(folder / "media")
        self.folder = folder / "media"
        self.uploads = Uploads(self.store)
        self.upkeep = UploadUpkeep(self.store, Places(settings, self.clock), self.clock)

    def begun(self, upload_id: str, **changes: Any) -> Upload:
        """An upload of ten bytes of which three have come."""
        self.folder.mkdir(exist_ok=True)
        wanted = UploadWanted(
            upload_id=upload_id, key=f"in/{upload_id}.mp4", size=10, content_type="video/mp4"
        )
        intent = self.media.open_upload(wanted, "tus")
        with self.media.receive(intent) as receiver:
            receiver.write(b"012")
        values: dict[str, Any] = {
            "id": upload_id,
            "tenant_id": "t1",
            "destination_id": "dst_1",
            "requested_by": "user:u1",
            "mode": "tus",
            "place": Destination(key=wanted.key),
            "intent": intent,
            "file_name": "a.mp4",
            "size": 10,
            "content_type": "video/mp4",
            "created_ms": self.clock(),
            "expires_ms": self.clock() + 48 * HOUR_MS,
        }
        upload = Upload(**values | changes)
        self.uploads.put(upload, self.clock())
        return upload

    def checked(self, upload: Upload) -> str:
        """The job of a check."""
        command = CheckUpload(
            tenant_id="t1",
            requested_by="user:u1",
            upload_id=upload.id,
            size=10,
            content_type="video/mp4",
            intent=upload.intent,
            destination=upload.place,
        )
        job_id = Jobs(self.store).accept(command).job.id
        self.uploads.checking(upload, job_id)
        return job_id

    def lying(self) -> list[str]:
        """Every file, hidden ones too."""
        return sorted(p.name for p in self.folder.rglob("*") if p.is_file())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_nobody_finished_is_removed_once_its_time_is_over(desk: Desk) -> None:
    desk.begun("upl_1")
    desk.clock.advance(47 * HOUR_MS)
    early = desk.upkeep.clean(), desk.lying()

    desk.clock.advance(HOUR_MS)
    late = desk.upkeep.clean(), desk.lying()

    held = desk.uploads.get("t1", "upl_1")
    assert early == (0, [".cuttingroom-upl_1.part"])
    assert late == (1, [])
    assert held.end is not None
    assert held.end.state == "expired"
    assert desk.upkeep.clean() == 0


def test_what_is_being_checked_is_left_alone_however_late_it_is(desk: Desk) -> None:
    upload = desk.begun("upl_1")
    desk.checked(upload)
    desk.clock.advance(50 * HOUR_MS)

    cleaned = desk.upkeep.clean()

    assert (cleaned, desk.lying()) == (0, [".cuttingroom-upl_1.part"])
    assert desk.uploads.get("t1", "upl_1").end is None
    assert desk.uploads.due(desk.clock()) == ()
    assert len(desk.uploads.due(desk.clock() + AGAIN_MS)) == 1


def test_what_failed_without_being_removed_is_removed_later(desk: Desk) -> None:
    upload, ledger = desk.begun("upl_1"), RedisLedger(desk.store)
    desk.checked(upload)
    lease = ledger.claim("upload", "w", "n")
    assert lease is not None
    ledger.fail(lease, JobError(code="destination_unavailable", message="m", retryable=True))
    desk.clock.advance(49 * HOUR_MS)

    assert (desk.upkeep.clean(), desk.lying()) == (1, [])


def test_what_was_let_in_stays(desk: Desk) -> None:
    upload, ledger = desk.begun("upl_1"), RedisLedger(desk.store)
    desk.checked(upload)
    desk.media.admit(upload.intent, "0" * 64, lambda: None)
    lease = ledger.claim("upload", "w", "n")
    assert lease is not None
    ledger.finish(lease, {})
    desk.clock.advance(49 * HOUR_MS)

    assert (desk.upkeep.clean(), desk.lying()) == (1, ["upl_1.mp4"])


def test_a_place_that_cannot_be_reached_is_tried_again_and_given_up_at_last(desk: Desk) -> None:
    lost = ConnectorRef(id="con_1", tenant_id="t1", type="local", config={"folder": "/nowhere"})
    desk.begun("upl_1", place=Destination(connector=lost, key="in/a.mp4"))
    desk.clock.advance(48 * HOUR_MS)

    first = desk.upkeep.clean()
    desk.clock.advance(GIVE_UP_MS)
    last = desk.upkeep.clean()

    assert (first, last) == (0, 1)
    assert desk.uploads.due(desk.clock() + GIVE_UP_MS) == ()


def test_the_media_store_is_rid_of_what_nobody_knows(desk: Desk, tmp_path: Path) -> None:
    """A job at work, an upload that pauses, and one that its worker died of."""
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    upload = desk.begun("upl_1")
    live, dead = (desk.media.begin(artifact_of(source, key=f"{n}.mp4", job_id=n)) for n in "ab")
    for intent, name in ((live, "a"), (dead, "b")):
        desk.media.put(intent, artifact_of(source, key=f"{name}.mp4", job_id=name))
    _at_work(desk, live)
    for path in desk.folder.rglob("*.part"):
        seconds = (desk.clock() - STALE_MS) / 1000 - 60
        os.utime(path, (seconds, seconds))

    aborted = desk.upkeep.sweep()

    assert aborted == 1
    assert desk.lying() == sorted([upload.intent["temp"], live["temp"]])


def test_what_was_begun_lately_is_left_alone(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    desk.folder.mkdir()
    artifact = artifact_of(source, key="a.mp4", job_id="a")
    desk.media.put(desk.media.begin(artifact), artifact)
    (part,) = desk.folder.glob(".cuttingroom-*")
    os.utime(part, (desk.clock() / 1000, desk.clock() / 1000))

    assert (desk.upkeep.sweep(), len(desk.lying())) == (0, 1)


def _at_work(desk: Desk, intent: Intent) -> None:
    Jobs(desk.store).accept(a_clip_command(tenant_id="t1"))
    ledger = RedisLedger(desk.store)
    lease = ledger.claim("clip", "w", "n")
    assert lease is not None
    ledger.publish_intent(lease, intent)
