"""What a newsroom does with its content, through the real stack: find it, look at it, write down
what is known of it, and find that again in what is made."""

from __future__ import annotations

import json
import urllib.request
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import opentimelineio  # type: ignore[import-untyped]
import pytest

from tests.chaos.processes import until
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.e2e.service import Client, Service, file_id
from tests.media_builder import HlsAsset, StreamSpec, build, segment, write_mp4
from tests.origin import Origin
from tests.xmp_reader import read_xmp

pytestmark = [pytest.mark.slow, pytest.mark.redis]
NAME = "2022/evening show.mp4"


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


@pytest.fixture
def client(running: Service) -> Client:
    return running.client


def path(connector: str, name: str, tail: str = "") -> str:
    return f"/v1/connectors/{connector}/files/{quote(name, safe='')}{tail}"


def know(client: Client, connector: str, name: str, body: dict[str, Any]) -> None:
    answer = client.ask("POST", path(connector, name, "/metadata"), body)
    assert answer.status == 201, answer


def test_a_file_of_a_bucket_is_found_looked_at_and_described(
    client: Client, tmp_path: Path
) -> None:
    write_mp4(build(StreamSpec(seconds=4)), tmp_path / "show.mp4")
    with moto_server() as endpoint:
        store = client_for(endpoint)
        store.upload_file(str(tmp_path / "show.mp4"), BUCKET, NAME)
        store.put_object(Bucket=BUCKET, Key="2022/notes.txt", Body=b"words")
        body = {
            "type": "s3",
            "name": "Archive",
            "config": {"bucket": BUCKET, "endpoint": endpoint},
            "auth": {
                "accessKeyId": KEYS["access_key_id"],
                "secretAccessKey": KEYS["secret_access_key"],
            },
        }
        bucket = client.ask("POST", "/v1/connectors", body).body["id"]
        checked = client.ask("POST", f"/v1/connectors/{bucket}/auth-check", {}).body

        found = client.ask("POST", f"/v1/connectors/{bucket}/query", {"text": "SHOW"}).body
        source = client.get(path(bucket, NAME))
        until(
            lambda: client.get(path(bucket, NAME))["probe"]["state"] == "known",
            "a worker to look at the file",
        )
        source = client.get(path(bucket, NAME))
        with urllib.request.urlopen(source["url"]) as opened:
            data = opened.read()
        know(client, bucket, NAME, {"view": "dublin-core", "values": {"title": "Abendschau"}})
        know(client, bucket, NAME, {
            "view": "sport-log", "values": {"event": "goal", "team": "Rapid"}, "startMs": 1040,
        })  # fmt: skip
        query = {"filters": {"metadata.sport-log.team": "rapid"}}
        by_value = client.ask("POST", f"/v1/connectors/{bucket}/query", query).body
        searched = client.get(f"/v1/connectors/{bucket}/metadata?text=abend")
        packet = client.ask("GET", path(bucket, NAME), Accept="application/rdf+xml")
        picture = client.ask("GET", found["items"][0]["thumbnailUrl"])
        client.ended(picture.body["id"])
        connection, shown = client.open("GET", found["items"][0]["thumbnailUrl"])
        with closing(connection):
            jpeg = shown.read()

    assert (checked["valid"], checked["code"]) == (True, "ok")
    assert {"lists", "reads", "writes"} <= set(checked["capabilities"])
    assert [item["fileId"] for item in found["items"]] == [NAME]
    assert data == (tmp_path / "show.mp4").read_bytes()
    assert (picture.status, jpeg[:3]) == (202, b"\xff\xd8\xff")
    assert source["durationMs"] == pytest.approx(4000, abs=60)
    assert {stream["kind"] for stream in source["streams"]} == {"video", "audio"}
    assert [item["fileId"] for item in by_value["items"]] == [NAME]
    assert [record["fileId"] for record in searched["items"]] == [NAME]
    assert packet.headers["content-type"].startswith("application/rdf+xml")
    told = read_xmp(packet.body, tmp_path)
    assert told["Xmp.dc.title"] == 'lang="x-default" Abendschau'
    assert told["Xmp.xmpDM.videoFrameRate"] == "25"
    assert told["Xmp.xmpDM.Tracks[1]/xmpDM:markers[1]/xmpDM:startTime"] == "26"


def test_what_is_known_of_a_channel_goes_into_exports_and_clips(
    running: Service, client: Client, tmp_path: Path
) -> None:
    asset = segment(build(StreamSpec()))
    at = asset.epoch_ms
    with Origin(asset) as origin:
        channel = client.connector(origin.url, "Sport")
        know(client, channel, "ch1", {"view": "dublin-core", "values": {"publisher": "Sport+"}})
        goal = {"view": "sport-log", "values": {"event": "goal", "player": "Ü"}}
        for start_ms in (at + 1000, at + 4000):
            know(client, channel, "ch1", {**goal, "startMs": start_ms, "endMs": start_ms + 400})
        name = file_id(at + 400, at + 1900, "goal")
        clip = client.ended(client.clipped(channel, name))
        body = {
            "ranges": [{"startMs": at + 3800, "endMs": at + 4600},
                       {"startMs": at + 400, "endMs": at + 1900}],
            "destination": {"path": "{id}.mp4"},
            "sidecars": ["json", "xmp", "otio", "edl", "fcpxml"],
        }  # fmt: skip
        answer = client.ask("POST", f"/v1/connectors/{channel}/channels/ch1/segments", body)
        assert answer.status == 202, answer
        job = client.ended(answer.body["id"])
        until(
            lambda: client.get(path(channel, name))["probe"]["state"] == "known",
            "a worker to look at the clip",
        )
        packet = client.ask("GET", path(channel, name, "?format=xmp"))

    assert (clip["state"], job["state"]) == ("succeeded", "succeeded"), (clip, job)
    made = {
        Path(one["key"]).suffix: running.media / one["key"] for one in job["result"]["sidecars"]
    }
    check_export(asset, running.file_of(job), made, tmp_path)
    (beside,) = clip["result"]["sidecars"]
    assert beside["key"] == clip["result"]["file"]["key"].removesuffix(".mp4") + ".xmp"
    written = (running.media / beside["key"]).read_bytes()
    assert (beside["size"], beside["sha256"]) == (len(written), sha256(written).hexdigest())
    markers = "Xmp.xmpDM.Tracks[2]/xmpDM:markers[1]/xmpDM"
    for text in (packet.body, written.decode()):
        told = read_xmp(text, tmp_path)
        assert told["Xmp.dc.publisher"] == "Sport+"
        assert told[f"{markers}:name"] == "goal"
    first = asset.numbers_between(at + 400, at + 1900)[0]
    mark = asset.numbers_between(at + 1000, at + 1900)[0]
    start = int(told[f"{markers}:startTime"])
    assert abs(start - (mark - first)) <= 1


def check_export(asset: HlsAsset, file: Path, made: dict[str, Path], folder: Path) -> None:
    """Every sidecar has both goals at their frames, and the file what is known of the channel."""
    at = asset.epoch_ms
    ranges = [(at + 3800, at + 4600), (at + 400, at + 1900)]
    counts = [len(asset.numbers_between(*span)) for span in ranges]
    inside = [len(asset.numbers_between(ranges[0][0], at + 4000)),
              counts[0] + len(asset.numbers_between(ranges[1][0], at + 1000))]  # fmt: skip
    known = json.loads(made[".json"].read_text())
    assert [m["name"] for m in known["markers"]] == ["goal", "goal"]
    for marker, frame in zip(known["markers"], inside, strict=True):
        assert abs(marker["firstFrame"] - frame) <= 1
    with av.open(str(file)) as opened:
        assert opened.metadata["publisher"] == "Sport+"
    text = made[".edl"].read_text()
    assert [line[7:12] for line in text.splitlines() if line.startswith("* LOC: ")] == ["01:00"] * 2
    timeline = opentimelineio.adapters.read_from_string(made[".otio"].read_text(), "otio_json")
    clips = list(timeline.tracks[0])
    assert [[m.comment for m in clip.markers] for clip in clips] == [["event: goal; player: Ü"]] * 2
    assert made[".fcpxml"].read_text().count('value="goal"') == 2
    told = read_xmp(made[".xmp"].read_text(), folder)
    assert told["Xmp.dc.publisher"] == "Sport+"
    assert told["Xmp.xmpDM.Tracks[2]/xmpDM:trackName"] == "Sport log"
    assert told["Xmp.xmpDM.Tracks[2]/xmpDM:markers[2]/xmpDM:name"] == "goal"
