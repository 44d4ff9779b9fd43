"""Jobs are listed, polled, cancelled and retried."""

from __future__ import annotations

from store import keys
from tests.gateway_kit import FILE_ID, Kit


def a_job(kit: Kit, connector: str, clip: str) -> str:
    return str(kit.clip(connector, FILE_ID.replace("123498625", clip)).json()["id"])


def a_failed_job(kit: Kit) -> str:
    job = a_job(kit, kit.connector(), "failed")
    error = '{"code":"encrypted","message":"DRM","retryable":false,"stage":"fetching"}'
    kit.gateway.store.client.hset(keys.job(job), mapping={"state": "failed", "error": error})
    return job


def test_jobs_are_listed_newest_first_and_page_by_page(kit: Kit) -> None:
    connector = kit.connector()
    made = [a_job(kit, connector, f"c{n}") for n in range(3)]

    first = kit.get("/v1/jobs?limit=2").json()
    rest = kit.get(f"/v1/jobs?limit=2&cursor={first['nextCursor']}").json()

    listed = [j["id"] for j in (*first["items"], *rest["items"])]
    assert sorted(listed) == sorted(made)
    assert listed == sorted(listed, reverse=True)


def test_jobs_can_be_narrowed(kit: Kit) -> None:
    one, other = kit.connector("one"), kit.connector("other")
    a_job(kit, one, "a")
    wanted = a_job(kit, other, "b")
    kit.post(f"/v1/jobs/{wanted}/cancel")

    for query in (
        f"connectorId={other}",
        "state=cancelled",
        f"kind=clip&connectorId={other}&channelId=761f422bb93edb7c",
    ):
        found = kit.get(f"/v1/jobs?{query}").json()["items"]

        assert [j["id"] for j in found] == [wanted], query
    assert kit.get("/v1/jobs?to=2001-01-01T00:00:00Z").json()["items"] == []
    assert len(kit.get("/v1/jobs?from=2001-01-01T00:00:00+01:00").json()["items"]) == 2


def test_an_unchanged_job_is_not_sent_again(kit: Kit) -> None:
    path = f"/v1/jobs/{a_job(kit, kit.connector(), 'a')}"
    tag = kit.get(path).headers["etag"]

    same = kit.get(path, headers={"If-None-Match": tag})
    kit.post(f"{path}/cancel")
    changed = kit.get(path, headers={"If-None-Match": tag})

    assert (same.status_code, changed.status_code) == (304, 200)
    assert changed.json()["state"] == "cancelled"


def test_a_job_is_cancelled_once(kit: Kit) -> None:
    path = f"/v1/jobs/{a_job(kit, kit.connector(), 'a')}"

    first = kit.post(f"{path}/cancel")
    second = kit.post(f"{path}/cancel")

    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    assert (second.status_code, second.json()["code"]) == (409, "job_finished")


def test_a_repeated_cancel_with_a_key_gets_the_first_answer(kit: Kit) -> None:
    path = f"/v1/jobs/{a_job(kit, kit.connector(), 'a')}/cancel"
    key = {"Idempotency-Key": "stop"}

    first = kit.post(path, headers=key)
    second = kit.post(path, headers=key)

    assert (second.status_code, second.json()) == (202, first.json())


def test_a_failed_job_can_be_retried(kit: Kit) -> None:
    job = a_failed_job(kit)
    failed = kit.get(f"/v1/jobs/{job}").json()

    answer = kit.post(f"/v1/jobs/{job}/retry")

    assert failed["error"]["code"] == "encrypted"
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["error"]) == ("queued", None)
