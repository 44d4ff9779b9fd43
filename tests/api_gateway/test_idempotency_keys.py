"""One Idempotency-Key is one request, also where several come at the same moment."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.answers import KEPT_MS
from store import idempotency, keys
from tests.gateway_kit import HLS, Kit, clip_path
from tests.timelines import a_clip, a_timeline, a_track

KEY = {"Idempotency-Key": "once"}


def test_of_other_requests_at_one_moment_only_one_passes(kit: Kit) -> None:
    clip = (clip_path(kit.connector()), {"mode": "copy"})
    posts = [clip, *(("/v1/connectors", {**HLS, "name": f"n{n}"}) for n in range(3))]

    answers = kit.at_once(*posts, headers=KEY)

    passed = [answer for answer in answers if answer.status_code < 300]
    refused = [answer.json()["code"] for answer in answers if answer.status_code >= 300]
    assert len(passed) == 1
    assert refused == ["idempotency_conflict"] * 3


def test_equal_requests_at_one_moment_make_one_thing(kit: Kit) -> None:
    posts = [("/v1/webhooks", {"url": "https://hooks.example/in"})] * 4

    answers = kit.at_once(*posts, headers=KEY)

    again = kit.post(*posts[0], headers=KEY)
    told = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert {answer.text for answer in answers if answer.status_code == 201} == {again.text}
    assert told <= {"idempotency_in_progress"}
    assert len(kit.get("/v1/webhooks").json()["items"]) == 1


@pytest.mark.parametrize("job", [True, False], ids=["a job", "no job"])
def test_nothing_else_is_taken_under_the_key_of_a_request_under_way(kit: Kit, job: bool) -> None:
    connector, held = kit.connector(), kit.gateway.store
    claim = idempotency.claim(held, kit.mine.tenant_id, "once", "another request")

    def ask() -> Any:
        if job:
            return kit.clip(connector, headers=KEY)
        return kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=KEY)

    refused = ask()
    idempotency.release(held, claim)
    taken = ask()

    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert taken.status_code in {201, 202}


@pytest.mark.parametrize("outside", [True, False], ids=["outside the catalogue", "within"])
def test_a_request_under_way_is_asked_again_later(kit: Kit, outside: bool) -> None:
    job = kit.clip(kit.connector()).json()["id"]
    path, body = f"/v1/jobs/{job}/cancel", {}
    if not outside:
        path, body = "/v1/webhooks", {"url": "https://hooks.example/in"}
    kit.post(path, body, headers=KEY)
    redis: Any = kit.gateway.store.client
    name = keys.idempotency(kit.mine.tenant_id, "once")
    # As a process leaves it that died before it had answered.
    redis.set(name, redis.get(name).rpartition("|")[0] + "|~another", ex=idempotency.CLAIM_S)
    kit.clock.advance(KEPT_MS + 1)

    refused = kit.post(path, body, headers=KEY)
    redis.delete(name)
    taken = kit.post(path, body, headers=KEY)

    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_progress")
    assert refused.json()["retryable"] is True
    assert int(refused.headers["retry-after"]) <= 5
    assert taken.status_code == (409 if outside else 201)
    assert taken.json().get("code") == ("job_finished" if outside else None)


def test_a_refused_request_leaves_its_key_to_the_next(kit: Kit) -> None:
    kit.connector()

    taken = kit.post("/v1/connectors", HLS, headers=KEY)
    other = kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=KEY)

    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    assert other.status_code == 201


def test_another_query_is_another_request(kit: Kit) -> None:
    document = a_timeline(a_track(a_clip()))
    paths = [f"/v1/projects?title={title}" for title in ("One", "Two", "One")]

    first, other, again = (kit.post(path, document, headers=KEY) for path in paths)

    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert again.json() == first.json()


def test_the_document_says_which_requests_keep_no_answer(kit: Kit) -> None:
    paths = kit.get("/openapi.json").json()["paths"]

    unkept = {
        post["operationId"]
        for post in (methods["post"] for methods in paths.values() if "post" in methods)
        for taken in post.get("parameters", ())
        if taken["name"] == "Idempotency-Key" and "nothing is kept" in taken["description"]
    }

    assert unkept == {
        "answerMfa", "authenticate", "changeTemporaryPassword", "checkConnectorAuth", "confirmMfa",
        "confirmRecoverPassword", "enrolMfa", "logout", "queryConnector", "recoverPassword",
        "refreshToken",
    }  # fmt: skip


def test_what_only_asks_asks_anew_whatever_its_key(kit: Kit) -> None:
    path = f"/v1/connectors/{kit.connector()}/query"

    answers = [kit.post(path, {"text": text}, headers=KEY) for text in ("one", "two", "one")]

    assert [answer.status_code for answer in answers] == [200] * 3
