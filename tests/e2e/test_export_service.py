"""An export through the real stack: asked over HTTP, joined by a worker, published to a bucket."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.e2e.service import Service
from tests.media_builder import StreamSpec, build, segment
from tests.oracle import inspect
from tests.origin import Origin

pytestmark = pytest.mark.slow


def test_joined_ranges_and_sidecars_reach_a_bucket_once(
    whole_service: Service, tmp_path: Path
) -> None:
    asset = segment(build(StreamSpec()))
    at = asset.epoch_ms
    spans = [(at + 3330, at + 4910), (at + 400, at + 1900)]
    with Origin(asset) as origin, moto_server() as endpoint:
        client = whole_service.client
        channel = client.connector(origin.url, "Exported")
        auth = {
            "accessKeyId": KEYS["access_key_id"],
            "secretAccessKey": KEYS["secret_access_key"],
        }
        body = {"type": "s3", "name": "Exports", "auth": auth}
        body["config"] = {"bucket": BUCKET, "endpoint": endpoint}
        bucket = client.ask("POST", "/v1/connectors", body).body["id"]
        path = f"/v1/connectors/{channel}/channels/ch1/segments"

        answer = client.ask(
            "POST",
            path,
            {
                "ranges": [{"startMs": a, "endMs": b} for a, b in spans],
                "destination": {
                    "connectorId": bucket,
                    "path": "{channel}/{date}/{title}-{id}.mp4",
                },
                "metadata": {"title": "Goal: 1/2"},
                "sidecars": ["json", "edl"],
            },
        )
        assert answer.status == 202, answer
        job = client.ended(answer.body["id"])
        listed = client.get(f"{path}?state=succeeded")["items"]

        assert job["state"] == "succeeded", job["error"]
        made = job["result"]
        stem = made["file"]["key"].removesuffix(".mp4")
        assert re.fullmatch(rf"ch1/\d{{4}}-\d\d-\d\d/Goal_ 1_2-{job['id']}", stem)
        assert [one["key"] for one in made["sidecars"]] == [f"{stem}.json", f"{stem}.edl"]
        store = client_for(endpoint)
        for one in (made["file"], *made["sidecars"]):
            data = store.get_object(Bucket=BUCKET, Key=one["key"])["Body"].read()
            assert (one["size"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
            (tmp_path / Path(one["key"]).name).write_bytes(data)
        held = store.list_objects_v2(Bucket=BUCKET, Prefix=stem)["Contents"]
        assert len(held) == 3
        wanted = [n for a, b in spans for n in asset.numbers_between(a, b)]
        name = Path(stem).name
        assert inspect(tmp_path / f"{name}.mp4").numbers == wanted
        assert json.loads((tmp_path / f"{name}.json").read_text())["title"] == "Goal: 1/2"
        assert [one["id"] for one in listed] == [job["id"]]
        assert any(event["type"] == "export.ready" for event in client.events(job["id"]))
