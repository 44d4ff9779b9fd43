"""What the how-to says is run against the whole service, and so is the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from client import ApiError, Client, Job, JobFailed
from tests.e2e.service import Service
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.origin import Fault, Origin

pytestmark = [pytest.mark.redis, pytest.mark.slow]
HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "python-client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", HOWTO, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec()))


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


def test_the_how_to_clips_follows_fetches_uploads_and_lists(
    running: Service, asset: HlsAsset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = asset.epoch_ms
    with Origin(asset) as origin:
        said: dict[str, Any] = {
            "api_key": running.client.api_key,
            "stream_url": origin.url,
            "start": at + 1330,
            "end": at + 3730,
            "folder": str(tmp_path),
        }
        for example in EXAMPLES:
            exec(example.replace("http://127.0.0.1:8080", running.stack.url), said)  # noqa: S102
    client, job, told = said["client"], said["job"], said["told"]
    client.close()

    assert isinstance(client, Client)
    assert isinstance(job, Job)
    assert job.state == "succeeded"
    assert job.result is not None
    assert said["saved"].stat().st_size == job.result["file"]["size"] == told.size
    assert told.sha256 == job.result["file"]["sha256"]
    assert told.type == "video/mp4"
    output = capsys.readouterr().out
    assert "clip.ready" in output
    assert f"{job.id} {job.file_id}" in output
    assert "412" in output


def test_pictures_are_waited_for_and_known_again(running: Service, asset: HlsAsset) -> None:
    with (
        Origin(asset) as origin,
        Client(running.stack.url, api_key=running.client.api_key) as client,
    ):
        connector = client.connectors.create("hls", "Pictures", {"url": origin.url})
        clip = client.clips.create(
            connector.id, channel="main", start=asset.epoch_ms, end=asset.epoch_ms + 2000
        )
        file_id = client.jobs.succeeded(clip, 90).file_id or ""
        poster = client.thumbnails.poster(connector.id, file_id, width=64, timeout_s=90)
        board, sheets = client.thumbnails.sprite(connector.id, file_id, count=2, timeout_s=90)
        same = client.thumbnails.fetch(
            connector.id, file_id, type="poster", width=64, etag=poster.etag
        )
        known = client.connectors.source(connector.id, file_id)

    assert poster.data.startswith(b"\xff\xd8")
    assert (len(board.cues), len(sheets)) == (2, len(board.sheets))
    assert same is None
    assert (known.kind, known.file_id) == ("clip", file_id)


def test_a_clip_nobody_can_make_says_why(running: Service, asset: HlsAsset) -> None:
    with Client(running.stack.url, api_key=running.client.api_key) as client:
        gone = client.connectors.create("hls", "Gone", {"url": "http://127.0.0.1:9/live.m3u8"})
        job = client.clips.create(
            gone.id, channel="main", start=asset.epoch_ms, end=asset.epoch_ms + 1000
        )
        client.jobs.cancel(job)
        with pytest.raises(JobFailed) as failed:
            client.jobs.succeeded(job, 60)

    assert failed.value.job_id == job.id


def test_the_command_line_shows_follows_and_retries_jobs(running: Service, asset: HlsAsset) -> None:
    def said(verb: str, *words: str) -> tuple[int, str]:
        data = str(running.stack.data)
        result = CliRunner().invoke(
            app, ["jobs", verb, *words, "--data", data], catch_exceptions=False
        )
        return result.exit_code, " ".join(result.output.split())

    with (
        Origin(asset) as origin,
        Client(running.stack.url, api_key=running.client.api_key) as client,
    ):
        connector = client.connectors.create("hls", "Command line", {"url": origin.url})
        at = asset.epoch_ms
        good = client.clips.create(connector.id, channel="main", start=at, end=at + 2000)
        watched = said("watch", good.id)
        origin.fault(asset.entry, Fault.status(403))
        away = client.connectors.create("hls", "Away", {"url": origin.url})
        bad = client.clips.create(away.id, channel="main", start=at, end=at + 1000)
        failed = said("watch", bad.id)
        retried = said("retry", bad.id)
        with pytest.raises(ApiError) as refused:
            said("cancel", good.id)
        shown = said("show", good.id)
        listed = said("list", "--state", "succeeded", "--json")

    assert watched[0] == 0, watched
    assert "succeeded" in watched[1]
    assert failed[0] == 1
    assert (retried[0], retried[1].split()[0]) == (0, bad.id)
    assert refused.value.error_code == "job_finished"
    assert json.loads(shown[1])["result"]["file"]["size"] > 0
    assert good.id in listed[1]
    assert bad.id not in listed[1]
