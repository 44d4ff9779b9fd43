"""A clip is accepted once, under one canonical address, however it was spelled."""

from __future__ import annotations

import httpx
import pytest

from schemas.commands import ClipFromStream
from store import keys
from tests.gateway_kit import CANONICAL, FILE_ID, HLS, NOW_MS, Kit, clip_path

MS_SPELLING = CANONICAL
CLIPLESS = FILE_ID.replace("-clip-", "-")


def test_a_clip_is_accepted_and_can_be_found_again(kit: Kit) -> None:
    connector = kit.connector()

    answer = kit.clip(connector, body={"metadata": {"title": "Goal"}})

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["progress"]) == ("clip", "queued", None)
    assert (job["fileId"], job["requestedFileId"]) == (CANONICAL, FILE_ID)
    assert job["request"]["metadata"] == {"title": "Goal"}
    assert kit.get(answer.headers["location"]).json() == job
    assert kit.get(clip_path(connector)).json() == job


@pytest.mark.parametrize("file_id", [MS_SPELLING, CLIPLESS], ids=["milliseconds", "no clip-"])
def test_two_spellings_are_one_clip(kit: Kit, file_id: str) -> None:
    connector = kit.connector()
    first = kit.clip(connector)

    second = kit.clip(connector, file_id)

    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]


def test_a_fileid_may_come_as_a_parameter(kit: Kit) -> None:
    connector = kit.connector()
    first = kit.clip(connector)

    for path in ("files/-/clip", f"files/{FILE_ID}/clip"):
        answer = kit.post(f"/v1/connectors/{connector}/{path}?fileId={FILE_ID}", {})

        assert answer.status_code == 202, answer.text
        assert answer.json()["id"] == first.json()["id"]


def test_a_rewritten_path_still_reaches_the_clip(kit: Kit) -> None:
    connector = kit.connector()

    answer = kit.post(f"/v1/connectors/{connector}/files/{FILE_ID}/clip", {})

    assert answer.status_code == 202
    assert answer.json()["fileId"] == CANONICAL


def test_no_body_means_the_defaults(kit: Kit) -> None:
    answer = kit.post(clip_path(kit.connector()))

    assert answer.status_code == 202
    request = answer.json()["request"]
    assert (request["mode"], request["gaps"], request["onFuture"]) == ("exact", "fail", "wait")


def test_the_command_carries_all_a_worker_needs(kit: Kit) -> None:
    connector = kit.connector()
    job = kit.clip(connector, body={"mode": "copy", "gaps": "black"}).json()

    record = kit.gateway.store.client.hgetall(keys.job(job["id"]))
    command = ClipFromStream.model_validate_json(record["command"])

    assert (command.mode, command.gaps, command.clip_id) == ("copy", "black", "123498625")
    assert command.connector.id == connector
    assert command.connector.sealed_auth
    assert command.destination.connector is None
    assert command.destination.key.endswith("1643957046000-1643957106000-123498625.mp4")


def test_the_same_clip_with_another_range_is_a_conflict(kit: Kit) -> None:
    connector = kit.connector()
    kit.clip(connector)

    answer = kit.clip(connector, FILE_ID.replace("1643957106", "1643957107"))

    assert answer.status_code == 409
    assert answer.json()["code"] == "clip_conflict"


@pytest.mark.parametrize("job_first", [True, False], ids=["a job first", "a job last"])
def test_one_idempotency_key_is_one_request_whatever_it_asks_for(kit: Kit, job_first: bool) -> None:
    connector, headers = kit.connector(), {"Idempotency-Key": "once"}

    def ask(job: bool) -> httpx.Response:
        if job:
            return kit.clip(connector, headers=headers)
        return kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=headers)

    first, second, again = ask(job_first), ask(not job_first), ask(job_first)

    assert first.status_code in {201, 202}
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_conflict")
    assert again.json()["id"] == first.json()["id"]
    theirs = kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=headers, key="theirs")
    assert theirs.status_code == 201


def test_a_body_with_the_mark_of_our_own_is_the_same_body_again(kit: Kit) -> None:
    connector, headers = kit.connector(), {"Idempotency-Key": "piped"}
    body = {"metadata": {"title": "Goals | all of them"}}

    answers = [kit.clip(connector, body=body, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_an_idempotency_key_gives_the_same_job(kit: Kit) -> None:
    connector = kit.connector()
    key = {"Idempotency-Key": "abc"}
    first = kit.clip(connector, headers=key)

    again = kit.clip(connector, headers=key)
    other = kit.clip(connector, body={"mode": "copy"}, headers=key)

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_clip_of_the_future_waits_or_is_refused(kit: Kit) -> None:
    connector = kit.connector()
    start = NOW_MS - 1000
    file_id = f"c1/2022/02/04/range-{start}-{NOW_MS + 5000}-clip-later"

    refused = kit.clip(connector, file_id, body={"onFuture": "reject"})
    accepted = kit.clip(connector, file_id, body={"onFuture": "wait"})

    assert (refused.status_code, refused.json()["code"]) == (425, "in_future")
    assert refused.json()["retryable"] is True
    assert accepted.status_code == 202


def test_clips_of_two_tenants_never_meet(kit: Kit) -> None:
    ours, others = kit.connector(), kit.connector(key="theirs")
    first = kit.clip(ours).json()

    second = kit.clip(others, key="theirs").json()

    assert first["id"] != second["id"]
    assert kit.get(f"/v1/jobs/{first['id']}", key="theirs").status_code == 404
    assert kit.get(clip_path(ours), key="theirs").status_code == 404


def test_a_changed_connector_is_used_at_once(kit: Kit) -> None:
    connector = kit.connector()
    kit.clip(connector)
    kit.patch(f"/v1/connectors/{connector}", {"config": {"url": "http://127.0.0.1:9/new.m3u8"}})

    job = kit.clip(connector, FILE_ID.replace("123498625", "other")).json()

    record = kit.gateway.store.client.hgetall(keys.job(job["id"]))
    command = ClipFromStream.model_validate_json(record["command"])
    assert command.connector.config["url"].endswith("new.m3u8")


def test_a_cancelled_clip_is_still_found_and_can_be_asked_for_again(kit: Kit) -> None:
    connector = kit.connector()
    first = kit.clip(connector).json()
    kit.post(f"/v1/jobs/{first['id']}/cancel")

    found = kit.get(clip_path(connector)).json()
    second = kit.clip(connector).json()

    assert (found["id"], found["state"]) == (first["id"], "cancelled")
    assert second["id"] != first["id"]


def test_a_clip_nobody_asked_for_is_unknown(kit: Kit) -> None:
    answer = kit.get(clip_path(kit.connector()))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
