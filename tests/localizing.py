"""Localizing through the whole engine in this process: a ledger in memory, a real media store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from connectors.sealing import new_key
from media.jail import hand_over
from schemas.commands import LocalizeFile
from schemas.connectors import ConnectorRef
from schemas.jobs import FINAL, Job
from schemas.ledger import Lease
from schemas.settings import Settings
from store.localized import Localized
from tests.fakes import fake_store
from tests.media_builder import StreamSpec, build, write_mp4
from workers import handlers, localize
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal
from workers.runtime import Runtime, epoch_ms
from workers.sources import local_copy
from workers.world import World

TENANT = "t1"


@lru_cache
def a_movie(folder: Path, size: int = 0) -> bytes:
    """A small MP4, with a box of nothing behind it that brings it to `size` bytes."""
    path = folder / "movie.mp4"
    write_mp4(build(StreamSpec(seconds=1)), path)
    data = path.read_bytes()
    filling = size - len(data) - 8
    if filling <= 0:
        return data
    noise = bytes(range(251)) * (filling // 251 + 1)
    return data + (filling + 8).to_bytes(4, "big") + b"free" + noise[:filling]


@dataclass
class Bench:
    """A worker with its media store and index; jobs run when `run` is called."""

    folder: Path
    world: World
    runtime: Runtime
    ledger: LocalLedger
    index: Localized
    seen: list[Job] = field(default_factory=list)

    @property
    def media(self) -> Path:
        """The media store's folder."""
        return self.folder / "media"

    def command(self, ref: ConnectorRef, file_id: str, **changes: Any) -> LocalizeFile:
        """What the gateway would make of a request."""
        values: dict[str, Any] = {
            "tenant_id": ref.tenant_id,
            "requested_by": "user:u1",
            "connector": ref,
            "file_id": file_id,
        }
        return LocalizeFile(**values | changes)

    def submit(self, ref: ConnectorRef, file_id: str, **changes: Any) -> str:
        """The id of a new job."""
        return self.ledger.submit(self.command(ref, file_id, **changes)).id

    def run(self, ref: ConnectorRef, file_id: str, **changes: Any) -> Job:
        """The job of a file, run to its end."""
        job_id = self.submit(ref, file_id, **changes)
        while self.ledger.job(job_id).state not in FINAL:
            run_job("localize", self.runtime)
        return self.ledger.job(job_id)


def an_http_ref(url: str, **config: Any) -> ConnectorRef:
    """An http connector."""
    values = {"baseUrl": url, **config}
    return ConnectorRef(id="con_1", tenant_id=TENANT, type="http", config=values)


@contextmanager
def a_bench(folder: Path, attempts: int = 1, **settings: Any) -> Iterator[Bench]:
    """A worker on a folder."""
    folder.mkdir(exist_ok=True)
    chosen = Settings(
        data_dir=str(folder),
        media_store=str(folder / "media"),
        allow_cidrs=("127.0.0.0/8",),
        secret_keys=new_key(),
        **settings,
    )
    index = Localized(fake_store())
    made, world = handlers.build(chosen, index)
    world.media.start()
    bench_seen: list[Job] = []
    ledger = LocalLedger(bench_seen.append, allowance=attempts)
    runtime = Runtime(
        ledger=ledger,
        works={"localize": localize.WORK},
        handlers=made,
        world=replace(world),
        work_dir=folder / "work",
        owner="test",
        jitter=lambda: 0.0,
    )
    folder.chmod(0o711)
    yield Bench(folder, world, runtime, ledger, index, bench_seen)
    world.env.egress.close()


def a_copy(bench: Bench, ref: ConnectorRef, file_id: str, folder: Path) -> Path:
    """What another job would get of a file, in a workspace of its own."""
    folder.mkdir()
    hand_over(folder)
    lease = Lease(
        job_id=folder.name,
        tenant_id=ref.tenant_id,
        kind="sprite",
        queue="sprite",
        owner="w",
        fence=1,
        attempt=1,
        allowance=1,
        command="",
        created_ms=0,
    )
    signal = Signal(threading.Event())
    run = Run(lease, bench.ledger, folder, signal, epoch_ms, bench.world)
    path = local_copy(run, ref, file_id)
    assert local_copy(run, ref, file_id) == path
    return path
