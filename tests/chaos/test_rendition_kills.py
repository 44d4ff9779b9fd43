"""A worker killed with -9, or a cancel, while it makes a ladder: one attempt's, whole, or none."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import m3u8
import pytest

from schemas.commands import CreateRenditions
from schemas.connectors import Destination
from schemas.jobs import Job
from schemas.profiles import AudioRecipe, Profile, VideoRecipe
from tests import sources
from tests.builders import a_connector_ref
from tests.chaos.media_crew import Crew, running_crew
from tests.chaos.processes import kill, until
from tests.e2e.service import alive, freeze_next_child, parent
from tests.oracle import inspect

pytestmark = [pytest.mark.slow, pytest.mark.redis]
LADDER = tuple(
    Profile(
        name=f"{height} lines",
        packaging="hls",
        segment_ms=1000,
        video=VideoRecipe(codec="h264", height=height, speed="fast", gop=25),
        audio=AudioRecipe(codec="aac", bitrate=48_000, channels=1),
    )
    for height in (96, 48)
)
# After the source is here: probe, pace, then the one run of ffmpeg.
ENCODING, CHECKING = 3, 4
_numbers = count()


@pytest.fixture(scope="module", params=["local", "s3"])
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    folder = tmp_path_factory.mktemp(f"ladders-{request.param}")
    with running_crew(folder, request.param) as made:
        shutil.copy(sources.made("h264 and aac in mp4"), folder / "sources" / "film.mp4")
        yield made


@pytest.fixture
def key() -> str:
    """The folder of a ladder nobody else makes."""
    return f"web{next(_numbers)}"


def ask(crew: Crew, key: str) -> str:
    """Queue a ladder; its id."""
    folder = str(crew.folder / "sources")
    command = CreateRenditions(
        tenant_id="t1",
        requested_by="user:u1",
        connector=a_connector_ref(type="local", config={"folder": folder}),
        file_id="film.mp4",
        recipes=LADDER,
        destination=Destination(key=key),
    )
    return crew.jobs.accept(command).job.id


def held(crew: Crew, key: str, job_id: str) -> list[str]:
    """What a reader could see of a ladder, and every leftover of it."""
    return sorted(n for n in crew.finished() if n.startswith(f"{key}/") or job_id in n)


def whole(crew: Crew, job: Job, key: str, tmp_path: Path) -> None:
    """Everything the master names is there, and nothing else; every rung plays."""
    assert (job.state, job.error) == ("succeeded", None)
    files = held(crew, key, job.id)
    assert len(files) == (job.result or {})["files"]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(crew.fetched(name, tmp_path / "fetched"), tmp_path / name)
    master = m3u8.load(str(tmp_path / key / "master.m3u8"))
    assert len(master.playlists) == 2
    named = {f"{key}/master.m3u8"}
    for each in (*master.playlists, *master.media):
        playlist = m3u8.load(str(tmp_path / key / each.uri))
        headers = {part.uri for part in playlist.segment_map if part}
        named |= {f"{key}/{n}" for n in (each.uri, *playlist.files, *headers)}
    assert named == set(files)
    for rung in master.playlists:
        joined = tmp_path / "joined.mp4"
        playlist = m3u8.load(str(tmp_path / key / rung.uri))
        parts = [playlist.segment_map[0].uri, *(s.uri for s in playlist.segments)]
        joined.write_bytes(b"".join((tmp_path / key / part).read_bytes() for part in parts))
        seen = inspect(joined)
        assert seen.clean
        assert len(seen.frames) == 50


@pytest.mark.parametrize("child", [1, ENCODING, CHECKING], ids=["probing", "encoding", "verifying"])
def test_killed_while_it_works(crew: Crew, key: str, child: int, tmp_path: Path) -> None:
    job_id = ask(crew, key)
    frozen = nth_child(child)

    kill(parent(parent(frozen)))

    job = crew.end_of(job_id)
    assert job.attempt == 2
    whole(crew, job, key, tmp_path)
    until(lambda: not alive(frozen), "the end of the jailed child")


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("visible", "hls-96p-00000.m4s"),
        ("before finish", "hls-48p.m3u8"),
        ("before begin", "master.m3u8"),
        ("before finish", "master.m3u8"),
        ("visible", "master.m3u8"),
    ],
)
def test_killed_while_it_publishes(
    crew: Crew, key: str, moment: str, name: str, tmp_path: Path
) -> None:
    reached = crew.halt(moment, f"{key}_{name}")
    job_id = ask(crew, key)
    until(reached.exists, f"the worker {moment}")
    killed_s = time.time()

    kill(int(reached.read_text()))

    job = crew.end_of(job_id)
    assert job.attempt >= 2
    whole(crew, job, key, tmp_path)
    if not crew.endpoint:
        ages = {(crew.folder / "media" / n).stat().st_mtime > killed_s for n in
                held(crew, key, job_id)}  # fmt: skip
        # Once the master was there, so was all it names; before, nothing of it is kept.
        assert ages == {(moment, name) != ("visible", "master.m3u8")}


@pytest.mark.parametrize("child", [1, ENCODING, CHECKING], ids=["probing", "encoding", "verifying"])
def test_cancelled_while_it_works(crew: Crew, key: str, child: int) -> None:
    job_id = ask(crew, key)
    frozen = nth_child(child)

    crew.jobs.cancel("t1", job_id)

    assert crew.end_of(job_id).state == "cancelled"
    assert held(crew, key, job_id) == []
    until(lambda: not alive(frozen), "the end of the jailed child")


def nth_child(wanted: int) -> int:
    """The jailed child of that number, stopped; those before it go on and end."""
    frozen = freeze_next_child(os.getpid())
    for _ in range(wanted - 1):
        kill(frozen, signal.SIGCONT)
        frozen = freeze_next_child(os.getpid(), but=frozen)
    return frozen
