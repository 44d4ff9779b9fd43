"""Uploads through the whole engine in this process: a ledger in memory, a real destination."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.base import Intent, TempCredentials
from connectors.local import Folder
from connectors.sealing import new_key
from schemas.commands import CheckUpload
from schemas.connectors import Destination
from schemas.jobs import FINAL, Job
from schemas.settings import Settings
from schemas.uploads import UploadMode, UploadWanted
from tests.media_builder import StreamSpec, build, write_mp4
from workers import handlers, upload
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime
from workers.world import World

TENANT = "t1"


def a_recording(folder: Path) -> bytes:
    """What a phone would send: a second of picture and sound."""
    path = folder / "recording.mp4"
    write_mp4(build(StreamSpec(seconds=1)), path)
    return path.read_bytes()


@dataclass
class Desk:
    """A worker of uploads, and the media store they go to."""

    folder: Path
    world: World
    runtime: Runtime
    ledger: LocalLedger

    @property
    def media(self) -> Path:
        """The media store's folder."""
        return self.folder / "media"

    @property
    def target(self) -> TempCredentials:
        """The media store as something to upload to."""
        return Folder(self.media)

    def sent(self, data: bytes, key: str = "in/goal.mp4", **wanted: Any) -> Intent:
        """The intent of an upload whose bytes have all come."""
        size = wanted.pop("size", len(data))
        told = UploadWanted(
            upload_id=wanted.pop("upload_id", "upl_1"),
            key=key,
            size=size,
            content_type="video/mp4",
            **wanted,
        )
        mode: UploadMode = "tus"
        folder = Folder(self.media)
        intent = folder.open_upload(told, mode)
        with folder.receive(intent) as receiver:
            receiver.write(data)
            receiver.commit()
        return intent

    def submit(self, intent: Intent, **changes: Any) -> str:
        """The id of a job that checks an upload."""
        values: dict[str, Any] = {
            "tenant_id": TENANT,
            "requested_by": "user:u1",
            "upload_id": intent["job_id"],
            "size": intent["size"],
            "content_type": "video/mp4",
            "intent": intent,
            "destination": Destination(key=intent["key"]),
        }
        return self.ledger.submit(CheckUpload(**values | changes)).id

    def check(self, intent: Intent, **changes: Any) -> Job:
        """The job that checks an upload, run to its end."""
        job_id = self.submit(intent, **changes)
        while self.ledger.job(job_id).state not in FINAL:
            run_job("upload", self.runtime)
        return self.ledger.job(job_id)

    def lying(self) -> list[str]:
        """Every file at the destination, hidden ones too."""
        found = (path for path in self.media.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.media)) for path in found)


@contextmanager
def a_desk(folder: Path, attempts: int = 1, **settings: Any) -> Iterator[Desk]:
    """A worker on a folder."""
    folder.mkdir(exist_ok=True)
    chosen = Settings(
        data_dir=str(folder),
        media_store=str(folder / "media"),
        allow_cidrs=("127.0.0.0/8",),
        secret_keys=new_key(),
        **settings,
    )
    made, world = handlers.build(chosen)
    world.media.start()
    ledger = LocalLedger(lambda _job: None, allowance=attempts)
    runtime = Runtime(
        ledger=ledger,
        works={"upload": upload.WORK},
        handlers=made,
        world=world,
        work_dir=folder / "work",
        owner="test",
        jitter=lambda: 0.0,
    )
    # Jailed children run under another uid: they must reach the workspaces below.
    folder.chmod(0o711)
    yield Desk(folder, world, runtime, ledger)
    world.env.egress.close()
