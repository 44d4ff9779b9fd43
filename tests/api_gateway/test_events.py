"""Events are replayed from where a client left off, and never cross tenants."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api_gateway.routes.events import MAX_STREAMS
from store.events import MAX_FOLLOWERS
from tests.gateway_kit import FILE_ID, Kit

SSE = {"Accept": "text/event-stream"}


def a_cancelled_job(kit: Kit, connector: str | None = None, clip: str = "a") -> str:
    job = kit.clip(connector or kit.connector(), FILE_ID.replace("123498625", clip)).json()["id"]
    assert kit.post(f"/v1/jobs/{job}/cancel").status_code == 202
    return str(job)


def told(text: str) -> list[dict[str, Any]]:
    """The events of a stream's text."""
    blocks = [dict(line.split(": ", 1) for line in b.split("\n")) for b in text.split("\n\n") if b]
    return [{**json.loads(b["data"]), "_id": b["id"], "_event": b["event"]} for b in blocks[1:]]


def test_a_jobs_stream_tells_it_from_the_beginning_and_ends_with_it(kit: Kit) -> None:
    job = a_cancelled_job(kit)

    answer = kit.get(f"/v1/jobs/{job}/events", headers=SSE)

    found = told(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [e["type"] for e in found] == ["job.queued", "job.cancelled"]
    assert all(e["_id"] == e["id"] and e["_event"] == e["type"] for e in found)
    assert [e["seq"] for e in found] == [1, 2]
    assert {e["jobId"] for e in found} == {job}


def test_a_stream_goes_on_after_the_last_event_seen(kit: Kit) -> None:
    job = a_cancelled_job(kit)
    first, last = told(kit.get(f"/v1/jobs/{job}/events", headers=SSE).text)

    rest = kit.get(f"/v1/jobs/{job}/events", headers={**SSE, "Last-Event-ID": first["id"]})
    nothing = kit.get(f"/v1/jobs/{job}/events", headers={**SSE, "Last-Event-ID": last["id"]})

    assert [e["id"] for e in told(rest.text)] == [last["id"]]
    assert (nothing.status_code, nothing.content) == (204, b"")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/{job}/events"])
def test_pages_follow_each_other(kit: Kit, path: str) -> None:
    job = a_cancelled_job(kit)
    path = path.format(job=job)

    first = kit.get(f"{path}?limit=1").json()
    second = kit.get(f"{path}?limit=5&after={first['nextCursor']}").json()

    assert [e["type"] for e in first["items"]] == ["job.queued"]
    assert [e["type"] for e in second["items"]] == ["job.cancelled"]
    assert second["nextCursor"] is None


def test_json_is_given_to_whoever_asks_for_it(kit: Kit) -> None:
    job = a_cancelled_job(kit)

    answer = kit.get(f"/v1/jobs/{job}/events", headers={"Accept": "application/json"})

    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()["items"]) == 2


def test_another_tenants_events_are_not_told(kit: Kit) -> None:
    job = a_cancelled_job(kit)

    assert kit.get("/v1/events?limit=10", key="theirs").json()["items"] == []
    for headers in (SSE, {"Accept": "application/json"}):
        answer = kit.get(f"/v1/jobs/{job}/events", key="theirs", headers=headers)
        assert answer.status_code == 404


def test_no_stream_stays_counted_once_it_is_over(kit: Kit) -> None:
    job = a_cancelled_job(kit)

    kit.get(f"/v1/jobs/{job}/events", headers=SSE)

    assert not kit.gateway.streams
    assert "cuttingroom_http_event_streams 0.0" in kit.get("/metrics", key=None).text


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/{job}/events"])
def test_a_stream_ends_soon_after_its_credential(kit: Kit, path: str) -> None:
    job = kit.clip(kit.connector()).json()["id"]
    secret = kit.api_key("read", name="watcher")
    (key,) = [one for one in kit.get("/v1/api-keys").json()["items"] if one["name"] == "watcher"]
    kit.gateway.heartbeat_s = 0.05

    def end() -> None:
        with kit.gateway.catalog.write() as tx:
            tx.api_keys.change(kit.mine.tenant_id, key["id"], enabled=False)
        kit.gateway.keys.clear()

    answer = kit.stream(path.format(job=job), end, key=secret)

    assert answer.status_code == 200
    assert kit.get(path.format(job=job), key=secret).status_code == 401
    assert not kit.gateway.streams


@pytest.mark.parametrize("gone", [True, False], ids=["forgotten", "ended before"])
def test_a_stream_ends_where_nothing_is_left_to_tell(kit: Kit, gone: bool) -> None:
    job = kit.clip(kit.connector()).json()["id"]
    kit.gateway.heartbeat_s = 0.05

    def end() -> None:
        kit.gateway.jobs.cancel(kit.mine.tenant_id, job)
        if gone:
            kit.gateway.store.client.delete(f"cr:job:{job}", f"cr:job:{job}:events")

    answer = kit.stream(
        f"/v1/jobs/{job}/events?after=18446744073709551614-0", end, key=kit.mine.api_key
    )

    assert (answer.status_code, told(answer.text)) == (200, [])


@pytest.mark.parametrize("last", ["18446744073709551615-0", "0-99999999999999999999", "1-1-1"])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_an_id_that_no_event_can_have_is_refused(kit: Kit, last: str, accept: str) -> None:
    for asked in (
        kit.get("/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": last}),
        kit.get(f"/v1/events?after={last}", headers={"Accept": accept}),
    ):
        assert (asked.status_code, asked.json()["code"]) == (422, "cursor_invalid")


@pytest.mark.parametrize(("tenant", "status"), [("mine", 429), ("theirs", 503)])
def test_so_many_streams_are_open_at_once_and_no_more(kit: Kit, tenant: str, status: int) -> None:
    kit.gateway.streams[kit.mine.tenant_id] = MAX_STREAMS
    kit.gateway.streams["others"] = MAX_FOLLOWERS

    refused = kit.get("/v1/events", headers=SSE, key=tenant)

    assert (refused.status_code, refused.json()["retryable"]) == (status, True)
    assert int(refused.headers["retry-after"]) > 0
