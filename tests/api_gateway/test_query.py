"""What a connector holds is queried: by text, filters and metadata, sorted, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from connectors.base import ConnectorEnv
from connectors.egress import Egress
from pipelines.localize import file_digest
from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo
from schemas.times import parse_rfc3339
from store.localized import Localized, Place
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.gateway_kit import FILE_ID, NOW_MS, Kit, a_kit

FILES = {
    "news/a.mp4": b"1",
    "news/b.mp4": b"22",
    "news/notes.txt": b"333",
    "sport/Goal of the day.mxf": b"4444",
    "top.mov": b"55555",
}


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    for name, data in FILES.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    with a_kit(tmp_path, local_folders=(str(tmp_path / "files"),)) as made:
        yield made


@pytest.fixture
def folder(kit: Kit, tmp_path: Path) -> str:
    return kit.connector("Files", type="local", config={"folder": str(tmp_path / "files")})


def ask(kit: Kit, connector_id: str, **body: Any) -> Any:
    answer = kit.post(f"/v1/connectors/{connector_id}/query", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(found: Any) -> list[str]:
    return [item["fileId"] for item in found["items"]]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ["news", "sport", "top.mov"]),
        ({"path": "news"}, ["news/a.mp4", "news/b.mp4", "news/notes.txt"]),
        ({"path": "news/"}, ["news/a.mp4", "news/b.mp4", "news/notes.txt"]),
        ({"path": "news", "sort": "-name"}, ["news/notes.txt", "news/b.mp4", "news/a.mp4"]),
        ({"path": "news", "sort": "-size"}, ["news/notes.txt", "news/b.mp4", "news/a.mp4"]),
        ({"text": "GOAL"}, ["sport/Goal of the day.mxf"]),
        ({"filters": {"kind": "file"}}, ["top.mov"]),
        ({"text": ".mp4", "filters": {"size": "2"}}, ["news/b.mp4"]),
        ({"path": "news", "text": "nothing like it"}, []),
    ],
)
def test_entries_are_found(kit: Kit, folder: str, body: dict[str, Any], found: list[str]) -> None:
    assert names(ask(kit, folder, **body)) == found


def test_an_entry_tells_what_its_system_does(kit: Kit, folder: str, tmp_path: Path) -> None:
    (entry,) = ask(kit, folder, text="a.mp4")["items"]

    at_ms = (tmp_path / "files/news/a.mp4").stat().st_mtime_ns // 10**6
    assert entry["modifiedAt"].endswith("Z")
    assert abs(parse_rfc3339(entry["modifiedAt"]) - at_ms) <= 1
    assert {k: v for k, v in entry.items() if k != "modifiedAt"} == {
        "fileId": "news/a.mp4",
        "name": "a.mp4",
        "kind": "file",
        "size": 1,
        "durationMs": None,
        "contentType": "video/mp4",
        "thumbnailUrl": f"/v1/connectors/{folder}/files/news%2Fa.mp4/thumbnail",
        "localized": False,
    }


def test_pages_show_everything_once(kit: Kit, folder: str) -> None:
    seen, cursor, pages = list[str](), None, 0
    while pages == 0 or cursor is not None:
        found = ask(kit, folder, path="news", limit=2, cursor=cursor)
        seen, cursor, pages = seen + names(found), found["nextCursor"], pages + 1

    assert (seen, pages) == (["news/a.mp4", "news/b.mp4", "news/notes.txt"], 2)


def test_pictures_are_offered_of_video_alone_and_work(kit: Kit, folder: str) -> None:
    found = {e["fileId"]: e["thumbnailUrl"] for e in ask(kit, folder, text=".")["items"]}

    shown = kit.get(found["sport/Goal of the day.mxf"])
    assert {name for name, url in found.items() if url} == set(FILES) - {"news/notes.txt"}
    assert shown.status_code == 202, shown.text
    assert shown.json()["request"]["fileId"] == "sport/Goal of the day.mxf"


def test_channels_are_entries_with_a_picture_of_a_minute_ago(kit: Kit) -> None:
    channels = [
        {"id": f"ch{n}", "name": f"News {n}", "url": f"http://127.0.0.1:9/{n}.m3u8"}
        for n in range(3)
    ]
    live = kit.connector("Live", config={"channels": channels})

    found = ask(kit, live, text="news", limit=2)
    rest = ask(kit, live, text="news", limit=2, cursor=found["nextCursor"])
    picture = kit.get(found["items"][0]["thumbnailUrl"])

    assert names(found) + names(rest) == ["ch0", "ch1", "ch2"]
    assert {item["kind"] for item in found["items"]} == {"channel"}
    assert names(ask(kit, live, path="somewhere")) == []
    assert picture.status_code == 202, picture.text
    assert picture.json()["kind"] == "sprite"


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("http", {"baseUrl": "http://127.0.0.1:9/"}),
        ("xmltv", {"url": "http://127.0.0.1:9/guide.xml"}),
    ],
)
def test_a_type_that_cannot_list_says_so(kit: Kit, kind: str, config: dict[str, Any]) -> None:
    connector = kit.connector("Other", type=kind, config=config)

    answer = kit.post(f"/v1/connectors/{connector}/query", {})

    assert (answer.status_code, answer.json()["code"]) == (501, "not_supported")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"filters": {"colour": "red"}}, "filter_unknown", "/filters/colour"),
        ({"filters": {"metadata.a.b.c": "red"}}, "filter_unknown", "/filters/metadata.a.b.c"),
        ({"filters": {"metadata.": "red"}}, "filter_unknown", "/filters/metadata."),
        (
            {"filters": {"metadata.news-clip.colour": "red"}},
            "filter_unknown",
            "/filters/metadata.news-clip.colour",
        ),
        (
            {"filters": {"metadata.headline": "x"}, "sort": "-size"},
            "sort_unknown",
            "/sort",
        ),
        ({"sort": "colour"}, "invalid", "/sort"),
        ({"cursor": "nonsense"}, "cursor_invalid", "/cursor"),
        ({"path": "../etc"}, "file_id_invalid", "/path"),
        ({"limit": 501}, "invalid", "/limit"),
        ({"odd": 1}, "invalid", "/odd"),
    ],
)
def test_what_makes_no_sense_is_refused(
    kit: Kit, folder: str, body: dict[str, Any], code: str, pointer: str
) -> None:
    answer = kit.post(f"/v1/connectors/{folder}/query", body)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), answer.text
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


def test_a_cursor_goes_on_with_its_own_question_alone(kit: Kit, folder: str) -> None:
    cursor = ask(kit, folder, path="news", limit=1)["nextCursor"]

    other = kit.post(f"/v1/connectors/{folder}/query", {"path": "sport", "cursor": cursor})
    more = ask(kit, folder, path="news", limit=2, cursor=cursor)

    assert (other.status_code, other.json()["code"]) == (422, "cursor_invalid")
    assert names(more) == ["news/b.mp4", "news/notes.txt"]


def test_a_folder_that_is_not_there_is_404(kit: Kit, folder: str) -> None:
    answer = kit.post(f"/v1/connectors/{folder}/query", {"path": "none"})

    assert (answer.status_code, answer.json()["code"]) == (404, "source_not_found")


def test_a_system_that_fails_is_502(kit: Kit) -> None:
    config = {"host": "127.0.0.1", "port": 9}
    connector = kit.connector("Ftp", type="ftp", config=config)

    answer = kit.post(f"/v1/connectors/{connector}/query", {})

    assert (answer.status_code, answer.json()["code"]) == (502, "upstream")


# --- by what is known of files


def know(kit: Kit, connector_id: str, file_id: str, view: str = "news-clip", **values: Any) -> None:
    body: dict[str, Any] = {"view": view, "values": values}
    if view == "sport-log":
        body["startMs"] = 1
    path = f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}/metadata"
    assert kit.post(path, body).status_code == 201


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"filters": {"metadata.headline": "FIRE"}}, ["news/a.mp4", "news/b.mp4", "top.mov"]),
        (
            {"filters": {"metadata.headline": "fire", "metadata.sport-log.event": "goal"}},
            ["news/b.mp4"],
        ),
        ({"filters": {"metadata.headline": "fire"}, "path": "news"}, ["news/a.mp4", "news/b.mp4"]),
        ({"filters": {"metadata.headline": "fire"}, "text": "top"}, ["top.mov"]),
        ({"filters": {"metadata.headline": "fire", "size": "2"}}, ["news/b.mp4"]),
        ({"filters": {"metadata.priority": "3"}}, ["top.mov"]),
        ({"filters": {"metadata.headline": "rain"}}, []),
    ],
)
def test_files_are_found_by_their_metadata(
    kit: Kit, folder: str, body: dict[str, Any], found: list[str]
) -> None:
    for file_id in ("top.mov", "news/a.mp4", "news/b.mp4", "gone.mp4"):
        more = {"priority": 3} if file_id == "top.mov" else {}
        know(kit, folder, file_id, headline="Fire", **more)
    know(kit, folder, "news/b.mp4", "sport-log", event="goal")

    assert names(ask(kit, folder, **body)) == found


def test_what_is_found_by_metadata_comes_page_by_page(kit: Kit, folder: str) -> None:
    for file_id in ("news/a.mp4", "news/b.mp4", "top.mov"):
        know(kit, folder, file_id, headline="Fire")
    wanted = {"filters": {"metadata.news-clip.headline": "fire"}, "limit": 2}

    first = ask(kit, folder, **wanted)
    rest = ask(kit, folder, **wanted, cursor=first["nextCursor"])

    assert (names(first), names(rest)) == (["news/a.mp4", "news/b.mp4"], ["top.mov"])
    assert rest["nextCursor"] is None


def test_a_clip_is_found_by_its_metadata(kit: Kit) -> None:
    live = kit.connector()
    know(kit, live, FILE_ID, headline="Goal")
    know(kit, live, "main", headline="Goal")

    found = ask(kit, live, filters={"metadata.headline": "goal"})["items"]

    assert [(e["kind"], e["thumbnailUrl"] is not None) for e in found] == [
        ("file", True),
        ("channel", True),
    ]


# --- and what is held here


def hold(kit: Kit, connector_id: str, file_id: str) -> None:
    with kit.gateway.catalog.read() as tx:
        connector = tx.connectors.get(kit.mine.tenant_id, connector_id)
    place = Place(kit.mine.tenant_id, connector.fingerprint, file_digest(file_id))
    Localized(kit.gateway.store).put(
        place,
        LocalizedFile(
            tenant_id=place.tenant_id,
            fingerprint=place.fingerprint,
            connector_id=connector_id,
            file_id=file_id,
            job_id="job_1",
            key="k.mp4",
            record_key="k.json",
            size=1,
            sha256="0" * 64,
            content_type="video/mp4",
            validators=Validators(size=1),
            media=MediaInfo(container="mp4", size=1, duration_ms=61_000, streams=()),
            localized_ms=NOW_MS,
        ),
    )


def test_an_equal_connector_finds_what_a_deleted_one_had_localized(
    kit: Kit, folder: str, tmp_path: Path
) -> None:
    hold(kit, folder, "news/a.mp4")
    kit.ask("DELETE", f"/v1/connectors/{folder}")
    listed = kit.get("/v1/connectors").json()["items"]
    with_deleted = kit.get("/v1/connectors?withLocalized=true").json()["items"]

    again = kit.connector("Again", type="local", config={"folder": str(tmp_path / "files")})
    found = {e["fileId"]: e for e in ask(kit, again, path="news")["items"]}
    other = kit.connector("Other", type="local", config={"folder": str(tmp_path / "files/news")})

    assert listed == []
    assert [(c["id"], c["localized"]) for c in with_deleted] == [(folder, True)]
    assert with_deleted[0]["deletedAt"]
    assert kit.get(f"/v1/connectors/{again}").json()["localized"] is True
    assert kit.get(f"/v1/connectors/{other}").json()["localized"] is False
    assert {name for name, entry in found.items() if entry["localized"]} == {"news/a.mp4"}
    assert found["news/a.mp4"]["durationMs"] == 61_000


def test_a_bucket_is_queried_as_it_pages_itself(kit: Kit) -> None:
    egress = Egress(allow_cidrs=("127.0.0.0/8",))
    kit.gateway.env = ConnectorEnv(egress=egress, settings=kit.gateway.settings, clock=kit.clock)
    with moto_server() as endpoint:
        store = client_for(endpoint)
        for name, data in FILES.items():
            store.put_object(Bucket=BUCKET, Key=name, Body=data)
        auth = {"accessKeyId": KEYS["access_key_id"], "secretAccessKey": KEYS["secret_access_key"]}
        bucket = kit.connector(
            "Bucket", type="s3", config={"bucket": BUCKET, "endpoint": endpoint}, auth=auth
        )

        top = ask(kit, bucket)
        first = ask(kit, bucket, path="news", limit=2)
        rest = ask(kit, bucket, path="news", limit=2, cursor=first["nextCursor"])
        largest = ask(kit, bucket, text=".m", sort="-size")

    egress.close()
    assert set(names(top)) == {"news", "sport", "top.mov"}
    assert names(first) + names(rest) == ["news/a.mp4", "news/b.mp4", "news/notes.txt"]
    assert names(largest)[:2] == ["top.mov", "sport/Goal of the day.mxf"]
