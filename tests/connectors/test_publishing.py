"""Whatever moment a worker is killed at, the next attempt ends with one file and no leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Intent
from connectors.local import Folder
from connectors.publishing import artifact_of, publish_once
from connectors.s3 import PART_BYTES
from schemas.errors import Cancelled, LeaseLost
from schemas.settings import Settings
from tests.connectors.buckets import BUCKET, KEYS, moto_server, objects, rclone_server, uploads
from tests.connectors.peer import Peer, opened

LATER_MS = 4_000_000_000_000
SMALL, LARGE = 1000, PART_BYTES + 1000


# A bucket takes a small file in one request, which leaves no moment in its middle.
KILLS = [
    *(("local", die, SMALL) for die in ("begun", "remembered", "moving", "checked", "published")),
    *(("s3", die, LARGE) for die in ("begun", "remembered", "moving", "checked", "published")),
    *(("s3", die, SMALL) for die in ("checked", "published")),
    *(("s3 that overwrites", die, LARGE) for die in ("checked", "published")),
]


@dataclass
class Place:
    """A destination, and how to look at it from outside."""

    kind: str
    config: dict[str, Any]
    auth: dict[str, Any]
    folder: Path | None = None
    endpoint: str = ""

    @property
    def folders(self) -> list[str]:
        return [str(self.folder)] if self.folder else []

    def target(self) -> Any:
        settings = Settings(local_folders=tuple(self.folders))
        return opened(self.kind, Peer(self.config, self.auth, settings=settings))

    def finished(self) -> list[int]:
        """The sizes of everything under the prefix that a reader could see."""
        if self.folder:
            return [
                path.stat().st_size
                for path in self.folder.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            ]
        return [size for key, size in objects(self.endpoint).items() if "kills/" in key]

    def leftovers(self) -> list[str]:
        if self.folder:
            return [str(path) for path in self.folder.rglob(".cuttingroom-*")]
        probes = [key for key in objects(self.endpoint) if ".cuttingroom-" in key]
        return uploads(self.endpoint) + probes


@pytest.fixture(scope="module", params=["local", "s3", "s3 that overwrites"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        endpoint = ""
        if request.param == "s3":
            endpoint = stack.enter_context(moto_server())
        elif request.param != "local":
            endpoint = stack.enter_context(rclone_server(tmp_path_factory.mktemp("rc") / "b"))
        yield request.param, endpoint


@pytest.fixture
def place(server: tuple[str, str], tmp_path: Path) -> Place:
    kind, endpoint = server
    if kind == "local":
        folder = tmp_path / "published"
        folder.mkdir()
        return Place("local", {"folder": str(folder)}, {}, folder)
    config = {"bucket": BUCKET, "endpoint": endpoint, "prefix": f"kills/{tmp_path.name}"}
    auth = {"accessKeyId": KEYS["access_key_id"], "secretAccessKey": KEYS["secret_access_key"]}
    return Place("s3", config, auth, endpoint=endpoint)


def killed(place: Place, file: Path, record: Path, die: str) -> int:
    """Run a first attempt that dies; its exit status."""
    job = {
        "type": place.kind,
        "config": place.config,
        "auth": place.auth,
        "folders": place.folders,
        "file": str(file),
        "key": "out/clip.mp4",
        "record": str(record),
        "die": die,
    }
    argv = [sys.executable, "-m", "tests.connectors.publishing_child", json.dumps(job)]
    root = Path(__file__).parents[2]
    return subprocess.run(argv, cwd=root, check=False, timeout=60).returncode


@pytest.mark.slow
@pytest.mark.parametrize(("server", "die", "size"), KILLS, indirect=["server"])
def test_a_killed_publish_is_finished_once(
    die: str, size: int, place: Place, tmp_path: Path
) -> None:
    file, record = tmp_path / "made.mp4", tmp_path / "record.json"
    file.write_bytes(os.urandom(size))
    before = len(place.finished())

    status = killed(place, file, record, die)
    earlier: Intent | None = json.loads(record.read_text()) if record.exists() else None
    target, remembered = place.target(), list[Intent]()
    done = publish_once(
        target,
        artifact_of(file, key="out/clip.mp4", job_id="job-1"),
        earlier=earlier,
        remember=remembered.append,
        check_fence=lambda: None,
    )
    target.janitor([], LATER_MS)

    assert status == -signal.SIGKILL
    assert bool(remembered) == (die != "published")
    assert len(place.finished()) == before + 1
    assert target.read_range(done.key, 0, size + 1) == file.read_bytes()
    assert place.leftovers() == []


@pytest.mark.parametrize("server", ["local", "s3"], indirect=True)
def test_the_janitor_spares_what_a_live_intent_names(place: Place, tmp_path: Path) -> None:
    file, target = tmp_path / "made.mp4", place.target()
    file.write_bytes(os.urandom(LARGE))
    live, dead = (
        artifact_of(file, key=f"out/{name}.mp4", job_id=name) for name in ("live", "dead")
    )
    kept = target.put(target.begin(live), live)
    target.put(target.begin(dead), dead)

    young = target.janitor([kept], 0)
    removed = target.janitor([kept], LATER_MS)
    done = target.finish(kept, lambda: None)

    assert (young, removed) == (0, 1)
    assert done.size == LARGE
    assert place.leftovers() == []


def test_a_frozen_attempt_that_wakes_up_changes_nothing(place: Place, tmp_path: Path) -> None:
    file, target, sleeper = tmp_path / "made.mp4", place.target(), place.target()
    file.write_bytes(os.urandom(LARGE))
    artifact = artifact_of(file, key="out/frozen.mp4", job_id="job-1")
    before = len(place.finished())
    frozen = sleeper.put(sleeper.begin(artifact), artifact)

    done = publish_once(
        target,
        artifact,
        earlier=frozen,
        remember=lambda _: None,
        check_fence=lambda: None,
    )

    def stale() -> None:
        raise LeaseLost("another worker has the job")

    with pytest.raises(Exception, match=r"another worker|is gone|read back|could not"):
        sleeper.finish(frozen, stale)
    assert len(place.finished()) == before + 1
    assert target.read_range(done.key, 0, LARGE + 1) == file.read_bytes()


def test_an_attempt_past_its_last_check_cannot_publish_twice(place: Place, tmp_path: Path) -> None:
    file, target, sleeper = tmp_path / "made.mp4", place.target(), place.target()
    file.write_bytes(os.urandom(SMALL))
    artifact = artifact_of(file, key="out/late.mp4", job_id="job-1")
    before = len(place.finished())
    frozen = sleeper.put(sleeper.begin(artifact), artifact)
    finished = []

    def another_attempt_finishes_meanwhile() -> None:
        finished.append(
            publish_once(
                target,
                artifact,
                earlier=None,
                remember=lambda _: None,
                check_fence=lambda: None,
            )
        )

    done = sleeper.finish(frozen, another_attempt_finishes_meanwhile)

    assert len(place.finished()) == before + 1
    assert (done.key, done.sha256) == (finished[0].key, finished[0].sha256)


def test_a_record_that_refuses_the_intent_stops_the_publish(place: Place, tmp_path: Path) -> None:
    file, target = tmp_path / "made.mp4", place.target()
    file.write_bytes(os.urandom(LARGE))
    before = len(place.finished())

    def refuse(intent: Intent) -> None:
        raise LeaseLost("another worker has the job")

    with pytest.raises(LeaseLost):
        publish_once(
            target,
            artifact_of(file, key="out/refused.mp4", job_id="job-1"),
            earlier=None,
            remember=refuse,
            check_fence=lambda: None,
        )

    assert (len(place.finished()), place.leftovers()) == (before, [])


def test_bytes_that_changed_on_the_way_are_not_published(tmp_path: Path) -> None:
    file, folder = tmp_path / "made.mp4", Folder(tmp_path / "to")
    (tmp_path / "to").mkdir()
    file.write_bytes(b"as it was measured")
    artifact = artifact_of(file, key="x.mp4", job_id="job-1")
    file.write_bytes(b"as it is when read")

    with pytest.raises(Exception, match="did not read back"):
        publish_once(
            folder, artifact, earlier=None, remember=lambda _: None, check_fence=lambda: None
        )

    assert not (tmp_path / "to" / "x.mp4").exists()


def test_a_cancelled_publish_leaves_nothing(place: Place, tmp_path: Path) -> None:
    file, target = tmp_path / "made.mp4", place.target()
    file.write_bytes(os.urandom(LARGE))
    before = len(place.finished())

    def cancel() -> None:
        raise Cancelled("somebody cancelled")

    with pytest.raises(Cancelled):
        publish_once(
            target,
            artifact_of(file, key="out/cancelled.mp4", job_id="job-1"),
            earlier=None,
            remember=lambda _: None,
            check_fence=cancel,
        )

    assert (len(place.finished()), place.leftovers()) == (before, [])
