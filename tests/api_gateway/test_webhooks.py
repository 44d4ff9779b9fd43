"""Webhooks: made, changed, rotated, tested and deleted; their secrets shown once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.webhooks import EVENT_TYPES, Outcome
from store.webhooks import Deliveries
from tests.gateway_kit import Kit, a_kit

URL = "https://hooks.example.com/cuttingroom?token=abc"


def a_webhook(kit: Kit, **body: Any) -> dict[str, Any]:
    answer = kit.post("/v1/webhooks", {"url": URL, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def planned(kit: Kit, webhook_id: str) -> Deliveries:
    """One event on its way to the webhook."""
    deliveries = Deliveries(kit.gateway.store)
    kit.gateway.events.emit(kit.mine.tenant_id, "clip.ready", {"result": {}})
    with kit.gateway.catalog.read() as tx:
        deliveries.plan([tx.webhooks.get(kit.mine.tenant_id, webhook_id)])
    return deliveries


def test_a_webhook_is_sent_everything_unless_it_says_what(kit: Kit) -> None:
    everything = a_webhook(kit)
    some = a_webhook(kit, events=["job.failed", "clip.ready", "job.failed"])

    assert everything["events"] == list(EVENT_TYPES)
    assert some["events"] == ["job.failed", "clip.ready"]


def test_the_secret_is_shown_once_and_kept_sealed(kit: Kit) -> None:
    made = a_webhook(kit)

    shown = kit.get(f"/v1/webhooks/{made['id']}")
    listed = kit.get("/v1/webhooks")

    assert made["secret"].startswith("whsec_")
    assert (shown.json()["secret"], listed.json()["items"][0]["secret"]) == ("***", "***")
    with kit.gateway.catalog.read() as tx:
        held = tx.webhooks.get(kit.mine.tenant_id, made["id"])
    assert made["secret"] not in held.model_dump_json()
    assert made["secret"] not in repr(held)


def test_a_rotated_secret_leaves_the_old_one_its_grace(kit: Kit) -> None:
    made = a_webhook(kit)
    path = f"/v1/webhooks/{made['id']}"

    rotated = kit.patch(path, {"rotate": True, "graceSeconds": 60}).json()
    at_once = kit.patch(path, {"rotate": True, "graceSeconds": 0}).json()

    assert len({made["secret"], rotated["secret"], at_once["secret"]}) == 3
    assert rotated["previousSecretUntil"] == "2022-02-04T07:34:20.000Z"
    assert at_once["previousSecretUntil"] is None


def test_a_change_is_made_from_what_was_read(kit: Kit) -> None:
    made = a_webhook(kit)
    path = f"/v1/webhooks/{made['id']}"
    tag = kit.get(path).headers["etag"]

    changed = kit.patch(path, {"description": "two"}, headers={"If-Match": tag})
    stale = kit.patch(path, {"description": "three"}, headers={"If-Match": tag})

    assert (changed.json()["description"], changed.json()["secret"]) == ("two", "***")
    assert stale.status_code == 412


def test_a_repeated_creation_gives_the_same_secret(kit: Kit) -> None:
    key = {"Idempotency-Key": "once"}

    first = kit.post("/v1/webhooks", {"url": URL}, headers=key)
    again = kit.post("/v1/webhooks", {"url": URL}, headers=key)

    assert again.json() == first.json()
    assert len(kit.get("/v1/webhooks").json()["items"]) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://",
        "https://user:password@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\u00e9",
        "https://hooks.example.com/\r\nX: 1",
        "javascript:alert(1)",
    ],
)
def test_a_url_that_is_never_delivered_to_is_refused(kit: Kit, url: str) -> None:
    made = a_webhook(kit)

    answers = [
        kit.post("/v1/webhooks", {"url": url}),
        kit.patch(f"/v1/webhooks/{made['id']}", {"url": url}),
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(422, "url_invalid")] * 2
    assert answers[0].json()["errors"][0]["pointer"] == "/url"


def test_plain_http_is_for_networks_the_operator_lists(tmp_path: Path) -> None:
    with a_kit(tmp_path, allow_cidrs=("127.0.0.0/8",)) as kit:
        inside = kit.post("/v1/webhooks", {"url": "http://127.0.0.1:9/hook"})
        outside = kit.post("/v1/webhooks", {"url": "http://93.184.215.14/hook"})

    assert (inside.status_code, outside.status_code) == (201, 422)


@pytest.mark.parametrize(
    "body",
    [{}, {"url": URL, "events": []}, {"url": URL, "events": ["nothing.ever"]}],
    ids=["no url", "no events", "an unknown event"],
)
def test_a_body_that_makes_no_sense_is_refused(kit: Kit, body: dict[str, Any]) -> None:
    assert kit.post("/v1/webhooks", body).status_code == 422


def test_a_tenant_has_twenty_webhooks_at_most(kit: Kit) -> None:
    for _ in range(20):
        a_webhook(kit)

    answer = kit.post("/v1/webhooks", {"url": URL})

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


def test_a_test_is_queued_and_stands_in_the_log(kit: Kit) -> None:
    made = a_webhook(kit, enabled=False)

    answer = kit.post(f"/v1/webhooks/{made['id']}/test")

    (logged,) = kit.get(f"/v1/webhooks/{made['id']}/deliveries").json()["items"]
    assert answer.status_code == 202
    assert logged == answer.json()
    assert (logged["test"], logged["status"], logged["eventType"]) == (
        True,
        "pending",
        "webhook.test",
    )


def test_the_log_tells_what_became_of_a_delivery(kit: Kit) -> None:
    made = a_webhook(kit)
    deliveries = planned(kit, made["id"])
    (claim,) = deliveries.claim(1, 1).claims
    outcome = Outcome(code=503, duration_ms=12, reason="answered 503")

    deliveries.retried(claim, outcome, 60_000, 0)

    (logged,) = kit.get(f"/v1/webhooks/{made['id']}/deliveries").json()["items"]
    shown = kit.get(f"/v1/webhooks/{made['id']}").json()
    assert {
        name: logged[name]
        for name in ("status", "attempts", "responseCode", "durationMs", "reason", "finishedAt")
    } == {
        "status": "pending",
        "attempts": 1,
        "responseCode": 503,
        "durationMs": 12,
        "reason": "answered 503",
        "finishedAt": None,
    }
    assert logged["nextAttemptAt"] > logged["lastAttemptAt"]
    assert (shown["status"], shown["failingSince"] is not None) == ("failing", True)


def test_the_tag_follows_how_the_webhook_is_doing(kit: Kit) -> None:
    made = a_webhook(kit)
    path = f"/v1/webhooks/{made['id']}"
    tag = kit.get(path).headers["etag"]
    deliveries = planned(kit, made["id"])
    (claim,) = deliveries.claim(1, 1).claims

    deliveries.retried(claim, Outcome(reason="no"), 60_000, 0)

    seen = kit.get(path, headers={"If-None-Match": tag})
    assert seen.status_code == 200
    assert kit.get(path, headers={"If-None-Match": seen.headers["etag"]}).status_code == 304


def test_a_delivery_is_sent_again_under_its_id(kit: Kit) -> None:
    made = a_webhook(kit)
    deliveries = planned(kit, made["id"])
    (claim,) = deliveries.claim(1, 1).claims
    deliveries.delivered(claim, Outcome(code=200))

    path = f"/v1/webhooks/{made['id']}/deliveries/{claim.delivery_id}/redeliver"
    answer = kit.post(path)

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert [c.delivery_id for c in deliveries.claim(1, 1).claims] == [claim.delivery_id]


def test_nothing_is_sent_again_to_a_disabled_webhook(kit: Kit) -> None:
    made = a_webhook(kit)
    deliveries = planned(kit, made["id"])
    (claim,) = deliveries.claim(1, 1).claims
    kit.patch(f"/v1/webhooks/{made['id']}", {"enabled": False})

    answer = kit.post(f"/v1/webhooks/{made['id']}/deliveries/{claim.delivery_id}/redeliver")

    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")


def test_one_that_is_enabled_again_begins_with_what_happens_then(kit: Kit) -> None:
    made = a_webhook(kit)
    path = f"/v1/webhooks/{made['id']}"
    kit.patch(path, {"enabled": False})
    planned_before = kit.gateway.events.emit(kit.mine.tenant_id, "clip.ready", {})

    shown = kit.patch(path, {"enabled": True}).json()
    planned(kit, made["id"])

    (logged,) = kit.get(f"{path}/deliveries").json()["items"]
    assert shown["status"] == "active"
    assert logged["eventId"] != planned_before


def test_a_deleted_webhook_leaves_nothing(kit: Kit) -> None:
    made = a_webhook(kit)
    planned(kit, made["id"])

    answer = kit.ask("DELETE", f"/v1/webhooks/{made['id']}")

    assert answer.status_code == 204
    assert kit.get(f"/v1/webhooks/{made['id']}").status_code == 404
    assert list(kit.gateway.store.client.scan_iter(match=f"*{made['id']}*")) == []


def test_a_log_belongs_to_its_webhook(kit: Kit) -> None:
    first, second = a_webhook(kit), a_webhook(kit)
    sent = kit.post(f"/v1/webhooks/{first['id']}/test").json()

    answer = kit.post(f"/v1/webhooks/{second['id']}/deliveries/{sent['id']}/redeliver")

    assert answer.status_code == 404
    assert kit.get(f"/v1/webhooks/{second['id']}/deliveries").json()["items"] == []


def test_the_log_pages(kit: Kit) -> None:
    made = a_webhook(kit)
    path = f"/v1/webhooks/{made['id']}"
    ids = [kit.post(f"{path}/test").json()["id"] for _ in range(3)]

    first = kit.get(f"{path}/deliveries?limit=2").json()
    rest = kit.get(f"{path}/deliveries?limit=2&cursor={first['nextCursor']}").json()

    assert [one["id"] for one in first["items"] + rest["items"]] == sorted(ids, reverse=True)
    assert rest["nextCursor"] is None
