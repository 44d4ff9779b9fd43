"""Renditions through the real stack: recipe, job, one file, and ladders here and in a bucket."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import m3u8
import pytest

from tests import sources
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.e2e.service import Service

pytestmark = pytest.mark.slow
SOUND = {"codec": "aac", "bitrate": 48_000, "channels": 1}
FILE = {"name": "small file", "video": {"codec": "h264", "height": 48, "speed": "fast"}}


def rung(height: int) -> dict[str, Any]:
    """A rung of a ladder with its sounds and subtitles."""
    video = {"codec": "h264", "height": height, "speed": "fast", "gop": 25}
    return {
        "name": f"{height} lines",
        "packaging": "hls",
        "segmentMs": 1000,
        "video": video,
        "audio": SOUND,
        "subtitles": "sidecar",
    }


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as made:
        yield made


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


@pytest.fixture(scope="module")
def films(running: Service) -> tuple[str, Path]:
    """The connector of the films, and their folder."""
    folder = Path(running.stack.settings.local_folders[0]) / "bilingual"
    folder.mkdir()
    folder.chmod(0o777)
    shutil.copy(sources.bilingual(), folder / "film.mkv")
    body = {"type": "local", "name": "Bilingual", "config": {"folder": str(folder)}, "auth": {}}
    return created(running, "/v1/connectors", body), folder


@pytest.fixture(scope="module")
def ladder(running: Service) -> list[str]:
    """The ids of two rungs."""
    return [created(running, "/v1/renditions", rung(height)) for height in (96, 48)]


def created(running: Service, path: str, body: dict[str, Any]) -> str:
    """The id of what was made."""
    answer = running.client.ask("POST", path, body)
    assert answer.status == 201, answer
    return str(answer.body["id"])


def made(
    running: Service, connector: str, ids: list[str], destination: dict[str, Any]
) -> dict[str, Any]:
    """The result of a job."""
    path = f"/v1/connectors/{connector}/files/film.mkv/renditions"
    answer = running.client.ask("POST", path, {"renditionIds": ids, "destination": destination})
    assert answer.status == 202, answer
    job = running.client.ended(answer.body["id"], 120)
    assert job["state"] == "succeeded", job["error"]
    assert [e["type"] for e in running.client.events(job["id"])].count("job.succeeded") == 1
    found: dict[str, Any] = job["result"]
    return found


def check_ladder(folder: Path) -> None:
    """A master that another reader reads, every file of it there, every rung decodable."""
    master = m3u8.load(str(folder / "master.m3u8"))
    assert [p.stream_info.resolution for p in master.playlists] == [(128, 96), (64, 48)]
    kinds = [(m.type, m.language) for m in master.media]
    both = ("eng", "deu")
    assert kinds == [(kind, tongue) for kind in ("AUDIO", "SUBTITLES") for tongue in both]
    grids = []
    for rung in master.playlists:
        playlist = m3u8.load(str(folder / rung.uri))
        grids.append([segment.duration for segment in playlist.segments])
        with av.open(str(folder / rung.uri)) as opened:
            assert sum(1 for _ in opened.decode(video=0)) == 50
    assert grids[0] == grids[1]
    for track in master.media:
        for name in m3u8.load(str(folder / track.uri)).files:
            assert (folder / name).stat().st_size > 0


def test_a_file_is_made_by_a_recipe_of_ones_own(running: Service, films: tuple[str, Path]) -> None:
    connector, folder = films
    recipe = created(running, "/v1/renditions", FILE)

    result = made(running, connector, [recipe], {"connectorId": connector, "path": "out/small.mp4"})

    file = result["renditions"][0]["file"]
    data = (folder / "out/small.mp4").read_bytes()
    assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (result["renditions"][0]["video"]["width"], result["files"]) == (64, 1)
    assert "2 of the source's subtitles (eng, deu) were left out" in result["notes"]


def test_a_ladder_lies_in_a_folder(
    running: Service, films: tuple[str, Path], ladder: list[str]
) -> None:
    connector, folder = films

    result = made(running, connector, ladder, {"connectorId": connector, "path": "web"})

    check_ladder(folder / "web")
    assert result["files"] == len(list((folder / "web").iterdir()))
    assert [m["key"] for m in result["manifests"]] == ["web/master.m3u8"]


def test_a_ladder_lies_in_a_bucket(
    running: Service, films: tuple[str, Path], ladder: list[str], endpoint: str, tmp_path: Path
) -> None:
    auth = {"accessKeyId": KEYS["access_key_id"], "secretAccessKey": KEYS["secret_access_key"]}
    config = {"bucket": BUCKET, "endpoint": endpoint}
    bucket = created(
        running,
        "/v1/connectors",
        {"type": "s3", "name": "Web", "config": config, "auth": auth},
    )

    result = made(running, films[0], ladder, {"connectorId": bucket, "path": "vod/film"})

    store = client_for(endpoint)
    held = store.list_objects_v2(Bucket=BUCKET, Prefix="vod/film/")["Contents"]
    assert len(held) == result["files"]
    for each in held:
        store.download_file(BUCKET, each["Key"], str(tmp_path / Path(each["Key"]).name))
    check_ladder(tmp_path)
    (manifest,) = result["manifests"]
    text = (tmp_path / "master.m3u8").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(text).hexdigest()
    assert AKID not in json.dumps(result)


AKID = KEYS["secret_access_key"]
