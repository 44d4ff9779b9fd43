"""A job's files in the media store are read at the addresses its result tells of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from store.jobs import RedisLedger
from tests.gateway_kit import Kit, a_kit
from workers.addresses import addressed

DATA = bytes(range(256)) * 40
FOLDER = "renditions/t/web"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with a_kit(tmp_path) as made:
        yield made


def finished(kit: Kit, tmp_path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A clip's job with this result, as a worker of the service tells it."""
    answer = kit.clip(kit.connector())
    assert answer.status_code == 202, answer.text
    ledger = RedisLedger(kit.gateway.store)
    lease = ledger.claim("clip", "w", "n")
    assert lease is not None
    settings = Settings(media_store=str(tmp_path / "media"))
    ledger.finish(lease, addressed(settings)(lease.job_id, result))
    found: dict[str, Any] = kit.get(f"/v1/jobs/{lease.job_id}").json()
    return found


def put(tmp_path: Path, key: str, data: bytes = DATA) -> dict[str, Any]:
    """A file of the media store, as a result tells of it before it is addressed."""
    path = tmp_path / "media" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"destination": (tmp_path / "media").as_uri(), "key": key, "url": path.as_uri()}


@pytest.fixture
def url(kit: Kit, tmp_path: Path) -> str:
    """The address of a finished clip."""
    job = finished(kit, tmp_path, {"file": put(tmp_path, "clips/t/Göal: 1.mp4")})
    found: str = job["result"]["file"]["url"]
    assert found == f"/v1/jobs/{job['id']}/files/G%C3%B6al%3A%201.mp4"
    assert job["links"]["file"] == found
    return found


def test_the_address_in_the_result_answers_the_file(kit: Kit, url: str) -> None:
    answer = kit.get(url)

    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert "filename*=UTF-8''G%C3%B6al%3A%201.mp4" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10000, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=-99999999", 0, len(DATA)),
        ("bytes=5-99999999", 5, len(DATA)),
    ],
)
def test_a_range_is_answered_alone(kit: Kit, url: str, asked: str, start: int, end: int) -> None:
    answer = kit.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    "asked", ["bytes=1-2,5-6", "bytes=9-3", "lines=1-2", "bytes=-", "bytes=a-b", "bytes= 1-2"]
)
def test_what_is_no_single_range_answers_the_whole(kit: Kit, url: str, asked: str) -> None:
    answer = kit.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=99999999-", "bytes=-0"])
def test_a_range_past_the_end_is_416(kit: Kit, url: str, asked: str) -> None:
    answer = kit.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.json()["code"]) == (416, "range_invalid")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_a_version_that_is_known_is_not_sent_again(kit: Kit, url: str) -> None:
    tag = kit.get(url).headers["etag"]

    same = kit.get(url, headers={"If-None-Match": tag})
    part = kit.get(url, headers={"Range": "bytes=0-9", "If-Range": tag})
    other = kit.get(url, headers={"Range": "bytes=0-9", "If-Range": '"another"'})

    assert (same.status_code, same.content) == (304, b"")
    assert (part.status_code, part.content) == (206, DATA[:10])
    assert (other.status_code, other.content) == (200, DATA)


def test_head_tells_without_the_bytes(kit: Kit, url: str) -> None:
    answer = kit.ask("HEAD", url)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))


def test_a_ladder_is_read_by_the_names_its_manifest_tells(kit: Kit, tmp_path: Path) -> None:
    put(tmp_path, f"{FOLDER}/hls-96p-00000.m4s")
    master = put(tmp_path, f"{FOLDER}/master.m3u8", b"#EXTM3U\n")
    job = finished(kit, tmp_path, {"manifests": [master], "renditions": []})
    base = job["result"]["manifests"][0]["url"].rpartition("/")[0]

    assert kit.get(f"{base}/master.m3u8").content == b"#EXTM3U\n"
    assert kit.get(f"{base}/hls-96p-00000.m4s").content == DATA
    assert kit.get(f"{base}/hls-96p-00001.m4s").status_code == 404
    assert kit.get(f"{base}/..%2F..%2Fclips%2Fx.mp4").status_code == 404


def test_only_what_the_result_names_is_there(kit: Kit, tmp_path: Path, url: str) -> None:
    put(tmp_path, "clips/t/secret.mp4")
    base = url.rpartition("/")[0]

    for name in ("secret.mp4", "%2e%2e", "", "G%C3%B6al", "clips%2Ft%2Fsecret.mp4"):
        answer = kit.get(f"{base}/{name}")
        assert answer.status_code == 404, (name, answer.text[:200])


def test_another_tenant_sees_no_file(kit: Kit, url: str) -> None:
    assert kit.get(url, key="theirs").status_code == 404
    assert kit.get(url, key=None).status_code == 401


def test_a_file_that_was_taken_away_is_404(kit: Kit, tmp_path: Path, url: str) -> None:
    for one in (tmp_path / "media").rglob("*.mp4"):
        one.unlink()

    assert kit.get(url).status_code == 404


def test_files_elsewhere_keep_their_address(kit: Kit, tmp_path: Path) -> None:
    bucket = {"key": "a.mp4", "url": "https://s3.test/b/a.mp4", "destination": "s3://b"}

    job = finished(kit, tmp_path, {"file": bucket})

    assert job["result"]["file"]["url"] == bucket["url"]
    assert kit.get(f"/v1/jobs/{job['id']}/files/a.mp4").status_code == 404
