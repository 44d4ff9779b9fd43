"""A file at its source: where to read it, what it holds, and its XMP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from connectors.base import ConnectorEnv
from connectors.egress import Egress
from pipelines.localize import file_digest
from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo, StreamInfo
from store.jobs import RedisLedger
from store.localized import Localized, Place
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.gateway_kit import CANONICAL, FILE_ID, NOW_MS, Kit, a_kit
from tests.media_builder import StreamSpec, build, write_mp4
from tests.xmp_reader import read_xmp
from workers import handlers
from workers.addresses import file_address
from workers.lifecycle import run_job
from workers.probe import WORK
from workers.runtime import Runtime

SPEC = StreamSpec(seconds=2, size=(128, 96))
NAME = "shows/a b.mp4"
CLIP_START = 1643957046000


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    (tmp_path / "files/shows").mkdir(parents=True)
    with a_kit(tmp_path, local_folders=(str(tmp_path / "files"),), source_wait_s=0.0) as made:
        egress = Egress(allow_cidrs=("127.0.0.0/8",))
        made.gateway.env = ConnectorEnv(
            egress=egress, settings=made.gateway.settings, clock=made.clock
        )
        yield made
        egress.close()


@pytest.fixture
def folder(kit: Kit, tmp_path: Path) -> str:
    write_mp4(build(SPEC), tmp_path / "files" / NAME)
    return kit.connector("Files", type="local", config={"folder": str(tmp_path / "files")})


def path(connector_id: str, file_id: str = NAME, query: str = "") -> str:
    return f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}{query}"


def told(kit: Kit, connector_id: str, file_id: str = NAME) -> Any:
    answer = kit.get(path(connector_id, file_id))
    assert answer.status_code == 200, answer.text
    return answer.json()


def work(kit: Kit, place: Path) -> None:
    """The worker's part, for the probe that is queued."""
    gateway = kit.gateway
    made, world = handlers.build(gateway.settings)
    runtime = Runtime(
        ledger=RedisLedger(gateway.store),
        works={"probe": WORK},
        handlers=made,
        world=replace(
            world, sealer=gateway.sealer, media_store=gateway.media_store, env=gateway.env
        ),
        work_dir=place / "work",
        owner="w",
    )
    assert run_job("probe", runtime)


def packet(kit: Kit, connector_id: str, file_id: str, place: Path) -> dict[str, str]:
    answer = kit.get(path(connector_id, file_id), headers={"Accept": "application/rdf+xml"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/rdf+xml; charset=utf-8"
    return read_xmp(answer.text, place)


def test_a_file_nobody_has_looked_at_is_looked_at_by_a_worker(
    kit: Kit, folder: str, tmp_path: Path
) -> None:
    first, again = told(kit, folder), told(kit, folder)
    work(kit, tmp_path)

    after = told(kit, folder)

    assert (first["streams"], first["durationMs"], first["probe"]["state"]) == (
        None, None, "pending",
    )  # fmt: skip
    assert first["size"] == (tmp_path / "files" / NAME).stat().st_size
    assert first["links"]["probe"] == again["links"]["probe"]
    assert kit.get(first["links"]["probe"]).json()["kind"] == "probe"
    assert (after["probe"]["state"], after["container"]) == ("known", "mp4")
    assert after["durationMs"] == pytest.approx(2000, abs=60)
    video = next(stream for stream in after["streams"] if stream["kind"] == "video")
    assert (video["codec"], video["width"], video["frameRate"]) == ("h264", 128, "25")
    assert "probe" not in after["links"]
    assert after["links"]["thumbnail"] == path(folder, NAME, "/thumbnail")
    assert (after["url"], after["urlExpiresAt"]) == (None, None)


def test_another_version_of_the_file_is_looked_at_anew(
    kit: Kit, folder: str, tmp_path: Path
) -> None:
    told(kit, folder)
    work(kit, tmp_path)
    write_mp4(build(replace(SPEC, seconds=4)), tmp_path / "files" / NAME)

    changed = told(kit, folder)

    assert changed["probe"]["state"] == "pending"


def test_what_is_no_media_says_so_and_is_not_tried_again(
    kit: Kit, folder: str, tmp_path: Path
) -> None:
    (tmp_path / "files/notes.txt").write_text("words")
    told(kit, folder, "notes.txt")
    work(kit, tmp_path)

    found = told(kit, folder, "notes.txt")

    assert found["probe"]["state"] == "failed"
    assert found["probe"]["code"] == "media_invalid"
    assert (found["streams"], found["contentType"]) == (None, "text/plain")
    assert len(kit.get("/v1/jobs?kind=probe").json()["items"]) == 1
    assert packet(kit, folder, "notes.txt", tmp_path)["Xmp.dc.format"] == "text/plain"


def a_copy(kit: Kit, folder: str, **changes: Any) -> LocalizedFile:
    """A copy of the file is held, as it is at its source now."""
    with kit.gateway.catalog.read() as tx:
        connector = tx.connectors.get(kit.mine.tenant_id, folder)
    opened = kit.gateway.registry.open(connector.ref, kit.gateway.sealer, kit.gateway.env)
    entry = opened.stat(NAME)  # type: ignore[attr-defined]
    place = Place(kit.mine.tenant_id, connector.fingerprint, file_digest(NAME))
    stream = StreamInfo(index=0, kind="audio", codec="opus")
    record = LocalizedFile(
        tenant_id=place.tenant_id, fingerprint=place.fingerprint, connector_id=folder,
        file_id=NAME, job_id="job_1", key="k", record_key="r", size=entry.size or 0,
        sha256="0" * 64, content_type="video/mp4", localized_ms=NOW_MS,
        validators=Validators(size=entry.size, etag=entry.etag, modified_ms=entry.modified_ms),
        media=MediaInfo(container="ogg", size=1, duration_ms=9, streams=(stream,)),
    ).model_copy(update=changes)  # fmt: skip
    Localized(kit.gateway.store).put(place, record)
    return record


def test_a_localized_copy_tells_what_the_file_holds(kit: Kit, folder: str) -> None:
    a_copy(kit, folder)

    found = told(kit, folder)

    assert (found["localized"], found["durationMs"], found["container"]) == (True, 9, "ogg")
    assert kit.get("/v1/jobs?kind=probe").json()["items"] == []


def test_a_copy_is_read_where_its_source_is_not(kit: Kit, folder: str, tmp_path: Path) -> None:
    job_id = kit.post(f"{path(folder)}/localize").json()["id"]
    record = a_copy(kit, folder, job_id=job_id, key="localized/a b.mp4")
    before = told(kit, folder)["url"]
    (tmp_path / "media" / "localized").mkdir(parents=True)
    (tmp_path / "media" / record.key).write_bytes(b"copied")
    ledger = RedisLedger(kit.gateway.store)
    lease = ledger.claim("localize", "w", job_id)
    assert lease is not None
    ledger.finish(lease, {"file": {"key": record.key, "url": file_address(job_id, record.key)}})

    url = told(kit, folder)["url"]

    assert before is None
    assert kit.get(url).content == b"copied"
    (tmp_path / "files" / NAME).write_bytes(b"another version")
    assert told(kit, folder)["url"] is None


def test_the_url_of_a_bucket_works_for_an_hour_without_a_credential(
    kit: Kit, tmp_path: Path
) -> None:
    with moto_server() as endpoint:
        client_for(endpoint).put_object(Bucket=BUCKET, Key=NAME, Body=b"media")
        auth = {"accessKeyId": KEYS["access_key_id"], "secretAccessKey": KEYS["secret_access_key"]}
        bucket = kit.connector(
            "Bucket", type="s3", config={"bucket": BUCKET, "endpoint": endpoint}, auth=auth
        )

        answer = kit.get(path(bucket))
        found = answer.json()

        assert httpx.get(found["url"]).content == b"media"
    assert found["urlExpiresAt"] == "2022-02-04T08:33:20.000Z"
    assert (found["size"], found["name"]) == (5, "a b.mp4")
    assert answer.headers["cache-control"] == "no-store"
    assert KEYS["secret_access_key"] not in answer.text


def test_xmp_tells_what_is_known_and_what_was_written_down(
    kit: Kit, folder: str, tmp_path: Path
) -> None:
    records: list[dict[str, Any]] = [
        {"view": "dublin-core", "values": {"title": "The Show", "subject": "fire, Wien"}},
        {"view": "sport-log", "values": {"event": "goal", "player": "Ü"}, "startMs": 1000,
         "endMs": 1500},
    ]  # fmt: skip
    for record in records:
        assert kit.post(path(folder, NAME, "/metadata"), record).status_code == 201
    early = kit.get(path(folder, NAME, "?format=xmp"))
    work(kit, tmp_path)

    found = packet(kit, folder, NAME, tmp_path)

    assert (early.status_code, early.json()["kind"]) == (202, "probe")
    assert early.headers["location"] == f"/v1/jobs/{early.json()['id']}"
    assert found["Xmp.dc.title"] == 'lang="x-default" The Show'
    assert found["Xmp.dc.subject"] == "fire, Wien"
    assert found["Xmp.xmpDM.videoFrameRate"] == "25"
    marker = "Xmp.xmpDM.Tracks[1]/xmpDM:markers[1]"
    assert found["Xmp.xmpDM.Tracks[1]/xmpDM:trackName"] == "Sport log"
    assert (found[f"{marker}/xmpDM:startTime"], found[f"{marker}/xmpDM:duration"]) == ("25", "12")
    assert found[f"{marker}/xmpDM:name"] == "goal"
    tag = kit.get(path(folder, NAME, "?format=xmp")).headers["etag"]
    held = kit.get(path(folder, NAME, "?format=xmp"), headers={"If-None-Match": tag})
    assert held.status_code == 304


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("?format=json", "application/rdf+xml", 200),
        ("?format=pdf", None, 406),
        ("", "image/png", 406),
        ("", "application/json;q=0.5, */*;q=0.1", 200),
        ("", "application/rdf+xml;q=0, application/json", 200),
    ],
)
def test_only_json_and_xmp_are_to_be_had(
    kit: Kit, folder: str, query: str, accept: str | None, status: int
) -> None:
    headers = {} if accept is None else {"Accept": accept}

    answer = kit.get(path(folder, NAME, query), headers=headers)

    assert answer.status_code == status, answer.text
    if status == 406:
        assert answer.json()["code"] == "not_acceptable"


def test_a_file_that_is_not_there_is_404(kit: Kit, folder: str) -> None:
    answer = kit.get(path(folder, "none.mp4"))

    assert (answer.status_code, answer.json()["code"]) == (404, "source_not_found")


def test_a_system_that_fails_is_502(kit: Kit) -> None:
    connector = kit.connector("Web", type="http", config={"baseUrl": "http://127.0.0.1:9/"})

    answer = kit.get(path(connector))

    assert (answer.status_code, answer.json()["code"]) == (502, "upstream")


def test_a_channel_is_its_playlist(kit: Kit) -> None:
    found = told(kit, kit.connector(), "main")

    assert (found["kind"], found["url"]) == ("channel", "http://127.0.0.1:9/live.m3u8")
    assert (found["streams"], found["probe"]["state"]) == (None, "none")


def test_a_guide_has_no_files(kit: Kit) -> None:
    guide = kit.connector("G", type="xmltv", config={"url": "http://127.0.0.1:9/g.xml"})

    answer = kit.get(path(guide))

    assert (answer.status_code, answer.json()["code"]) == (501, "not_supported")


# --- clips


def clip_made(kit: Kit, connector_id: str, media: Path) -> None:
    """The worker's part: the clip is cut and published."""
    job_id = kit.clip(connector_id).json()["id"]
    ledger = RedisLedger(kit.gateway.store)
    lease = ledger.claim("clip", "w", job_id)
    assert lease is not None
    key = "clips/made.mp4"
    (media / "clips").mkdir(parents=True)
    write_mp4(build(SPEC), media / key)
    file = {"key": key, "url": f"file://{media / key}", "sha256": "ab" * 32, "durationMs": 2000}
    delivered = {"startMs": CLIP_START + 40, "endMs": CLIP_START + 2040}
    ledger.finish(lease, {"file": file, "delivered": delivered, "startTimecode": "10:00:00:00"})


def test_a_clip_is_its_published_file(kit: Kit, tmp_path: Path) -> None:
    connector = kit.connector()
    early = kit.get(path(connector, FILE_ID))
    other = kit.clip(connector, FILE_ID.replace("123498625", "queued")).json()["id"]
    queued = kit.get(path(connector, FILE_ID.replace("123498625", "queued")))
    kit.post(f"/v1/jobs/{other}/cancel")
    clip_made(kit, connector, tmp_path / "media")
    told(kit, connector, FILE_ID)
    work(kit, tmp_path)

    found = told(kit, connector, FILE_ID)

    assert (early.status_code, queued.status_code) == (404, 404)
    assert "queued" in queued.json()["detail"]
    assert (found["fileId"], found["kind"], found["name"]) == (CANONICAL, "clip", "made.mp4")
    assert found["url"] == f"file://{tmp_path}/media/clips/made.mp4"
    assert (found["durationMs"], found["startTimecode"]) == (
        pytest.approx(2000, abs=60), "10:00:00:00",
    )  # fmt: skip
    assert {stream["kind"] for stream in found["streams"]} == {"video", "audio"}


def test_the_xmp_of_a_clip_has_the_markers_of_its_channel(kit: Kit, tmp_path: Path) -> None:
    connector, channel = kit.connector(), CANONICAL.partition("/")[0]
    goal = {"view": "sport-log", "values": {"event": "goal"}}
    for start_ms in (CLIP_START + 1040, CLIP_START - 5000, CLIP_START + 2040):
        made = kit.post(path(connector, channel, "/metadata"), {**goal, "startMs": start_ms})
        assert made.status_code == 201
    own = {"view": "news-clip", "values": {"headline": "Own title"}}
    kit.post(path(connector, FILE_ID, "/metadata"), own)
    clip_made(kit, connector, tmp_path / "media")
    told(kit, connector, FILE_ID)
    work(kit, tmp_path)

    found = packet(kit, connector, FILE_ID, tmp_path)

    assert found["Xmp.dc.title"] == 'lang="x-default" Own title'
    assert found["Xmp.xmpDM.startTimecode/xmpDM:timeValue"] == "10:00:00:00"
    assert found["Xmp.xmp.CreateDate"] == "2022-02-04T06:44:06.040Z"
    assert found["Xmp.xmpDM.Tracks[2]/xmpDM:markers[1]/xmpDM:startTime"] == "25"
    assert "Xmp.xmpDM.Tracks[2]/xmpDM:markers[2]/xmpDM:startTime" not in found


def test_a_clip_whose_file_is_gone_is_404(kit: Kit, tmp_path: Path) -> None:
    connector = kit.connector()
    clip_made(kit, connector, tmp_path / "media")
    (tmp_path / "media/clips/made.mp4").unlink()

    answer = kit.get(path(connector, FILE_ID))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
