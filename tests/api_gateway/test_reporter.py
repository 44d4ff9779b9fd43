"""Reporter over HTTP: destinations kept and judged, uploads agreed on, renewed, ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import CheckUpload, parse_command
from schemas.jobs import JobError
from schemas.ledger import Lease
from store.jobs import RedisLedger
from tests.gateway_kit import Kit, a_kit

PLACE = {"name": "Phones", "pathTemplate": "{date}/{fileName}"}
FILE = {"fileName": "goal.mp4", "size": 10, "contentType": "video/mp4"}
HOUR_MS = 3600 * 1000


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with a_kit(tmp_path, local_folders=(str(tmp_path / "field"),)) as made:
        (tmp_path / "field").mkdir()
        yield made


def a_destination(kit: Kit, **changes: Any) -> str:
    answer = kit.post("/v1/reporter/destinations", PLACE | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def a_folder(kit: Kit, tmp_path: Path) -> str:
    return kit.connector("Field", type="local", config={"folder": str(tmp_path / "field")})


def credentials(kit: Kit, destination: str, **changes: Any) -> Any:
    return kit.post(f"/v1/reporter/destinations/{destination}/credentials", FILE | changes)


def begun(kit: Kit, destination: str, **changes: Any) -> dict[str, Any]:
    answer = credentials(kit, destination, **changes)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def path_of(url: str) -> str:
    return url.removeprefix("http://test")


def send(kit: Kit, told: dict[str, Any], data: bytes, offset: int = 0) -> Any:
    headers = {
        **told["headers"],
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
    }
    return kit.ask("PATCH", path_of(told["endpoint"]), key=None, headers=headers, content=data)


def sent(kit: Kit, destination: str) -> dict[str, Any]:
    """An upload whose bytes have all come."""
    told = begun(kit, destination)
    assert send(kit, told, b"0123456789").status_code == 204
    return told


def claimed(kit: Kit) -> Lease:
    lease = RedisLedger(kit.gateway.store).claim("upload", "test", "nonce")
    assert lease is not None
    return lease


def state(kit: Kit, destination: str, upload: str) -> Any:
    return kit.get(f"/v1/reporter/destinations/{destination}/uploads/{upload}").json()


def test_a_destination_is_kept_listed_and_read_back(kit: Kit, tmp_path: Path) -> None:
    connector = a_folder(kit, tmp_path)
    body = {
        **PLACE,
        "connectorId": connector,
        "maxBytes": 5_000_000_000,
        "allowedTypes": ["video/*", "Image/JPEG"],
    }

    made = kit.post("/v1/reporter/destinations", body)

    read = kit.get(made.headers["location"])
    listed = kit.get("/v1/reporter/destinations").json()["items"]
    assert made.status_code == 201
    assert read.json() == made.json() == listed[0]
    assert read.headers["etag"] == made.headers["etag"]
    assert read.json()["allowedTypes"] == ["video/*", "image/jpeg"]
    assert (read.json()["connectorId"], read.json()["maxBytes"]) == (connector, 5_000_000_000)


def test_a_name_is_one_destinations(kit: Kit) -> None:
    a_destination(kit)

    again = kit.post("/v1/reporter/destinations", PLACE)

    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"pathTemplate": "../{fileName}"}, "/pathTemplate"),
        ({"pathTemplate": "/{fileName}"}, "/pathTemplate"),
        ({"pathTemplate": "{shoe}"}, "/pathTemplate"),
        ({"pathTemplate": "{fileName"}, "/pathTemplate"),
        ({"pathTemplate": "a\0/{fileName}"}, "/pathTemplate"),
        ({"pathTemplate": "a\n/{fileName}"}, "/pathTemplate"),
        ({"maxBytes": 0}, "/maxBytes"),
        ({"allowedTypes": ["video"]}, "/allowedTypes"),
        ({"allowedTypes": ["*/*"]}, "/allowedTypes"),
        ({"allowedTypes": []}, "/allowedTypes"),
        ({"connectorId": "con_unknown"}, "/connectorId"),
        ({"name": ""}, "/name"),
        ({"tenantId": "x"}, "/tenantId"),
    ],
)
def test_a_destination_that_cannot_work_is_refused(
    kit: Kit, change: dict[str, Any], pointer: str
) -> None:
    answer = kit.post("/v1/reporter/destinations", PLACE | change)

    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_a_connector_that_takes_no_uploads_is_refused(kit: Kit) -> None:
    answer = kit.post("/v1/reporter/destinations", {**PLACE, "connectorId": kit.connector()})

    assert (answer.status_code, answer.json()["code"]) == (422, "not_supported")


def test_a_merge_patch_changes_what_it_names_and_is_checked_whole(kit: Kit) -> None:
    made = a_destination(kit, maxBytes=100, allowedTypes=["video/mp4"])
    path = f"/v1/reporter/destinations/{made}"
    tag = kit.get(path).headers["etag"]

    changed = kit.patch(path, {"maxBytes": None, "name": "Cameras"}, headers={"If-Match": tag})
    stale = kit.patch(path, {"name": "x"}, headers={"If-Match": tag})
    wrong = kit.patch(path, {"pathTemplate": "a//b"})
    nameless = kit.patch(path, {"name": None})

    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["maxBytes"]) == ("Cameras", None)
    assert changed.json()["allowedTypes"] == ["video/mp4"]
    assert (stale.status_code, wrong.status_code, nameless.status_code) == (412, 422, 422)


def test_deleting_waits_for_uploads_unless_forced(kit: Kit) -> None:
    made = a_destination(kit)
    told = begun(kit, made)

    refused = kit.ask("DELETE", f"/v1/reporter/destinations/{made}")
    forced = kit.ask("DELETE", f"/v1/reporter/destinations/{made}?force=true")

    assert (refused.status_code, refused.json()["code"]) == (409, "destination_busy")
    assert forced.status_code == 204
    assert kit.get(f"/v1/reporter/destinations/{made}").status_code == 404
    assert send(kit, told, b"01").status_code == 410


def test_credentials_say_what_to_do_and_until_when(kit: Kit, tmp_path: Path) -> None:
    made = a_destination(kit, connectorId=a_folder(kit, tmp_path))

    told = begun(kit, made, fileName="C:\\DCIM\\Goal?.MOV", contentType="video/quicktime")

    assert told["mode"] == "tus"
    assert told["path"] == "2022-02-04/Goal_.MOV"
    assert (told["serverTime"], told["expiresAt"]) == (
        "2022-02-04T07:33:20.000Z",
        "2022-02-04T08:33:20.000Z",
    )
    assert (told["offset"], told["length"]) == (0, 10)
    assert told["renewUrl"].startswith("http://test/v1/reporter/destinations/")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"size": 101}, 413, "too_large"),
        ({"contentType": "image/png"}, 415, "type_not_allowed"),
        ({"contentType": "application/pdf"}, 415, "type_not_allowed"),
        ({"contentType": "video"}, 422, "invalid"),
        ({"contentType": "video/*"}, 422, "invalid"),
        ({"size": 0}, 422, "invalid"),
        ({"sha256": "abc"}, 422, "invalid"),
        ({"fileName": "a\nb"}, 422, "invalid"),
        ({"mode": "s3-post"}, 422, "mode_unavailable"),
        ({"mode": "ftp"}, 422, "invalid"),
    ],
)
def test_a_file_the_destination_will_not_have_is_refused_before_it_is_sent(
    kit: Kit, change: dict[str, Any], status: int, code: str
) -> None:
    made = a_destination(kit, maxBytes=100, allowedTypes=["video/*"])

    answer = credentials(kit, made, **change)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_cannot_be_checked_is_not_taken_anywhere(kit: Kit) -> None:
    answer = credentials(kit, a_destination(kit), contentType="application/pdf")

    assert (answer.status_code, answer.json()["code"]) == (415, "type_not_allowed")


def test_two_uploads_of_one_name_get_two_keys(kit: Kit) -> None:
    made = a_destination(kit)

    first, second = begun(kit, made), begun(kit, made)

    assert first["key"] != second["key"]
    assert second["uploadId"] in second["key"]


def test_a_name_given_up_is_free_again(kit: Kit, tmp_path: Path) -> None:
    made = a_destination(kit)

    refused = credentials(kit, made, mode="s3-sts")
    told = begun(kit, made)

    assert refused.status_code == 422
    assert told["uploadId"] not in told["key"]


def test_a_repeated_request_begins_no_second_upload(kit: Kit) -> None:
    made = a_destination(kit)
    path, key = f"/v1/reporter/destinations/{made}/credentials", {"Idempotency-Key": "k1"}

    first, again = kit.post(path, FILE, headers=key), kit.post(path, FILE, headers=key)
    other = kit.post(path, {**FILE, "size": 11}, headers=key)

    assert first.json() == again.json()
    assert other.json()["code"] == "idempotency_conflict"
    assert len(kit.get(f"/v1/reporter/destinations/{made}/uploads").json()["items"]) == 1


def test_renewed_credentials_are_of_the_same_upload_and_say_what_came(kit: Kit) -> None:
    told = begun(kit, a_destination(kit))
    send(kit, told, b"0123")
    kit.clock.advance(2 * HOUR_MS)
    late = send(kit, told, b"4567", 4)

    renewed = kit.post(path_of(told["renewUrl"]))

    assert (late.status_code, late.json()["code"]) == (401, "credentials_expired")
    assert renewed.status_code == 200
    again = renewed.json()
    assert [again[n] for n in ("uploadId", "key", "offset")] == [
        told["uploadId"],
        told["key"],
        4,
    ]
    assert send(kit, again, b"456789", 4).status_code == 204


def test_credentials_never_outlive_their_upload(kit: Kit) -> None:
    told = begun(kit, a_destination(kit))
    kit.clock.advance(48 * HOUR_MS - 60_000)

    renewed = kit.post(path_of(told["renewUrl"])).json()
    kit.clock.advance(60_001)
    too_late = kit.post(path_of(told["renewUrl"]))

    assert renewed["expiresAt"] == told["uploadExpiresAt"]
    assert (too_late.status_code, too_late.json()["code"]) == (410, "upload_expired")


def test_completing_asks_for_one_check(kit: Kit) -> None:
    made = a_destination(kit, allowedTypes=["video/mp4"])
    told = sent(kit, made)

    first = kit.post(path_of(told["completeUrl"]))
    again = kit.post(path_of(told["completeUrl"]))

    command = parse_command(claimed(kit).command)
    assert isinstance(command, CheckUpload)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["kind"] == "upload"
    assert first.json()["id"] == again.json()["id"]
    assert (command.upload_id, command.size) == (told["uploadId"], 10)
    assert command.allowed_types == ("video/mp4",)
    assert state(kit, made, told["uploadId"])["state"] == "checking"
    assert kit.post(path_of(told["renewUrl"])).json()["code"] == "upload_checking"


def test_completing_what_has_not_come_changes_nothing(kit: Kit) -> None:
    made = a_destination(kit)
    told = begun(kit, made)
    send(kit, told, b"0123")

    early = kit.post(path_of(told["completeUrl"]))

    assert (early.status_code, early.json()["code"]) == (409, "upload_incomplete")
    assert "4 of 10" in early.json()["detail"]
    assert state(kit, made, told["uploadId"])["state"] == "open"


def test_what_became_of_a_check_is_what_became_of_the_upload(kit: Kit) -> None:
    made = a_destination(kit)
    good, bad = sent(kit, made), sent(kit, made)
    ledger = RedisLedger(kit.gateway.store)
    for told in (good, bad):
        kit.post(path_of(told["completeUrl"]))
    ledger.finish(claimed(kit), {"uploadId": good["uploadId"], "key": "k", "size": 10})
    lease = ledger.claim("upload", "test", "another")
    assert lease is not None
    ledger.fail(lease, JobError(code="media_invalid", message="no media", retryable=False))

    states = [state(kit, made, told["uploadId"]) for told in (good, bad)]

    assert [one["state"] for one in states] == ["completed", "failed"]
    assert states[1]["error"]["code"] == "media_invalid"
    ended = [kit.post(path_of(told["renewUrl"])) for told in (good, bad)]
    assert [(a.status_code, a.json()["code"]) for a in ended] == [
        (410, "upload_completed"),
        (410, "upload_failed"),
    ]


def test_a_job_there_is_already_answers_its_key_like_a_new_one(kit: Kit) -> None:
    destination, key = a_destination(kit), {"Idempotency-Key": "k1"}
    one, two = sent(kit, destination), sent(kit, destination)
    known = kit.post(path_of(one["completeUrl"]))

    keyed = kit.post(path_of(one["completeUrl"]), headers=key)
    other = kit.post(path_of(two["completeUrl"]), headers=key)
    kit.post(f"/v1/jobs/{known.json()['id']}/cancel")
    again = kit.post(path_of(one["completeUrl"]), headers=key)

    assert (keyed.status_code, keyed.json()["id"]) == (200, known.json()["id"])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


def test_the_event_of_a_completed_upload_is_the_upload(kit: Kit) -> None:
    told = sent(kit, a_destination(kit))
    kit.post(path_of(told["completeUrl"]))
    result = {"uploadId": told["uploadId"], "key": "k", "size": 10, "type": "video/mp4"}

    RedisLedger(kit.gateway.store).finish(claimed(kit), result)

    events = kit.get("/v1/events", headers={"Accept": "application/json"}).json()["items"]
    (completed,) = [event for event in events if event["type"] == "upload.completed"]
    assert completed["data"] == result


def test_a_cancelled_check_can_be_asked_for_again(kit: Kit) -> None:
    made = a_destination(kit)
    told = sent(kit, made)
    job = kit.post(path_of(told["completeUrl"])).json()["id"]
    kit.post(f"/v1/jobs/{job}/cancel")

    after = state(kit, made, told["uploadId"])["state"]
    again = kit.post(path_of(told["completeUrl"]))

    assert after == "open"
    assert (again.status_code, again.json()["id"] != job) == (202, True)


def test_an_upload_given_up_is_gone(kit: Kit, tmp_path: Path) -> None:
    made = a_destination(kit, connectorId=a_folder(kit, tmp_path))
    told = begun(kit, made)
    path = f"/v1/reporter/destinations/{made}/uploads/{told['uploadId']}"

    given_up = kit.ask("DELETE", path)

    assert given_up.status_code == 204
    assert [p for p in (tmp_path / "field").rglob("*") if p.is_file()] == []
    assert state(kit, made, told["uploadId"])["state"] == "failed"
    assert kit.ask("DELETE", path).status_code == 410
    assert kit.post(path_of(told["completeUrl"])).status_code == 410


def test_uploads_are_listed_newest_first_page_by_page(kit: Kit) -> None:
    made, other = a_destination(kit), a_destination(kit, name="Other")
    ids = []
    for number in range(5):
        kit.clock.advance(1)
        ids.append(begun(kit, made, fileName=f"{number}.mp4")["uploadId"])
    begun(kit, other)
    path, seen, cursor = f"/v1/reporter/destinations/{made}/uploads", [], ""

    for _ in range(4):
        page = kit.get(f"{path}?limit=2{cursor}").json()
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"

    assert seen == ids[::-1]


def test_a_tenant_has_only_so_many_uploads_under_way(tmp_path: Path) -> None:
    with a_kit(tmp_path, uploads_open=2) as kit:
        made = a_destination(kit)
        begun(kit, made)
        begun(kit, made)

        refused = credentials(kit, made)
        kit.clock.advance(49 * HOUR_MS)
        later = credentials(kit, made)

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
    assert later.status_code == 201


def test_another_destinations_upload_is_an_unknown_one(kit: Kit) -> None:
    made, other = a_destination(kit), a_destination(kit, name="Other")
    told = begun(kit, made)

    crossed = kit.get(f"/v1/reporter/destinations/{other}/uploads/{told['uploadId']}")
    foreign = kit.get(f"/v1/reporter/destinations/{made}/uploads/{told['uploadId']}", key="theirs")

    assert (crossed.status_code, foreign.status_code) == (404, 404)


def test_a_destination_whose_connector_is_gone_begins_nothing(kit: Kit, tmp_path: Path) -> None:
    connector = a_folder(kit, tmp_path)
    made = a_destination(kit, connectorId=connector)
    kit.ask("DELETE", f"/v1/connectors/{connector}")

    answer = credentials(kit, made)

    assert (answer.status_code, answer.json()["code"]) == (409, "connector_gone")


def test_no_token_reaches_the_catalogue_in_the_clear(kit: Kit, tmp_path: Path) -> None:
    made = a_destination(kit)
    answer = kit.post(
        f"/v1/reporter/destinations/{made}/credentials", FILE, headers={"Idempotency-Key": "k"}
    )
    token = answer.json()["headers"]["Upload-Token"].partition(".")[2]

    kept = b"".join(p.read_bytes() for p in tmp_path.glob("catalog.sqlite3*"))
    events = kit.get("/v1/events", headers={"Accept": "application/json"}).text
    redis: Any = kit.gateway.store.client
    held = [redis.hgetall(key) for key in redis.scan_iter("cr:upload:*")]

    assert token.encode() not in kept
    assert token not in events
    assert held
    assert token not in str(held)
