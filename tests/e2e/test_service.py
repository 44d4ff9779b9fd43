"""The real stack, from outside: what a client, an operator and a scraper see."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.processes import kill, until
from tests.e2e.service import (
    Client,
    Service,
    alive,
    below,
    clip_path,
    file_id,
    free_ports,
    freeze_next_child,
    parent,
)
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Fault, Origin

pytestmark = [pytest.mark.slow, pytest.mark.redis]
ROOT = Path(__file__).parent.parent.parent
SECRET = "s3cr3t-token-of-the-origin"
_numbers = count()


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec()))


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


@pytest.fixture
def client(running: Service) -> Client:
    return running.client


@pytest.fixture
def origin(asset: HlsAsset) -> Iterator[Origin]:
    with Origin(asset) as made:
        yield made


@pytest.fixture
def connector(client: Client, origin: Origin) -> str:
    return client.connector(origin.url, f"Channel {next(_numbers)}")


def moment(asset: HlsAsset, clip_id: str = "", *, unit: str = "ms") -> str:
    """The fileId of 2.4 s of the asset."""
    at = asset.epoch_ms
    return file_id(at + 1330, at + 3730, clip_id or f"clip{next(_numbers)}", unit=unit)


def test_the_first_start_writes_credentials_for_their_owner_alone(running: Service) -> None:
    file = running.stack.credentials_file
    written = json.loads(file.read_text())

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(written) == {"url", "tenant", "email", "password", "apiKey"}
    assert Client(running.stack.settings.port, written["apiKey"]).get("/v1/connectors")
    assert written["url"] == running.stack.url


def test_it_says_that_it_is_ready(client: Client) -> None:
    assert client.get("/readyz")["ready"] is True
    assert {name for name, check in client.get("/readyz")["checks"].items() if check["ok"]} == {
        "redis",
        "catalogue",
        "mediaStore",
    }


def test_a_clip_is_accepted_followed_and_exact(
    running: Service, client: Client, connector: str, asset: HlsAsset
) -> None:
    wanted = moment(asset)

    answer = client.clip(connector, wanted)
    job = client.ended(answer.body["id"])

    assert (answer.status, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["state"], job["attempt"], job["progress"]) == ("succeeded", 1, 1)
    assert job["result"]["requested"]["fileId"] == wanted
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3730
    assert check_exact(running.file_of(job), asset, start, end) == []
    assert running.file_of(job).stat().st_size == job["result"]["file"]["size"]


def test_every_spelling_of_a_clip_is_one_job(
    client: Client, connector: str, asset: HlsAsset
) -> None:
    in_ms, in_s = moment(asset, "same"), moment(asset, "same", unit="s")
    first = client.clipped(connector, in_ms)

    again = client.clip(connector, in_s)
    by_query = client.ask(
        "POST", f"/v1/connectors/{connector}/files/-/clip?fileId={in_s.replace('/', '%2F')}", {}
    )
    client.ended(first)

    assert in_ms != in_s
    assert [again.body["id"], by_query.body["id"]] == [first, first]
    assert client.get(clip_path(connector, in_s))["id"] == first


def test_a_clip_id_names_one_range(client: Client, connector: str, asset: HlsAsset) -> None:
    client.clipped(connector, moment(asset, "taken"))
    at = asset.epoch_ms

    other = client.clip(connector, file_id(at + 500, at + 2500, "taken"))

    assert (other.status, other.body["code"]) == (409, "clip_conflict")


def test_an_idempotency_key_answers_the_first_answer_again(
    client: Client, connector: str, asset: HlsAsset
) -> None:
    wanted = moment(asset)
    key = f"key-{wanted}"[-60:]
    first = client.clip(connector, wanted, Idempotency_Key=key)

    again = client.clip(connector, wanted, Idempotency_Key=key)
    other = client.clip(connector, wanted, {"gaps": "skip"}, Idempotency_Key=key)

    assert (again.status, again.body["id"]) == (202, first.body["id"])
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")


def test_a_job_is_followed_as_a_stream_that_ends_with_it(
    client: Client, connector: str, asset: HlsAsset
) -> None:
    job = client.clipped(connector, moment(asset))

    told = list(client.stream(f"/v1/jobs/{job}/events"))

    types = [event["type"] for event in told]
    assert types[:2] == ["job.queued", "job.started"]
    assert types.count("job.succeeded") == types.count("clip.ready") == 1
    assert [event["seq"] for event in told] == sorted(event["seq"] for event in told)
    shares = [event["data"].get("progress") for event in told if event["type"] == "job.progress"]
    known = [share for share in shares if share is not None]
    assert known == sorted(known)


def test_a_reader_who_comes_back_hears_only_what_followed(
    client: Client, connector: str, asset: HlsAsset
) -> None:
    job = client.clipped(connector, moment(asset))
    told = list(client.stream(f"/v1/jobs/{job}/events"))

    rest = list(client.stream(f"/v1/jobs/{job}/events", Last_Event_ID=told[1]["id"]))
    (first,) = islice(client.stream("/v1/events", Last_Event_ID=told[0]["id"]), 1)

    assert rest == told[2:]
    assert first["id"] > told[0]["id"]


def test_a_cancelled_fetch_stops_within_two_seconds(
    client: Client, connector: str, asset: HlsAsset, origin: Origin
) -> None:
    origin.fault("main-1.ts", Fault.stall(1000))
    job = client.clipped(connector, moment(asset))
    origin.wait_for(lambda: origin.asked("main-1.ts"))

    answer = client.ask("POST", f"/v1/jobs/{job}/cancel")
    took = until(lambda: client.job(job)["state"] == "cancelled", "the job cancelled")

    assert answer.status in {200, 202}
    assert took < 4  # 2 s, on a machine that does nothing else
    assert client.ask("POST", f"/v1/jobs/{job}/cancel").body["code"] == "job_finished"


def test_a_cancelled_cut_takes_its_processes_with_it(
    running: Service, client: Client, connector: str, asset: HlsAsset
) -> None:
    job = client.clipped(connector, moment(asset))
    frozen = freeze_next_child(os.getpid())

    client.ask("POST", f"/v1/jobs/{job}/cancel")
    took = until(lambda: client.job(job)["state"] == "cancelled", "the job cancelled")

    assert took < 4
    until(lambda: not alive(frozen), "the end of its child", 4)
    work = running.stack.data / "work"
    until(lambda: not list(work.glob(f"{job}*")), "its folder gone", 4)
    assert client.clipped(connector, moment(asset))


def test_a_failed_job_is_tried_again_when_asked(
    client: Client, connector: str, asset: HlsAsset, origin: Origin
) -> None:
    origin.fault("main-1.ts", Fault.status(403))
    job = client.clipped(connector, moment(asset))
    failed = client.ended(job)
    origin.mend("main-1.ts")

    again = client.ask("POST", f"/v1/jobs/{job}/retry")
    done = client.ended(again.body["id"])

    assert (failed["state"], failed["error"]["code"]) == ("failed", "access_denied")
    assert failed["error"]["stage"] == "fetching"
    assert done["state"] == "succeeded"


def test_lists_are_filtered(client: Client, connector: str, asset: HlsAsset) -> None:
    job = client.ended(client.clipped(connector, moment(asset)))["id"]

    def found(query: str) -> list[str]:
        return [each["id"] for each in client.get(f"/v1/jobs?{query}")["items"]]

    own = f"connectorId={connector}"
    assert found(own) == found(f"{own}&kind=clip&state=succeeded&channelId=ch1") == [job]
    assert found(f"{own}&state=failed") == found(f"{own}&channelId=other") == []
    assert client.ask("GET", "/v1/jobs?stat=failed").status == 422


# ---- numbers --------------------------------------------------------------------------------


def value(text: str, name: str, **labels: str) -> float:
    """A sample of an exposition, all series of these labels added up."""
    total, wanted = 0.0, {f'{key}="{label}"' for key, label in labels.items()}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name and wanted <= set((match[2] or "").split(",")):
            total += float(match[3])
    return total


def test_every_process_tells_its_numbers_in_base_units(
    running: Service, client: Client, connector: str, asset: HlsAsset
) -> None:
    client.ended(client.clipped(connector, moment(asset)))
    gateway, keeper, workers = (running.numbers(offset) for offset in range(3))

    assert value(gateway, "cuttingroom_http_requests_total") > 0
    assert value(keeper, "cuttingroom_jobs_accepted_total", kind="clip") >= 1
    assert value(keeper, "cuttingroom_jobs_finished_total", kind="clip", outcome="succeeded") >= 1
    assert value(keeper, "cuttingroom_redis_up") == 1
    for name in ("queue_depth", "queue_oldest_age_seconds", "jobs_retried", "jobs_lapsed"):
        assert f"# TYPE cuttingroom_{name}" in keeper
    for stage in ("fetching", "cutting", "publishing"):
        assert value(workers, "cuttingroom_stage_duration_seconds_count", stage=stage) >= 1
    assert value(workers, "cuttingroom_fetched_bytes_total", kind="clip") > 10_000
    assert value(workers, "cuttingroom_published_bytes_total", kind="clip") > 10_000
    for text in (gateway, keeper, workers):
        assert not re.search(r"_(ms|milliseconds|minutes|kib|mb)(_|\{| )", text)
        assert not re.search(r'(job|tenant|connector)(_id)?="', text)


def test_the_numbers_outlive_a_worker(
    running: Service, client: Client, connector: str, asset: HlsAsset
) -> None:
    client.ended(client.clipped(connector, moment(asset)))
    name = "cuttingroom_published_bytes_total"
    before = value(running.numbers(2), name)
    published = 0.0
    for _ in range(5):
        job = client.clipped(connector, moment(asset))
        kill(parent(parent(freeze_next_child(os.getpid()))))
        done = client.ended(job)
        published += done["result"]["file"]["size"]
        if done["attempt"] == 2:  # else its child was caught with everything said already
            break
    after = value(running.numbers(2), name)

    assert (done["state"], done["attempt"]) == ("succeeded", 2)
    assert after == before + published
    assert value(running.numbers(1), "cuttingroom_jobs_lapsed_total", kind="clip") >= 1


# ---- secrets --------------------------------------------------------------------------------


def test_no_secret_reaches_a_log_an_event_an_answer_or_the_disk(
    running: Service, client: Client, asset: HlsAsset
) -> None:
    sealed = {"headerName": "X-Token", "headerValue": SECRET}
    with Origin(asset, style="signed", require_header=("X-Token", SECRET)) as origin:
        entry, _, signature = origin.url.partition("?")
        origin.fault(asset.entry, Fault.redirect(f"{entry}?{signature}", times=1))
        connector = client.connector(origin.url, "Sealed", **sealed)
        good = client.ended(client.clipped(connector, moment(asset)))
        origin.fault("main-1.ts", Fault.reset(100))
        origin.fault("main-0.ts", Fault.status(403))
        bad = client.ended(client.clipped(connector, moment(asset)))
        seen = [client.get(f"/v1/connectors/{connector}"), client.get("/v1/connectors")]
        seen += [good, bad, client.events(good["id"]), client.events(bad["id"])]

    files = [path for path in running.stack.data.rglob("*") if path.is_file()]
    assert (good["state"], bad["state"]) == ("succeeded", "failed")
    assert SECRET not in json.dumps(seen)
    assert "sig=" not in json.dumps(seen[2:])
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    logs = "".join(path.read_text() for path in (running.stack.data / "logs").iterdir())
    assert bad["id"] in logs
    assert "sig=" not in logs


# ---- start, end, start again ----------------------------------------------------------------


class Up:
    """`cuttingroom up` as somebody starts it."""

    def __init__(self, folder: Path, port: int) -> None:
        argv = [sys.executable, "-m", "cli.main", "up", "--data", str(folder)]
        argv += ["--port", str(port), "--allow-cidr", "127.0.0.0/8"]
        self.folder, self.port = folder, port
        self.process = subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def client(self) -> Client:
        """A client, once it is ready."""
        until(self.ready, "readiness", 40)
        written = json.loads((self.folder / "credentials.json").read_text())
        return Client(self.port, str(written["apiKey"]))

    def ready(self) -> bool:
        """Whether it answers that it is."""
        assert self.process.poll() is None, "it ended"
        try:
            return Client(self.port, "").ask("GET", "/readyz").status == 200
        except OSError:
            return False

    def interrupt(self) -> float:
        """Ctrl-C; how long its end took."""
        self.process.send_signal(signal.SIGINT)
        return until(lambda: self.process.poll() is not None, "its end", 20)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Up]]:
    made: list[Up] = []
    yield made
    for up in made:
        if up.process.poll() is None:
            up.process.terminate()
            up.process.wait(20)


def test_ctrl_c_drains_and_a_second_start_goes_on_with_everything(
    tmp_path: Path, started: list[Up], asset: HlsAsset
) -> None:
    tmp_path.chmod(0o711)
    folder, port = tmp_path / "data", free_ports()
    started.append(first := Up(folder, port))
    with Origin(asset) as origin:
        client = first.client()
        connector = client.connector(origin.url, "News")
        done = client.ended(client.clipped(connector, moment(asset, "done")))
        origin.fault("main-1.ts", Fault.stall(1000, times=1))
        torn = client.clipped(connector, moment(asset, "torn"))
        origin.wait_for(lambda: origin.asked("main-1.ts") > 1)
        processes = below(first.process.pid)

        took = first.interrupt()
        left = [pid for pid in processes if alive(pid)]
        started.append(second := Up(folder, free_ports()))
        again = second.client()
        told = json.loads((folder / "credentials.json").read_text())
        finished = again.ended(torn)

        assert (first.process.returncode, left) == (0, [])
        assert len(processes) >= 6
        assert took < 10  # 5 s, on a machine that does nothing else
        assert again.api_key == client.api_key
        assert told["url"] == f"http://127.0.0.1:{second.port}"
        assert again.job(done["id"]) == done
        assert [each["id"] for each in again.get("/v1/connectors")["items"]] == [connector]
        assert (finished["state"], finished["attempt"]) == ("succeeded", 1)
        second.interrupt()


def test_two_clients_at_once_share_the_slots(
    client: Client, connector: str, asset: HlsAsset
) -> None:
    found: list[dict[str, Any]] = []

    def work() -> None:
        found.append(client.ended(client.clipped(connector, moment(asset))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [job["state"] for job in found] == ["succeeded"] * 4
