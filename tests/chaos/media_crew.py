"""Real workers of clips, exports and renditions over a folder or a bucket, and their ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.sealing import new_key
from schemas.commands import ExportPart, ExportSegment
from schemas.connectors import Destination
from schemas.jobs import Job
from schemas.settings import Settings
from schemas.times import TimeRange
from store import keys
from store.client import Store
from store.events import Events
from store.jobs import Jobs
from tests.builders import a_clip_command, a_connector_ref
from tests.chaos.processes import ROOT, ended, look, until
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server, objects, uploads
from tests.media_builder import HlsAsset
from tests.redis_server import RedisServer, redis_server

SLOTS = 2
START_MS, END_MS = 1330, 3730


@dataclass
class Crew:
    """Workers on a queue of their own, and the store their clips go to."""

    folder: Path
    redis: RedisServer
    store: Store
    endpoint: str = ""

    @property
    def jobs(self) -> Jobs:
        """The ledger's other side."""
        return Jobs(self.store)

    def finished(self) -> set[str]:
        """The key of everything a reader of the media store could see, and every leftover."""
        if self.endpoint:
            return {*objects(self.endpoint), *uploads(self.endpoint)}
        media = self.folder / "media"
        return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}

    def fetched(self, key: str, to: Path) -> Path:
        """A file of the media store, here."""
        if not self.endpoint:
            return self.folder / "media" / key
        client_for(self.endpoint).download_file(BUCKET, key, str(to))
        return to

    def accept(self, url: str, asset: HlsAsset, key: str) -> str:
        """Queue a clip; its id."""
        at = asset.epoch_ms
        command = a_clip_command(
            clip_id=key.removesuffix(".mp4"),
            connector=a_connector_ref(config={"url": url}),
            range=TimeRange(start_ms=at + START_MS, end_ms=at + END_MS),
            destination=Destination(key=key),
        )
        return self.jobs.accept(command).job.id

    def holder(self, job_id: str) -> int:
        """The process that holds a job."""
        owner = str(self.store.client.hget(keys.job(job_id), "owner") or "")
        return int(owner.rpartition("/")[2])

    def halt(self, moment: str, key: str) -> Path:
        """Ask for a halt; the file that will say who stands there."""
        (self.folder / "halts" / f"{moment}-{key}").touch()
        return self.folder / "reached" / f"{moment}-{key}"

    def told(self, job_id: str) -> Counter[str]:
        """How often each type of event was told of a job."""
        found = Events(self.store).after("t1", None, 500, job_id)
        return Counter(event.type for event in found)

    def end_of(self, job_id: str) -> Job:
        """The job once it has ended."""
        until(lambda: ended(self.jobs, job_id), "the job's end", 60)
        return look(self.jobs, job_id)

    def export(self, url: str, asset: HlsAsset, key: str, **asked: Any) -> str:
        """Queue an export of two ranges; its id."""
        at, ref = asset.epoch_ms, a_connector_ref(config={"url": url})
        spans = [(at + START_MS, at + END_MS), (at + 400, at + 1200)]
        parts = tuple(
            ExportPart(connector=ref, channel_id="ch1", range=TimeRange(start_ms=a, end_ms=b))
            for a, b in spans
        )
        values: dict[str, Any] = {
            "tenant_id": "t1",
            "requested_by": "user:u1",
            "connector": ref,
            "channel_id": "ch1",
            "parts": parts,
            "sidecars": ("json", "edl"),
            "destination": Destination(key=key),
        }
        return self.jobs.accept(ExportSegment(**values | asked)).job.id


@contextmanager
def running_crew(folder: Path, kind: str) -> Iterator[Crew]:
    """A crew whose media store is `local` or `s3`, ended afterwards."""
    for above in (folder, *folder.parents):
        with suppress(PermissionError):
            above.chmod(above.stat().st_mode | 0o011)
    for name in ("redis", "halts", "reached", "media", "sources"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        endpoint = stack.enter_context(moto_server()) if kind == "s3" else ""
        server = stack.enter_context(redis_server(folder / "redis"))
        stack.enter_context(workers(folder, settings(folder, server.url, endpoint)))
        store = Store.from_url(server.url)
        stack.callback(store.close)
        yield Crew(folder, server, store, endpoint)


def settings(folder: Path, redis_url: str, endpoint: str) -> Settings:
    """The workers' settings, with a folder or a bucket for a media store."""
    values: dict[str, object] = {
        "data_dir": str(folder),
        "redis_url": redis_url,
        "allow_cidrs": ("127.0.0.0/8",),
        "secret_keys": new_key(),
        "local_folders": (str(folder / "sources"),),
    }
    if endpoint:
        values["media_store"] = f"s3://{BUCKET}?endpoint={endpoint}&region=us-east-1"
        values["media_store_key_id"] = KEYS["access_key_id"]
        values["media_store_secret"] = KEYS["secret_access_key"]
    return Settings.model_validate(values)


class workers:  # noqa: N801  # reads as what it is in a with statement
    """Running workers, ended afterwards."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        argv = [sys.executable, "-m", "tests.chaos.clip_worker", str(folder), str(SLOTS)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("CUTTINGROOM_")}
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            argv, cwd=ROOT, env=env | settings.to_env(), stdout=self._log, stderr=self._log
        )

    def __enter__(self) -> None:
        """They run already."""

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._log.close()
