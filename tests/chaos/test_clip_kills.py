"""A worker killed with -9 in the middle of each stage of a clip: another finishes it, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from connectors.sealing import new_key
from schemas.connectors import Destination
from schemas.errors import StoreUnavailable
from schemas.jobs import Job
from schemas.settings import Settings
from schemas.times import TimeRange
from store import keys
from store.client import Store
from store.events import Events
from store.jobs import Jobs
from tests.builders import a_clip_command, a_connector_ref
from tests.chaos.clip_worker import MOMENTS
from tests.chaos.processes import ROOT, ended, kill, look, until
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server, objects, uploads
from tests.e2e.service import alive, freeze_next_child, parent
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Fault, Live, ManualClock, Origin
from tests.redis_server import RedisServer, redis_server

pytestmark = [pytest.mark.slow, pytest.mark.redis]
SLOTS = 2
START_MS, END_MS = 1330, 3730
_numbers = count()


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


@pytest.fixture(scope="module", params=["local", "s3"])
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    folder = tmp_path_factory.mktemp(f"crew-{request.param}")
    for above in (folder, *folder.parents):
        with suppress(PermissionError):
            above.chmod(above.stat().st_mode | 0o011)
    for name in ("redis", "halts", "reached", "media"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        endpoint = stack.enter_context(moto_server()) if request.param == "s3" else ""
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


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec()))


@pytest.fixture
def key() -> str:
    """The key of a clip nobody else makes."""
    return f"goal{next(_numbers)}.mp4"


@pytest.fixture
def origin(asset: HlsAsset) -> Iterator[Origin]:
    with Origin(asset) as made:
        yield made


def finished_once(
    crew: Crew,
    job_id: str,
    asset: HlsAsset,
    key: str,
    tmp_path: Path,
    attempts: int = 2,
    but_left: Set[str] = frozenset(),
) -> None:
    """The clip is there once, exact, and was told of once; nothing else is left but workspaces."""
    job = crew.end_of(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert job.attempt == attempts
    told = crew.told(job_id)
    assert (told["job.succeeded"], told["clip.ready"]) == (1, 1)
    stem = key.removesuffix(".mp4")
    assert [found for found in crew.finished() if stem in found or job_id in found] == [key]
    file = crew.fetched(key, tmp_path / "read-back.mp4")
    at = asset.epoch_ms
    assert check_exact(file, asset, at + START_MS, at + END_MS) == []
    left = {path.name for path in (crew.folder / "work").glob(f"{job_id}*") if path.is_dir()}
    assert left == but_left


def test_killed_while_it_fetches(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    origin.fault("main-1.ts", Fault.stall(1000, times=1))
    job_id = crew.accept(origin.url, asset, key)
    here = crew.folder / "work" / job_id
    until(lambda: origin.asked("main-1.ts") > 0 and any(here.glob("v-*0.ts")), "its segments")

    kill(crew.holder(job_id))

    finished_once(crew, job_id, asset, key, tmp_path)
    assert origin.asked("main-0.ts") == 1  # what was fetched already is used


def test_killed_while_it_waits(crew: Crew, asset: HlsAsset, key: str, tmp_path: Path) -> None:
    clock = ManualClock(asset.epoch_ms + 2000)
    with Origin(asset, live=Live(clock)) as origin:
        job_id = crew.accept(origin.url, asset, key)
        until(lambda: look(crew.jobs, job_id).state == "waiting", "the job waiting")

        kill(crew.holder(job_id))
        clock.advance(4)

        finished_once(crew, job_id, asset, key, tmp_path)


@pytest.mark.parametrize("child", [1, 2], ids=["indexing", "cutting"])
def test_killed_while_it_cuts(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, child: int, tmp_path: Path
) -> None:
    job_id = crew.accept(origin.url, asset, key)
    frozen = freeze_next_child(os.getpid())
    if child == 2:
        kill(frozen, signal.SIGCONT)
        frozen = freeze_next_child(os.getpid(), but=frozen)
    slot = parent(parent(frozen))
    assert slot == crew.holder(job_id)

    kill(slot)

    finished_once(crew, job_id, asset, key, tmp_path)
    until(lambda: not alive(frozen), "the end of the jailed child")


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_publishes(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, moment: str, tmp_path: Path
) -> None:
    reached = crew.halt(moment, key)
    job_id = crew.accept(origin.url, asset, key)
    until(reached.exists, f"the worker {moment}")

    kill(int(reached.read_text()))

    finished_once(crew, job_id, asset, key, tmp_path)


def test_frozen_past_its_lease_once_the_clip_is_visible(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    reached = crew.halt("visible", key)
    job_id = crew.accept(origin.url, asset, key)
    until(reached.exists, "the worker there")
    frozen = int(reached.read_text())

    kill(frozen, signal.SIGSTOP)
    crew.end_of(job_id)
    kill(frozen)

    finished_once(crew, job_id, asset, key, tmp_path, but_left={job_id})


def test_redis_killed_while_it_fetches(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    origin.fault("main-1.ts", Fault.trickle(5_000, times=1))
    job_id = crew.accept(origin.url, asset, key)
    origin.wait_for(lambda: origin.asked("main-1.ts"), 30)

    crew.redis.kill()
    with pytest.raises(StoreUnavailable):
        crew.store.ping()
    crew.redis.start()

    attempts = crew.end_of(job_id).attempt
    assert attempts in {1, 2}
    finished_once(crew, job_id, asset, key, tmp_path, attempts)
