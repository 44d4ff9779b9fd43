"""Projects through the whole service: taken in over HTTP, listed, told in every form, rendered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import opentimelineio as otio  # type: ignore[import-untyped]
import pytest

from tests.e2e.service import Service
from tests.media_builder import StreamSpec, build, segment, write_mp4
from tests.oracle import inspect
from tests.origin import Origin
from tests.timelines import (
    a_clip,
    a_gap,
    a_timeline,
    a_track,
    a_transition,
    of_channel,
    of_file,
)

pytestmark = pytest.mark.slow


def test_a_project_of_channels_clips_and_files_becomes_one_file(
    whole_service: Service, tmp_path: Path
) -> None:
    one, other = segment(build(StreamSpec())), segment(build(StreamSpec(first_number=500)))
    films = Path(whole_service.stack.settings.local_folders[0]) / "reels"
    films.mkdir()
    films.chmod(0o777)
    write_mp4(build(StreamSpec(first_number=700)), films / "film.mp4")
    begin = one.epoch_ms
    goal = f"ch1/2022/02/04/range-{begin + 1000}-{begin + 4000}-clip-goal"
    client = whole_service.client
    body = {"type": "local", "name": "Reels", "config": {"folder": str(films)}, "auth": {}}
    folder = client.ask("POST", "/v1/connectors", body).body["id"]
    with Origin(one) as origin:
        origin.mount("second", other)
        live = client.connector(origin.url, "One")
        second = client.connector(origin.url_of(other.entry, "second"), "Two")
        assert client.ended(client.clipped(live, goal))["state"] == "succeeded"
        document = a_timeline(
            a_track(
                a_clip(10, 30, media=of_file(live, goal), name="goal"),
                a_clip(7, 33, media=of_channel(second, "ch2", startMs=other.epoch_ms)),
                a_transition(),
                a_gap(12),
                a_clip(20, 25, media=of_file(folder, "film.mp4"), name="film"),
            ),
            name="Goals of the day",
        )

        made = client.ask("POST", "/v1/projects", document)
        assert made.status == 201, made
        path = f"/v1/projects/{made.body['id']}"
        to = {"connectorId": folder, "path": "{title}.mp4"}
        wanted = {"destination": to, "gaps": "black", "sidecars": ["otio", "edl"]}
        asked = client.ask("POST", f"{path}/render", wanted)
        assert asked.status == 202, asked
        job = client.ended(asked.body["id"])
    # Nobody broadcasts any more: what was clipped is rendered all the same.
    again = client.ask(
        "PUT",
        f"{path}/timeline",
        a_timeline(a_track(a_clip(0, 75, media=of_file(live, goal)))),
    )
    assert again.status == 200, again
    to = {"connectorId": folder, "path": "later.mp4"}
    later = client.ended(
        client.ask("POST", f"{path}/render", {"destination": to, "sidecars": []}).body["id"]
    )
    listed = client.get("/v1/projects?title=goals&contributedBy=" + made.body["createdBy"])
    edl = client.ask("GET", f"{path}?format=edl").body
    project = client.get(path)

    assert job["state"] == "succeeded", job["error"]
    result = job["result"]
    output = films / result["file"]["key"]
    assert output.name == "Goals of the day.mp4"
    assert hashlib.sha256(output.read_bytes()).hexdigest() == result["file"]["sha256"]
    numbers = [*range(35, 65), *range(507, 540), *[None] * 12, *range(720, 745)]
    assert list(inspect(output).numbers) == numbers
    assert inspect(output).clean
    assert "a transition is shown as a cut" in result["notes"]
    told = json.loads(output.with_suffix(".otio").read_text())
    timeline = otio.adapters.read_from_string(json.dumps(told), "otio_json")
    assert timeline.duration().to_frames() == len(numbers)
    assert later["state"] == "succeeded", later["error"]
    assert list(inspect(films / "later.mp4").numbers) == list(range(25, 100))
    assert [one["id"] for one in listed["items"]] == [project["id"]]
    assert project["etag"] == '"v2"'
    found = otio.adapters.read_from_string(edl, "cmx_3600", rate=25)
    assert found.duration().to_frames() == 75
