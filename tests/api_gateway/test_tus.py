"""The tus protocol 1.0.0 as the gateway speaks it, request by request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_gateway.receiving import Receiving
from api_gateway.routes.tus import MAX_AT_ONCE, MAX_OF_A_TENANT
from connectors.local import Folder
from tests.gateway_kit import Kit, a_kit

DATA = bytes(range(200))


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with a_kit(tmp_path) as made:
        yield made


class Sender:
    """A client with credentials of one upload of 200 bytes."""

    def __init__(self, kit: Kit, size: int = len(DATA)) -> None:
        self.kit = kit
        body = {"name": "Phones", "pathTemplate": "{uploadId}/{fileName}"}
        made = kit.post("/v1/reporter/destinations", body).json()["id"]
        file = {"fileName": "a.mp4", "size": size, "contentType": "video/mp4"}
        self.told = kit.post(f"/v1/reporter/destinations/{made}/credentials", file).json()
        self.path = self.told["endpoint"].removeprefix("http://test")

    def headers(self, **more: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {**self.told["headers"], **named}

    def ask(self, method: str, content: Any = None, **headers: str) -> httpx.Response:
        given = {name: value for name, value in self.headers(**headers).items() if value}
        return self.kit.ask(method, self.path, key=None, headers=given, content=content)

    def patch(self, content: Any, offset: int | str, **headers: str) -> httpx.Response:
        kind = {"Content_Type": "application/offset+octet-stream"}
        return self.ask("PATCH", content, **{**kind, "Upload_Offset": str(offset), **headers})

    def offset(self) -> int:
        return int(self.ask("HEAD").headers["upload-offset"])

    def stored(self) -> bytes:
        (part,) = (Path(self.kit.gateway.settings.data_dir) / "media").rglob("*.part")
        return part.read_bytes()


@pytest.fixture
def sender(kit: Kit) -> Sender:
    return Sender(kit)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_the_server_says_what_it_speaks(kit: Kit, sender: Sender) -> None:
    for path in ("/v1/reporter/tus", sender.path):
        answer = kit.ask("OPTIONS", path, key=None)

        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-extension"] == "checksum,expiration,termination"
        assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")


def test_bytes_arrive_piece_by_piece(sender: Sender) -> None:
    first = sender.patch(DATA[:50], 0)
    second = sender.patch(chunks(DATA[50:60], DATA[60:]), 50)

    assert (first.status_code, first.headers["upload-offset"]) == (204, "50")
    assert (second.status_code, second.headers["upload-offset"]) == (204, "200")
    assert first.headers["upload-expires"] == "Sun, 06 Feb 2022 07:33:20 GMT"
    assert sender.stored() == DATA


def test_a_head_says_where_to_go_on(sender: Sender) -> None:
    sender.patch(DATA[:7], 0)

    answer = sender.ask("HEAD")

    assert answer.status_code == 200
    assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == ("7", "200")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload_Offset": "5"}, 409, "offset_mismatch"),
        ({"Upload_Offset": "-1"}, 400, "malformed"),
        ({"Upload_Offset": "1e3"}, 400, "malformed"),
        ({"Upload_Offset": "٣"}, 400, "malformed"),
        ({"Upload_Offset": "9" * 30}, 400, "malformed"),
        ({"Upload_Offset": ""}, 400, "malformed"),
        ({"Upload_Offset": "200"}, 413, "too_large"),
        ({"Content_Type": "video/mp4"}, 415, "unsupported_media_type"),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Tus_Resumable": "0.2.2"}, 412, "tus_version"),
        ({"Upload_Checksum": "crc32 AAAA"}, 400, "checksum_unknown"),
        ({"Upload_Checksum": "sha1 ***"}, 400, "checksum_unknown"),
        ({"Upload_Token": "x"}, 404, "not_found"),
        ({"Upload_Token": ""}, 404, "not_found"),
    ],
)
def test_a_piece_that_is_wrong_leaves_the_upload_as_it_was(
    sender: Sender, headers: dict[str, str], status: int, code: str
) -> None:
    given = {k: v.encode() if not v.isascii() else v for k, v in headers.items()}

    answer = sender.patch(b"more", 0, **given)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert sender.offset() == 0


def test_another_version_is_told_which_one_there_is(sender: Sender) -> None:
    answer = sender.patch(b"x", 0, Tus_Resumable="")

    assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")


def test_a_body_longer_than_agreed_is_refused_before_or_while_it_comes(sender: Sender) -> None:
    sender.patch(DATA[:150], 0)

    declared = sender.patch(b"x" * 51, 150)
    streamed = sender.patch(chunks(b"x" * 40, b"x" * 11), 150)

    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert sender.offset() == 150
    assert sender.stored() == DATA[:150]


def checksum(data: bytes, name: str = "sha1") -> str:
    return f"{name} {base64.b64encode(hashlib.new(name, data).digest()).decode()}"


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512"])
def test_a_piece_with_its_checksum_is_taken(sender: Sender, name: str) -> None:
    answer = sender.patch(DATA, 0, Upload_Checksum=checksum(DATA, name))

    assert answer.status_code == 204
    assert sender.stored() == DATA


def test_a_piece_with_another_checksum_is_thrown_away_whole(sender: Sender) -> None:
    sender.patch(DATA[:20], 0)

    answer = sender.patch(DATA[20:90], 20, Upload_Checksum=checksum(b"other"))

    assert (answer.status_code, answer.json()["code"]) == (460, "checksum_mismatch")
    assert sender.stored() == DATA[:20]
    assert sender.patch(DATA[20:], 20, Upload_Checksum=checksum(DATA[20:])).status_code == 204
    assert sender.stored() == DATA


def test_a_token_opens_its_own_upload_alone(kit: Kit, sender: Sender) -> None:
    body = {"name": "Other", "pathTemplate": "{fileName}"}
    made = kit.post("/v1/reporter/destinations", body, key="theirs").json()["id"]
    file = {"fileName": "b.mp4", "size": 5, "contentType": "video/mp4"}
    path = f"/v1/reporter/destinations/{made}/credentials"
    theirs = kit.post(path, file, key="theirs").json()
    stolen = theirs["headers"]["Upload-Token"]
    mine = sender.told["headers"]["Upload-Token"].partition(".")[2]

    for token in (stolen, f"{stolen.partition('.')[0]}.{mine}"):
        answer = sender.patch(b"evil", 0, Upload_Token=token)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    api_key = sender.ask("HEAD", Upload_Token="", X_Api_Key=kit.mine.api_key)
    assert api_key.status_code == 404


def test_termination_removes_what_came(sender: Sender) -> None:
    sender.patch(DATA[:20], 0)

    answer = sender.ask("DELETE")

    assert answer.status_code == 204
    assert list((Path(sender.kit.gateway.settings.data_dir) / "media").rglob("*.part")) == []
    assert sender.ask("HEAD").status_code == 410


def test_clients_that_cannot_patch_override_post(sender: Sender) -> None:
    answer = sender.ask(
        "POST",
        DATA,
        X_HTTP_Method_Override="PATCH",
        Upload_Offset="0",
        Content_Type="application/offset+octet-stream",
    )
    plain = sender.ask("POST", DATA)

    assert (answer.status_code, plain.status_code) == (204, 405)
    assert sender.stored() == DATA


def test_of_two_senders_at_once_one_is_asked_to_try_again(kit: Kit, sender: Sender) -> None:
    """The first is in the middle of its body when the second comes with the same offset."""

    async def both() -> tuple[httpx.Response, httpx.Response]:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield DATA[:100]
            begun.set()
            await go_on.wait()
            yield DATA[100:]

        transport = httpx.ASGITransport(app=kit.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = sender.headers(
                Upload_Offset="0", Content_Type="application/offset+octet-stream"
            )
            first = asyncio.create_task(
                client.patch(sender.path, headers=headers, content=slowly())
            )
            await begun.wait()
            while sender.told["uploadId"] not in kit.gateway.receiving:
                await asyncio.sleep(0)
            second = await client.patch(sender.path, headers=headers, content=b"evil" * 10)
            go_on.set()
            return await first, second

    first, second = kit.runner.run(both())

    assert (first.status_code, second.status_code) == (204, 423)
    assert second.headers["retry-after"] == "1"
    assert sender.stored() == DATA


def test_who_asks_where_to_go_on_ends_a_request_that_hangs(kit: Kit, sender: Sender) -> None:
    async def resumed() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        begun = asyncio.Event()

        async def never_ending() -> AsyncIterator[bytes]:
            yield DATA[:100]
            begun.set()
            await asyncio.Event().wait()

        transport = httpx.ASGITransport(app=kit.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = sender.headers(Content_Type="application/offset+octet-stream")
            first = asyncio.create_task(
                client.patch(
                    sender.path, headers={**headers, "Upload-Offset": "0"}, content=never_ending()
                )
            )
            await begun.wait()
            while sender.told["uploadId"] not in kit.gateway.receiving:
                await asyncio.sleep(0)
            head = await client.head(sender.path, headers=sender.headers())
            offset = head.headers["upload-offset"]
            rest = await client.patch(
                sender.path,
                headers={**headers, "Upload-Offset": offset},
                content=DATA[int(offset) :],
            )
            return await first, head, rest

    first, head, rest = kit.runner.run(resumed())

    assert first.status_code == 408
    assert head.headers["upload-offset"] == "100"
    assert rest.status_code == 204
    assert sender.stored() == DATA


def test_a_lock_of_another_process_is_respected(kit: Kit, sender: Sender) -> None:
    (part,) = (Path(kit.gateway.settings.data_dir) / "media").rglob("*.part")
    media = Path(kit.gateway.settings.data_dir) / "media"
    intent = {"key": sender.told["path"], "temp": part.name, "job_id": sender.told["uploadId"]}

    with Folder(media).receive(intent):
        locked = sender.patch(DATA, 0)
    after = sender.patch(DATA, 0)

    assert (locked.status_code, locked.json()["code"]) == (423, "upload_locked")
    assert after.status_code == 204


def test_an_upload_to_a_bucket_is_not_sent_here(kit: Kit) -> None:
    sender = Sender(kit)
    record = f"cr:upload:{kit.mine.tenant_id}:{sender.told['uploadId']}"
    client: Any = kit.gateway.store.client
    client.hset(record, "upload", client.hget(record, "upload").replace('"tus"', '"s3-post"'))

    answer = sender.patch(DATA, 0)

    assert (answer.status_code, answer.json()["code"]) == (409, "mode_unavailable")


def test_no_tenant_takes_all_the_room(kit: Kit, sender: Sender) -> None:
    mine = [Receiving(kit.mine.tenant_id) for _ in range(MAX_OF_A_TENANT)]
    theirs = [Receiving(kit.theirs.tenant_id) for _ in range(MAX_AT_ONCE)]

    kit.gateway.receiving.update({f"m{n}": one for n, one in enumerate(mine)})
    too_many = sender.patch(DATA, 0)
    kit.gateway.receiving.update({f"t{n}": one for n, one in enumerate(theirs)})
    full = sender.patch(DATA, 0)
    kit.gateway.receiving.clear()

    assert (too_many.status_code, full.status_code) == (429, 503)
    assert too_many.headers["retry-after"] == full.headers["retry-after"] == "1"
    assert sender.patch(DATA, 0).status_code == 204
