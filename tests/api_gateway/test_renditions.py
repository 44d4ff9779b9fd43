"""Renditions over HTTP: recipes kept, changed, refused; jobs that carry them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import CreateRenditions, parse_command
from store.jobs import RedisLedger
from tests.gateway_kit import CANONICAL, FILE_ID, Kit, a_kit

RECIPE = {
    "name": "720p",
    "container": "mp4",
    "video": {"codec": "h264", "height": 720, "bitrate": 3_000_000, "fps": "30000/1001"},
    "audio": {"codec": "aac", "bitrate": 96_000},
}


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with a_kit(tmp_path, local_folders=(str(tmp_path),)) as made:
        yield made


def a_folder(kit: Kit, tmp_path: Path) -> str:
    return kit.connector("Files", type="local", config={"folder": str(tmp_path)})


def a_rendition(kit: Kit, **changes: Any) -> str:
    answer = kit.post("/v1/renditions", RECIPE | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def a_job(kit: Kit, connector: str, ids: list[str], path: str = "web/goal", **more: Any) -> Any:
    body = {"renditionIds": ids, "destination": {"path": path, **more}}
    return kit.post(f"/v1/connectors/{connector}/files/a.mp4/renditions", body)


def the_command(kit: Kit, job_id: str) -> CreateRenditions:
    lease = RedisLedger(kit.gateway.store).claim("rendition", "test", "nonce")
    assert lease is not None
    assert lease.job_id == job_id
    command = parse_command(lease.command)
    assert isinstance(command, CreateRenditions)
    return command


def test_a_recipe_is_kept_listed_and_read_back(kit: Kit) -> None:
    made = kit.post("/v1/renditions", RECIPE)

    read = kit.get(made.headers["location"])
    listed = kit.get("/v1/renditions").json()["items"]

    assert made.status_code == 201
    assert read.json()["video"]["fps"] == "30000/1001"
    assert read.json()["video"]["height"] == 720
    assert [one["name"] for one in listed] == ["720p"]
    assert read.headers["etag"] == made.headers["etag"]


def test_a_name_is_one_recipes(kit: Kit) -> None:
    a_rendition(kit)

    again = kit.post("/v1/renditions", RECIPE)

    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


def test_a_merge_patch_changes_what_it_names(kit: Kit) -> None:
    made = a_rendition(kit)
    tag = kit.get(f"/v1/renditions/{made}").headers["etag"]

    patch = {"video": {"bitrate": None, "crf": 22}, "audio": None}
    changed = kit.patch(f"/v1/renditions/{made}", patch, headers={"If-Match": tag})
    stale = kit.patch(f"/v1/renditions/{made}", {"name": "x"}, headers={"If-Match": tag})

    assert changed.status_code == 200, changed.text
    assert changed.json()["video"]["crf"] == 22
    assert changed.json()["video"]["height"] == 720
    assert changed.json()["audio"] is None
    assert stale.status_code == 412


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"container": "webm"}, ""),
        ({"video": {"codec": "h264", "bitrate": 1_000_000, "crf": 20}}, "video"),
        ({"video": {"codec": "hevc", "crf": 60}}, "video"),
        ({"video": {"codec": "av1", "height": 32}}, "video"),
        ({"video": {"codec": "h264", "height": 721}}, "video/height"),
        ({"video": {"codec": "h264", "height": 720, "fit": "crop"}}, "video"),
        ({"video": None, "audio": None}, ""),
        ({"video": None, "subtitles": "burn_in"}, ""),
        ({"packaging": "hls", "container": "mkv"}, ""),
        ({"packaging": "dash", "video": {"codec": "h264", "rotation": "keep"}}, ""),
        ({"packaging": "hls", "video": {"codec": "h264", "fps": 25, "gop": 600}}, ""),
        ({"audio": {"codec": "opus", "bitrate": 600_000, "channels": 2}}, "audio"),
        ({"audio": {"codec": "aac", "channels": 9}}, "audio/channels"),
        ({"audio": {"codec": "aac", "loudnessLufs": 3}}, "audio/loudnessLufs"),
        ({"video": {"codec": "mpeg2"}}, "video/codec"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_recipe_that_cannot_be_made_is_refused_when_it_is_written_down(
    kit: Kit, changes: dict[str, Any], pointer: str
) -> None:
    made = a_rendition(kit)

    created = kit.post("/v1/renditions", {**RECIPE, "name": "other", **changes})
    patched = kit.patch(f"/v1/renditions/{made}", changes)

    assert created.status_code == 422, created.text
    assert pointer in created.json()["errors"][0]["pointer"]
    assert patched.status_code in {200, 422}
    if patched.status_code == 200:
        # A merge keeps the parts the patch does not name, so this one may be sound.
        assert kit.get(f"/v1/renditions/{made}").json() == patched.json()


def test_a_job_carries_the_recipe_as_it_was(kit: Kit, tmp_path: Path) -> None:
    connector, made = a_folder(kit, tmp_path), a_rendition(kit)

    job = a_job(kit, connector, [made, "vertical-1080x1920"])
    kit.patch(f"/v1/renditions/{made}", {"video": {"height": 360}})
    command = the_command(kit, job.json()["id"])

    assert job.status_code == 202, job.text
    assert job.headers["location"] == f"/v1/jobs/{job.json()['id']}"
    assert job.json()["kind"] == "rendition"
    heights = [r.video.height for r in command.recipes if r.video]
    assert heights == [720, 1920]
    assert command.destination.key == f"renditions/{kit.mine.tenant_id}/web/goal"


def test_a_clip_is_a_file_too(kit: Kit) -> None:
    connector = kit.connector()
    path = f"/v1/connectors/{connector}/files/{FILE_ID.replace('/', '%2F')}/renditions"

    job = kit.post(path, {"renditionIds": ["h264-720p"]})
    command = the_command(kit, job.json()["id"])

    assert job.status_code == 202, job.text
    assert command.stored_key is not None
    assert CANONICAL.rpartition("-")[2] in command.stored_key


def test_an_output_goes_to_a_connector_that_can_be_written_to(kit: Kit, tmp_path: Path) -> None:
    connector = a_folder(kit, tmp_path)

    job = a_job(kit, connector, ["h264-720p"], connectorId=connector)
    live = a_job(kit, connector, ["h264-720p"], connectorId=kit.connector())
    unknown = a_job(kit, connector, ["h264-720p"], connectorId="con_nothing")

    assert job.status_code == 202, job.text
    assert (live.status_code, live.json()["code"]) == (501, "not_supported")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "destination_unknown")


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (["ren_nothing"], "rendition_unknown"),
        ([], "invalid"),
        (["h264-720p"] * 17, "invalid"),
        (["ladder-hls"] * 5, "invalid"),
        (["ladder-hls", "{odd}"], "recipes_clash"),
    ],
)
def test_a_job_of_what_cannot_be_made_is_refused(
    kit: Kit, tmp_path: Path, ids: list[str], code: str
) -> None:
    connector = a_folder(kit, tmp_path)
    odd = a_rendition(kit, name="odd", packaging="hls", segmentMs=3000)

    answer = a_job(kit, connector, [one.replace("{odd}", odd) for one in ids])

    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/./b", ""])
def test_a_path_that_leads_elsewhere_is_refused(kit: Kit, tmp_path: Path, path: str) -> None:
    answer = a_job(kit, a_folder(kit, tmp_path), ["h264-720p"], path=path)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/destination/path"


def test_a_rendition_in_use_is_kept_until_its_jobs_have_ended(kit: Kit, tmp_path: Path) -> None:
    connector, made = a_folder(kit, tmp_path), a_rendition(kit)
    job = a_job(kit, connector, [made]).json()["id"]

    refused = kit.ask("DELETE", f"/v1/renditions/{made}")
    kit.post(f"/v1/jobs/{job}/cancel")
    deleted = kit.ask("DELETE", f"/v1/renditions/{made}")

    assert (refused.status_code, refused.json()["code"]) == (409, "rendition_in_use")
    assert deleted.status_code == 204
    assert kit.get(f"/v1/renditions/{made}").status_code == 404


def test_one_key_makes_one_job(kit: Kit, tmp_path: Path) -> None:
    connector = a_folder(kit, tmp_path)
    path = f"/v1/connectors/{connector}/files/a.mp4/renditions"
    body = {"renditionIds": ["h264-720p"]}

    first, again, other = (
        kit.post(path, sent, headers={"Idempotency-Key": "k1"})
        for sent in (body, body, {"renditionIds": ["audio-aac"]})
    )

    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
