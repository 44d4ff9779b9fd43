"""Thumbnails over the API: made by the worker on the first request, answered under an ETag."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from connectors.egress import Egress
from schemas.jobs import JobError
from store.jobs import RedisLedger
from store.thumbs import Thumbs
from tests.e2e.sprite_kit import number_of
from tests.file_origin import file_origin
from tests.gateway_kit import FILE_ID, Kit, a_kit
from tests.media_builder import StreamSpec, build, write_mp4
from workers import handlers
from workers.lifecycle import run_job
from workers.runtime import Runtime
from workers.sprite import WORK

SPEC = StreamSpec(seconds=4, gop=25, audio=())
NAME = "shows/a b.mp4"
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    (tmp_path / "files/shows").mkdir(parents=True)
    with a_kit(tmp_path, local_folders=(str(tmp_path / "files"),)) as made:
        yield made


@pytest.fixture
def connector(kit: Kit, tmp_path: Path) -> str:
    write_mp4(build(SPEC), tmp_path / "files" / NAME)
    return files(kit, tmp_path)


def files(kit: Kit, folder: Path) -> str:
    return kit.connector("Files", type="local", config={"folder": str(folder / "files")})


def path(connector_id: str, query: str = "", file_id: str = NAME) -> str:
    return f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}/thumbnail?{query}"


def work(kit: Kit, folder: Path) -> None:
    """The worker's part, for the job that is queued."""
    gateway = kit.gateway
    made, world = handlers.build(gateway.settings)
    runtime = Runtime(
        ledger=RedisLedger(gateway.store),
        works={"sprite": WORK},
        handlers=made,
        world=replace(world, sealer=gateway.sealer, media_store=gateway.media_store),
        work_dir=folder / "work",
        owner="w",
    )
    assert run_job("sprite", runtime)


def shown(answer: httpx.Response) -> int | None:
    assert answer.status_code == 200, answer.text
    return number_of(Image.open(io.BytesIO(answer.content)))


def test_a_poster_is_made_once_and_then_answered_from_the_store(
    kit: Kit, connector: str, tmp_path: Path
) -> None:
    first = kit.get(path(connector, "atMs=2000"))
    again = kit.get(path(connector, "atMs=2000"))
    work(kit, tmp_path)

    picture = kit.get(path(connector, "atMs=2000"))

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    assert picture.headers["content-type"] == "image/jpeg"
    assert shown(picture) == 50


def test_a_picture_that_is_held_is_not_sent_again(kit: Kit, connector: str, tmp_path: Path) -> None:
    kit.get(path(connector, "format=webp"))
    work(kit, tmp_path)
    picture = kit.get(path(connector, "format=webp"))

    again = kit.get(
        path(connector, "format=webp"), headers={"If-None-Match": picture.headers["etag"]}
    )

    assert picture.headers["content-type"] == "image/webp"
    assert "max-age" in picture.headers["cache-control"]
    assert (again.status_code, again.content) == (304, b"")


def test_a_sprites_cues_lead_to_its_sheets(kit: Kit, connector: str, tmp_path: Path) -> None:
    asked = "width=192&count=4"
    kit.get(path(connector, f"type=vtt&{asked}"))
    work(kit, tmp_path)

    cues = kit.get(path(connector, f"type=vtt&{asked}"))
    board = kit.get(path(connector, f"type=json&{asked}")).json()

    assert cues.headers["content-type"].startswith("text/vtt")
    address, _, place = cues.text.splitlines()[6].partition("#xywh=")
    left, top, width, height = map(int, place.split(","))
    sheet = kit.get(path(connector).partition("thumbnail?")[0] + address)
    tile = Image.open(io.BytesIO(sheet.content)).crop((left, top, left + width, top + height))
    assert number_of(tile) == 25
    assert board["sheets"] == [address]
    assert kit.get(path(connector, f"type=sprite&{asked}&sheet=1")).status_code == 404


def test_what_holds_no_video_is_404_and_not_tried_at_every_look(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "files/song.mp3").write_bytes(b"ID3\x04" + bytes(2000))
    connector = files(kit, tmp_path)
    assert kit.get(path(connector, file_id="song.mp3")).status_code == 202
    work(kit, tmp_path)
    before = len(jobs(kit))

    answer = kit.get(path(connector, file_id="song.mp3"))

    assert (answer.status_code, answer.json()["code"]) == (404, "media_invalid")
    assert len(jobs(kit)) == before


def test_what_was_taken_away_is_made_again(kit: Kit, connector: str, tmp_path: Path) -> None:
    kit.get(path(connector))
    work(kit, tmp_path)
    for one in (tmp_path / "media/thumbs").rglob("*.jpg"):
        one.unlink()

    answer = kit.get(path(connector))
    work(kit, tmp_path)

    assert answer.status_code == 202
    assert shown(kit.get(path(connector))) == 0


def test_a_file_that_was_replaced_gets_a_picture_of_its_own(
    kit: Kit, connector: str, tmp_path: Path
) -> None:
    kit.get(path(connector))
    work(kit, tmp_path)
    assert shown(kit.get(path(connector))) == 0
    write_mp4(build(replace(SPEC, first_number=500)), tmp_path / "files" / NAME)
    kit.gateway.versions.clear()

    answer = kit.get(path(connector))
    work(kit, tmp_path)

    assert answer.status_code == 202
    assert shown(kit.get(path(connector))) == 500


def test_a_picture_is_still_shown_while_its_source_is_away(tmp_path: Path) -> None:
    movie = write_mp4(build(SPEC), tmp_path / "movie.mp4").read_bytes()
    with a_kit(tmp_path, allow_cidrs=LOOPBACK) as kit:
        kit.gateway.env = replace(kit.gateway.env, egress=Egress(allow_cidrs=LOOPBACK))
        with file_origin(**{"movie.mp4": movie, "other.mp4": movie}) as origin:
            connector = kit.connector("Web", type="http", config={"baseUrl": origin.url})
            kit.get(path(connector, file_id="movie.mp4"))
            work(kit, tmp_path)
            there = kit.get(path(connector, file_id="movie.mp4"))
        kit.gateway.versions.clear()

        away = kit.get(path(connector, file_id="movie.mp4"))
        unknown = kit.get(path(connector, file_id="other.mp4"))

    assert (shown(there), shown(away)) == (0, 0)
    assert (unknown.status_code, unknown.json()["code"]) == (502, "upstream")


def test_what_is_looked_at_is_known_with_its_size(kit: Kit, connector: str, tmp_path: Path) -> None:
    for query in ("", "type=json&count=2"):
        kit.get(path(connector, query))
        work(kit, tmp_path)
        assert kit.get(path(connector, query)).status_code == 200

    known = Thumbs(kit.gateway.store).over(0)

    assert len(known) == 2
    held = sum(p.stat().st_size for p in (tmp_path / "media/thumbs").rglob("*") if p.is_file())
    assert Thumbs(kit.gateway.store).over(held) == []
    assert len(Thumbs(kit.gateway.store).over(held - 1)) == 1


def test_a_clip_that_was_not_made_is_shown_from_its_channel(kit: Kit) -> None:
    channel = kit.connector()

    answer = kit.get(path(channel, "atMs=1000", FILE_ID))

    assert answer.status_code == 202
    assert answer.json()["priority"] == "background"


def test_a_moment_that_rolled_out_of_the_window_is_gone(kit: Kit) -> None:
    asked = path(kit.connector(), "atMs=1000", FILE_ID)
    kit.get(asked)
    ledger = RedisLedger(kit.gateway.store)
    lease = ledger.claim("sprite", "w", "n")
    assert lease is not None
    ledger.fail(lease, JobError(code="out_of_window", message="held: later", retryable=False))

    answer = kit.get(asked)

    assert (answer.status_code, answer.json()["code"]) == (410, "out_of_window")


def test_pictures_of_one_tenant_are_not_another_ones(
    kit: Kit, connector: str, tmp_path: Path
) -> None:
    kit.get(path(connector))
    work(kit, tmp_path)

    assert kit.get(path(connector), key="theirs").status_code == 404


def jobs(kit: Kit) -> list[Any]:
    found: list[Any] = kit.get("/v1/jobs?kind=sprite").json()["items"]
    return found
