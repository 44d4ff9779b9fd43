"""A phone sends what it recorded through the whole service: cut off, expired, renewed, resumed."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader import Uploader

from tests.chaos.processes import until
from tests.connectors.buckets import BUCKET, KEYS, moto_server, objects, uploads
from tests.e2e.service import Client, Service, service
from tests.media_builder import StreamSpec, build, write_mp4

pytestmark = [pytest.mark.redis, pytest.mark.slow]
LIVES_S = 3
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("field")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, field: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    changes = {"local_folders": (str(field),), "upload_credentials_s": LIVES_S}
    with service(folder, **changes) as made:
        yield made


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of picture and sound, of more bytes than fit one part or one piece."""
    path = tmp_path_factory.mktemp("recording") / "IMG_0001.mp4"
    write_mp4(build(StreamSpec(seconds=1)), path)
    filling = os.urandom(9 * MIB)
    with path.open("ab") as out:
        out.write((len(filling) + 8).to_bytes(4, "big") + b"free" + filling)
    return path


@dataclass
class Phone:
    """An app that has begun an upload."""

    client: Client
    recording: Path
    told: dict[str, Any]

    @property
    def data(self) -> bytes:
        """What it recorded."""
        return self.recording.read_bytes()

    def renew(self) -> None:
        """Ask for fresh credentials of the same upload."""
        before, answer = self.told, self.client.ask("POST", urlsplit(self.told["renewUrl"]).path)
        assert answer.status == 200, answer
        self.told = answer.body
        assert [self.told[n] for n in ("uploadId", "key")] == [
            before[n] for n in ("uploadId", "key")
        ]

    def uploader(self, **options: Any) -> Uploader:
        """A tus client with the credentials of now."""
        tus = TusClient(self.told["endpoint"], headers=self.told["headers"])
        stream = io.BytesIO(self.data)
        return Uploader(file_stream=stream, url=self.told["endpoint"], client=tus, **options)

    def complete(self) -> dict[str, Any]:
        """The job of the check, once it has ended."""
        answer = self.client.ask("POST", urlsplit(self.told["completeUrl"]).path)
        assert answer.status == 202, answer
        return self.client.ended(answer.body["id"])


def a_phone(running: Service, recording: Path, destination: str, **more: Any) -> Phone:
    data = recording.read_bytes()
    file = {
        "fileName": recording.name,
        "size": len(data),
        "contentType": "video/mp4",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path = f"/v1/reporter/destinations/{destination}/credentials"
    answer = running.client.ask("POST", path, file | more)
    assert answer.status == 201, answer
    return Phone(running.client, recording, answer.body)


def a_destination(running: Service, name: str, **more: Any) -> str:
    body = {"name": name, "pathTemplate": "{uploadId}/{fileName}", **more}
    answer = running.client.ask("POST", "/v1/reporter/destinations", body)
    assert answer.status == 201, answer
    return str(answer.body["id"])


def a_folder(running: Service, field: Path, name: str) -> str:
    config = {"folder": str(field)}
    body = {"type": "local", "name": name, "config": config}
    answer = running.client.ask("POST", "/v1/connectors", body)
    return a_destination(running, name, connectorId=answer.body["id"])


def a_bucket(running: Service, endpoint: str, name: str, **config: Any) -> str:
    body = {
        "type": "s3",
        "name": name,
        "config": {"bucket": BUCKET, "endpoint": endpoint, "prefix": name, **config},
        "auth": {
            "accessKeyId": KEYS["access_key_id"],
            "secretAccessKey": KEYS["secret_access_key"],
        },
    }
    answer = running.client.ask("POST", "/v1/connectors", body)
    assert answer.status == 201, answer
    return a_destination(running, name, connectorId=answer.body["id"])


def completed(running: Service, job: dict[str, Any]) -> dict[str, Any]:
    """What the event of a completed upload tells."""
    assert job["state"] == "succeeded", job["error"]
    events = running.client.events(job["id"])
    (told,) = [event["data"] for event in events if event["type"] == "upload.completed"]
    return dict(told)


def expired(phone: Phone) -> bool:
    """Whether the credentials of the phone have ended."""
    with suppress(TusCommunicationError):
        phone.uploader()
        return False
    return True


def test_a_tus_client_is_cut_off_expires_is_renewed_and_goes_on(
    running: Service, field: Path, recording: Path
) -> None:
    phone = a_phone(running, recording, a_folder(running, field, "tus"))
    phone.uploader(chunk_size=MIB).upload(stop_at=3 * MIB)
    until(lambda: expired(phone), "the end of the credentials", 20)
    with pytest.raises((TusUploadFailed, TusCommunicationError)):
        phone.uploader(chunk_size=MIB).upload()

    phone.renew()
    resumed = phone.uploader(chunk_size=MIB, upload_checksum=True)
    began_at = resumed.offset
    resumed.upload()
    told = completed(running, phone.complete())

    assert (phone.told["offset"], began_at) == (3 * MIB, 3 * MIB)
    assert (field / told["key"]).read_bytes() == phone.data
    assert told["sha256"] == hashlib.sha256(phone.data).hexdigest()
    assert (told["uploadId"], told["size"]) == (phone.told["uploadId"], len(phone.data))
    assert told["type"] == "video/mp4"
    assert 1000 <= told["durationMs"] < 1030
    assert list(field.rglob(".cuttingroom-*")) == []


def test_the_media_store_takes_uploads_too(running: Service, recording: Path) -> None:
    phone = a_phone(running, recording, a_destination(running, "store"))

    phone.uploader().upload()
    told = completed(running, phone.complete())

    assert (running.media / told["key"]).read_bytes() == phone.data


def test_a_gateway_killed_in_the_middle_of_a_piece_loses_only_what_had_not_come(
    running: Service, field: Path, recording: Path
) -> None:
    phone = a_phone(running, recording, a_folder(running, field, "killed"))
    (part,) = field.rglob(f".cuttingroom-{phone.told['uploadId']}.part")
    where = urlsplit(phone.told["endpoint"])
    headers = {
        **phone.told["headers"],
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(phone.data)),
    }
    with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)) as sent:
        sent.putrequest("PATCH", where.path)
        for name, value in headers.items():
            sent.putheader(name, value)
        sent.endheaders()
        sent.send(phone.data[: 5 * MIB])
        until(lambda: part.stat().st_size >= 4 * MIB, "bytes on the disk", 20)
        gateway = running.stack._services["gateway"].service
        os.kill(gateway.pid, signal.SIGKILL)
        until(lambda: gateway.poll() is not None, "the gateway's end", 10)

    until(lambda: _answers(running), "another gateway", 30)
    phone.renew()
    resumed = phone.uploader(chunk_size=4 * MIB)
    began_at = resumed.offset
    resumed.upload()
    told = completed(running, phone.complete())

    assert 4 * MIB <= began_at <= 5 * MIB
    assert (field / told["key"]).read_bytes() == phone.data


def _answers(running: Service) -> bool:
    running.stack.tend()
    with suppress(OSError):
        return running.client.ask("GET", "/readyz").status == 200
    return False


def test_parts_go_to_a_bucket_with_urls_that_are_renewed_for_the_same_upload(
    running: Service, bucket: str, recording: Path
) -> None:
    phone = a_phone(running, recording, a_bucket(running, bucket, "parts"))
    first, *_ = phone.told["parts"]
    sent = requests.put(first["url"], data=phone.data[: first["size"]], timeout=20)
    early = phone.client.ask("POST", urlsplit(phone.told["completeUrl"]).path)

    same = phone.told["multipartUploadId"]
    phone.renew()
    for part in phone.told["parts"]:
        piece = phone.data[part["offset"] : part["offset"] + part["size"]]
        assert requests.put(part["url"], data=piece, timeout=20).status_code == 200
    told = completed(running, phone.complete())

    assert (phone.told["mode"], sent.status_code) == ("s3-multipart", 200)
    assert (early.status, early.body["code"]) == (409, "upload_incomplete")
    assert phone.told["multipartUploadId"] == same
    assert [part["partNumber"] for part in phone.told["received"]] == [1]
    assert [part["partNumber"] for part in phone.told["parts"]] == [2]
    assert objects(bucket)[f"parts/{told['key']}"] == len(phone.data)
    assert phone.told["key"] == f"parts/{told['key']}"
    assert uploads(bucket) == []
    late = requests.put(first["url"], data=b"x" * first["size"], timeout=20)
    assert not late.ok
    assert objects(bucket)[f"parts/{told['key']}"] == len(phone.data)


def test_a_small_picture_is_posted_as_a_form(running: Service, bucket: str, tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "goal.jpg"
    Image.new("RGB", (320, 180), "green").save(picture)
    destination = a_bucket(running, bucket, "form")
    phone = a_phone(running, picture, destination, mode="s3-post", contentType="image/jpeg")

    answer = requests.post(
        phone.told["url"], data=phone.told["fields"], files={"file": phone.data}, timeout=20
    )
    before = objects(bucket)
    told = completed(running, phone.complete())

    assert answer.status_code in {200, 201, 204}
    assert f"form/{told['key']}" not in before
    assert objects(bucket)[f"form/{told['key']}"] == len(phone.data)
    assert phone.told["key"] not in objects(bucket)
    assert told["type"] == "image/jpeg"


def test_temporary_keys_put_one_key_with_an_sdk(
    running: Service, bucket: str, recording: Path
) -> None:
    role = {"sts": "assume-role", "roleArn": "arn:aws:iam::123456789012:role/field"}
    phone = a_phone(running, recording, a_bucket(running, bucket, "sts", **role), mode="s3-sts")
    client = boto3.client(
        "s3",
        endpoint_url=phone.told["endpoint"],
        region_name=phone.told["region"],
        aws_access_key_id=phone.told["accessKeyId"],
        aws_secret_access_key=phone.told["secretAccessKey"],
        aws_session_token=phone.told["sessionToken"],
    )

    client.upload_file(str(phone.recording), phone.told["bucket"], phone.told["key"])
    told = completed(running, phone.complete())
    client.close()

    assert objects(bucket)[f"sts/{told['key']}"] == len(phone.data)


def test_what_is_not_what_was_announced_is_removed_and_says_so(
    running: Service, bucket: str, tmp_path: Path
) -> None:
    fake = tmp_path / "goal.mp4"
    fake.write_bytes(b"MZ" + b"\0" * 5000)
    phone = a_phone(running, fake, a_bucket(running, bucket, "fake"))
    for part in phone.told["parts"]:
        requests.put(part["url"], data=phone.data, timeout=20)

    job = phone.complete()

    assert (job["state"], job["error"]["code"]) == ("failed", "media_invalid")
    assert [key for key in objects(bucket) if key.startswith("fake/")] == []
    shown = running.client.get(urlsplit(phone.told["renewUrl"]).path.removesuffix("/credentials"))
    assert (shown["state"], shown["error"]["code"]) == ("failed", "media_invalid")


def test_credentials_are_in_no_log(running: Service, field: Path, recording: Path) -> None:
    phone = a_phone(running, recording, a_folder(running, field, "quiet"))
    phone.uploader(chunk_size=MIB).upload(stop_at=MIB)
    token = phone.told["headers"]["Upload-Token"].partition(".")[2]

    logs = b"".join(path.read_bytes() for path in (running.stack.data / "logs").iterdir())

    assert logs
    assert token.encode() not in logs
    assert b"X-Amz-Signature" not in logs
