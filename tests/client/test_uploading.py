"""Uploads by every kind of credentials: cut off in the middle, expired in the middle, resumed."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from client import ApiError, Client, JobFailed, UploadInterrupted
from client.bodies import Form, Slice
from connectors.egress import Egress
from schemas.errors import InvalidCommand, SourceChanged
from schemas.jobs import JobError
from schemas.uploads import UploadMode
from store.jobs import RedisLedger
from tests.chaos.processes import until
from tests.client_kit import Pauses, Served, cutting, served
from tests.connectors.buckets import BUCKET, KEYS, moto_server, objects

MIB = 1024 * 1024
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("uploads"), allow_cidrs=LOOPBACK) as made:
        env = made.kit.gateway.env
        made.kit.gateway.env = replace(env, egress=Egress(allow_cidrs=LOOPBACK))
        yield made


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "goal.mp4"
    path.write_bytes(os.urandom(9 * MIB + 17))
    return path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@contextmanager
def a_worker(gateway: Served, *, refuses: bool = False) -> Iterator[None]:
    """Somebody who looks into what was uploaded."""
    ledger, ended = RedisLedger(gateway.kit.gateway.store), threading.Event()

    def work() -> None:
        while not ended.wait(0.02):
            lease = ledger.claim("upload", "test", os.urandom(4).hex())
            if lease is None:
                continue
            command = json.loads(lease.command)
            upload = command["upload_id"]
            if refuses:
                told = JobError(code="media_invalid", message="no media", retryable=False)
                ledger.fail(lease, told)
            else:
                ledger.finish(
                    lease,
                    {
                        "uploadId": upload,
                        "key": f"in/{upload}",
                        "size": command["size"],
                        "sha256": "0" * 64,
                    },
                )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


def a_folder(client: Client) -> str:
    """A destination in the media store, which takes tus."""
    return client.reporter.destinations.create(os.urandom(8).hex(), "{uploadId}/{fileName}").id


def a_bucket(client: Client, endpoint: str, name: str, **config: str) -> str:
    made = client.connectors.create(
        "s3",
        name,
        {"bucket": BUCKET, "endpoint": endpoint, "prefix": name, **config},
        {"accessKeyId": KEYS["access_key_id"], "secretAccessKey": KEYS["secret_access_key"]},
    )
    place = "{uploadId}/{fileName}"
    return client.reporter.destinations.create(name, place, connector_id=made.id).id


def arrived(gateway: Served, upload_id: str) -> bytes:
    """What lies in the media store of an upload."""
    media = Path(gateway.kit.gateway.settings.data_dir)
    (part,) = media.rglob(f".cuttingroom-{upload_id}.part")
    return part.read_bytes()


def test_a_file_is_sent_and_let_in(gateway: Served, recording: Path) -> None:
    seen: list[tuple[int, int]] = []
    with gateway.client() as client, a_worker(gateway):
        place = a_folder(client)
        told = client.reporter.upload(place, recording, on_progress=lambda *n: seen.append(n))
        upload = client.reporter.get(place, told.upload_id)

    size = recording.stat().st_size
    assert arrived(gateway, told.upload_id) == recording.read_bytes()
    assert (told.size, upload.size, upload.state) == (size, size, "completed")
    assert upload.sha256 == hashlib.sha256(recording.read_bytes()).hexdigest()
    assert (upload.content_type, upload.mode) == ("video/mp4", "tus")
    assert seen[-1] == (size, size)
    assert [one for one, _ in seen] == sorted(one for one, _ in seen)


def test_a_file_goes_on_from_where_its_connection_was_cut(gateway: Served, recording: Path) -> None:
    seen: list[int] = []
    with (
        cutting(gateway.port, heavy=3 * MIB, cuts=2) as cutter,
        a_worker(gateway),
        gateway.client(cutter.url) as client,
    ):
        told = client.reporter.upload(
            a_folder(client), recording, on_progress=lambda sent, _: seen.append(sent)
        )

    assert arrived(gateway, told.upload_id) == recording.read_bytes()
    assert cutter.cuts == 0
    # Never back to the beginning: what had arrived was not sent again.
    assert min(seen[len(seen) // 2 :]) > MIB


def test_an_upload_that_stopped_is_gone_on_with_by_somebody_else(
    gateway: Served, recording: Path
) -> None:
    with (
        cutting(gateway.port, heavy=2 * MIB, cuts=1) as cutter,
        gateway.client(cutter.url, retries=0) as client,
    ):
        place = a_folder(client)
        with pytest.raises(UploadInterrupted) as stopped:
            client.reporter.upload(place, recording)

    seen: list[int] = []
    with gateway.client() as another, a_worker(gateway):
        error = stopped.value
        until(lambda: len(arrived(gateway, error.upload_id)) > MIB, "bytes on the disk")
        told = another.reporter.upload(
            error.destination_id,
            recording,
            upload_id=error.upload_id,
            on_progress=lambda sent, _: seen.append(sent),
        )
        again = another.reporter.upload(place, recording, upload_id=error.upload_id)

    assert error.retryable
    assert told.upload_id == error.upload_id == again.upload_id
    assert arrived(gateway, told.upload_id) == recording.read_bytes()
    assert seen[0] > MIB


def test_credentials_that_end_are_renewed(tmp_path: Path, recording: Path) -> None:
    with (
        served(tmp_path, upload_credentials_s=60) as short,
        a_worker(short),
        short.client() as client,
    ):
        place = a_folder(client)
        begun = client.reporter.credentials(
            place, "goal.mp4", recording.stat().st_size, "video/mp4"
        )
        short.kit.clock.now_ms += 61_000
        with pytest.raises(ApiError) as ended:
            client.reporter.tus.offset(begun)  # type: ignore[arg-type]  # of the media store
        told = client.reporter.upload(place, recording, upload_id=begun.upload_id)

        assert ended.value.status == 401
        assert arrived(short, told.upload_id) == recording.read_bytes()


# The bucket's server leaves the temporary files of broken requests to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("mode", ["s3-multipart", "s3-post", "s3-sts"])
def test_a_bucket_takes_a_file_whose_connection_is_cut(
    gateway: Served, bucket: str, recording: Path, mode: UploadMode
) -> None:
    port = urlsplit(bucket).port or 0
    role = {"sts": "assume-role", "roleArn": "arn:aws:iam::123456789012:role/field"}
    with (
        cutting(port, heavy=3 * MIB, cuts=1) as cutter,
        a_worker(gateway),
        gateway.client() as client,
    ):
        place = a_bucket(client, cutter.url, mode, **(role if mode == "s3-sts" else {}))
        told = client.reporter.upload(place, recording, mode=mode)
        upload = client.reporter.get(place, told.upload_id)

    assert (upload.mode, upload.state) == (mode, "completed")
    gc.collect()
    assert cutter.cuts == 0
    sizes = objects(bucket).values() if mode != "s3-multipart" else [recording.stat().st_size]
    assert recording.stat().st_size in sizes


def test_a_file_that_is_refused_says_why(gateway: Served, recording: Path) -> None:
    with (
        gateway.client() as client,
        a_worker(gateway, refuses=True),
        pytest.raises(JobFailed, match="no media") as refused,
    ):
        client.reporter.upload(a_folder(client), recording)

    assert refused.value.error_code == "media_invalid"


def test_an_upload_that_was_given_up_cannot_be_gone_on_with(
    gateway: Served, recording: Path
) -> None:
    with gateway.client() as client:
        place = a_folder(client)
        size = recording.stat().st_size
        begun = client.reporter.credentials(place, "goal.mp4", size, "video/mp4")
        listed = [one.id for one in client.reporter.uploads(place)]
        client.reporter.cancel(place, begun.upload_id)
        with pytest.raises(ApiError) as gone:
            client.reporter.upload(place, recording, upload_id=begun.upload_id)

    assert listed == [begun.upload_id]
    assert gone.value.status == 410


def test_another_file_does_not_go_on_with_an_upload(
    gateway: Served, recording: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(b"x" * 10)
    with gateway.client() as client:
        place = a_folder(client)
        size = recording.stat().st_size
        begun = client.reporter.credentials(place, "goal.mp4", size, "video/mp4")
        with pytest.raises(InvalidCommand, match="another file"):
            client.reporter.upload(place, other, upload_id=begun.upload_id)


def test_a_file_of_no_known_type_is_asked_about(gateway: Served, tmp_path: Path) -> None:
    nameless = tmp_path / "recording"
    nameless.write_bytes(b"x")
    with gateway.client() as client, pytest.raises(InvalidCommand, match="content_type"):
        client.reporter.upload("dst_1", nameless)


def test_credentials_are_in_no_repr(gateway: Served, bucket: str) -> None:
    with gateway.client() as client:
        tus = client.reporter.credentials(a_folder(client), "a.mp4", 10, "video/mp4")
        place = a_bucket(client, bucket, "quiet")
        parts = client.reporter.credentials(place, "a.mp4", 10, "video/mp4")
        options = client.reporter.tus.options()

    shown = repr(tus) + repr(parts) + str(parts)
    assert tus.upload_id in shown
    assert "Upload-Token" not in shown
    assert "Signature" not in shown
    assert options["tus-version"] == "1.0.0"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_storage_that_is_away_is_tried_so_often_and_no_more(
    gateway: Served, bucket: str, recording: Path
) -> None:
    pauses = Pauses()
    port = urlsplit(bucket).port or 0
    with (
        cutting(port, heavy=MIB, cuts=100) as cutter,
        gateway.client(retries=2, pause=pauses) as client,
    ):
        place = a_bucket(client, cutter.url, "away")
        with pytest.raises(UploadInterrupted) as stopped:
            client.reporter.upload(place, recording)

    gc.collect()
    assert "bytes have arrived" in str(stopped.value)
    assert len(pauses.waited) == 2
    assert cutter.cuts == 97


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    with path.open("rb") as file, pytest.raises(SourceChanged):
        list(Slice(file, 0, 10, lambda _: None))


def test_a_form_is_what_browsers_send(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        form = Form({"key": "a/b", 'x"\r\n': "1"}, "go\nal.mp4", Slice(file, 2, 5, lambda _: None))
        text = b"".join(form)

    assert len(text) == len(form)
    head, _, _ = text.partition(b"23456")
    assert b'name="key"\r\n\r\na/b\r\n' in head
    assert b'name="x%22%0D%0A"' in head
    assert b'filename="go%0Aal.mp4"' in head
    assert text.endswith(f"\r\n--{form.boundary}--\r\n".encode())
