"""Deliveries are planned once for every event, claimed by one keeper, and kept in a bounded log."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import NotFound
from schemas.webhooks import Outcome, Webhook
from store import keys
from store.client import Store
from store.events import Events
from store.forgetting import forget_tenant
from store.webhooks import Deliveries
from tests.fakes import fake_store

TAKEN = Outcome(code=204, duration_ms=5)
REFUSED = Outcome(code=500, duration_ms=5, reason="answered 500")


def a_webhook(number: int = 1, *, tenant: str = "t1", **changes: Any) -> Webhook:
    values = {"url": "https://a.example/", "since": "0-0", "sealed_secret": "s"}
    return Webhook.model_validate(
        {
            **values,
            "id": f"whk_{number:026d}",
            "tenant_id": tenant,
            "created_ms": 1,
            "updated_ms": 1,
            **changes,
        }
    )


def happened(store: Store, count: int = 1, tenant: str = "t1") -> list[str]:
    return [
        Events(store).emit(tenant, "connector.auth_failed", {"number": n}) for n in range(count)
    ]


def numbers(claims: Any) -> list[int]:
    return sorted(claim.message.data["number"] for claim in claims)


def test_every_event_is_planned_once_however_often_keepers_look() -> None:
    store, hook = fake_store(), a_webhook()
    ids = happened(store, 3)

    for _ in range(3):
        Deliveries(store).plan([hook])

    log = Deliveries(store).page("t1", hook.id, None, 10).items
    assert [one.event_id for one in log] == ids[::-1]


def test_a_later_webhook_is_not_sent_earlier_events() -> None:
    store = fake_store()
    (first,) = happened(store)
    second, hook = happened(store), a_webhook(since=first)

    Deliveries(store).plan([hook])

    assert [d.event_id for d in Deliveries(store).page("t1", hook.id, None, 10).items] == second


def test_only_the_chosen_types_are_sent() -> None:
    store, hook = fake_store(), a_webhook(events=("clip.ready", "job.failed"))
    happened(store)
    Events(store).emit("t1", "clip.ready", {})
    Events(store).emit("t1", "job.failed", {})

    Deliveries(store).plan([hook])

    found = Deliveries(store).page("t1", hook.id, None, 10).items
    assert [one.event_type for one in found] == ["job.failed", "clip.ready"]


def test_one_keeper_claims_what_another_does_not() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 4)
    Deliveries(store).plan([hook])

    here, there = Deliveries(store).claim(2, 2).claims, Deliveries(store).claim(10, 10).claims

    assert numbers([*here, *there]) == [0, 1, 2, 3]


def test_a_claim_that_is_renewed_does_not_lapse() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store)
    Deliveries(store).plan([hook])
    (claim,) = Deliveries(store).claim(1, 1, lease_ms=0).claims

    Deliveries(store).renew([claim])

    assert Deliveries(store).claim(1, 1).claims == ()


def test_a_claim_that_lapses_is_made_again_under_the_same_id() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store)
    Deliveries(store).plan([hook])
    (first,) = Deliveries(store).claim(1, 1, lease_ms=0).claims

    (again,) = Deliveries(store).claim(1, 1).claims
    Deliveries(store).delivered(first, TAKEN)

    assert (again.delivery_id, again.attempts) == (first.delivery_id, 2)
    assert again.fence > first.fence
    assert Deliveries(store).get("t1", hook.id, first.delivery_id).state == "pending"


def test_two_webhooks_are_sent_one_event_under_different_ids() -> None:
    store, hooks = fake_store(), [a_webhook(1), a_webhook(2)]
    happened(store)

    Deliveries(store).plan(hooks)

    found = Deliveries(store).claim(10, 10).claims
    assert len({claim.delivery_id for claim in found}) == 2


def test_one_webhook_takes_only_its_share_at_once() -> None:
    store, hooks = fake_store(), [a_webhook(1), a_webhook(2, tenant="t2")]
    happened(store, 20)
    happened(store, 1, "t2")
    Deliveries(store).plan(hooks)

    found = Deliveries(store).claim(10, 10).claims

    assert [claim.webhook_id for claim in found].count(hooks[0].id) == 4
    assert [claim.webhook_id for claim in found].count(hooks[1].id) == 1


@pytest.mark.parametrize(("share", "taken"), [(8, 1), (0, 0)])
def test_one_that_fails_is_tried_one_at_a_time_and_within_its_share(share: int, taken: int) -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 5)
    Deliveries(store).plan([hook])
    for claim in Deliveries(store).claim(4, 4).claims:
        Deliveries(store).retried(claim, REFUSED, 0, 0)

    found = Deliveries(store).claim(10, share)

    assert len(found.claims) == taken
    assert found.failing == {claim.delivery_id for claim in found.claims}


def test_a_retry_waits_for_its_time_and_says_when_that_is() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store)
    Deliveries(store).plan([hook])
    (claim,) = Deliveries(store).claim(1, 1).claims

    failing = Deliveries(store).retried(claim, REFUSED, 60_000, 0)

    (kept,) = Deliveries(store).page("t1", hook.id, None, 10).items
    assert (kept.state, kept.code, kept.reason) == ("pending", 500, "answered 500")
    assert kept.next_ms is not None
    assert kept.last_ms is not None
    assert kept.next_ms >= kept.last_ms + 60_000
    assert Deliveries(store).claim(1, 1).claims == ()
    assert Deliveries(store).failing_since("t1", [hook.id]) == (failing,)


def test_what_is_taken_heals_the_webhook() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 2)
    Deliveries(store).plan([hook])
    first, second = Deliveries(store).claim(2, 2).claims
    Deliveries(store).retried(first, REFUSED, 60_000, 60_000)

    Deliveries(store).delivered(second, TAKEN)

    assert Deliveries(store).failing_since("t1", [hook.id]) == (None,)


def test_a_receiver_that_asks_for_a_pause_gets_it_for_everything() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 5)
    Deliveries(store).plan([hook])
    first, *others = Deliveries(store).claim(4, 4).claims
    for claim in others:
        Deliveries(store).interrupted(claim)

    Deliveries(store).retried(first, REFUSED, 60_000, 60_000)

    assert Deliveries(store).claim(10, 10).claims == ()


def test_an_interrupted_try_does_not_count() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store)
    Deliveries(store).plan([hook])
    (claim,) = Deliveries(store).claim(1, 1).claims

    Deliveries(store).interrupted(claim)

    (again,) = Deliveries(store).claim(1, 1).claims
    assert again.attempts == 1


def test_what_ended_is_sent_again_on_demand() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store)
    Deliveries(store).plan([hook])
    (claim,) = Deliveries(store).claim(1, 1).claims
    Deliveries(store).failed(claim, REFUSED)

    Deliveries(store).again("t1", hook.id, claim.delivery_id)

    (again,) = Deliveries(store).claim(1, 1).claims
    assert (again.delivery_id, again.message) == (claim.delivery_id, claim.message)


@pytest.mark.parametrize("wrong", ["dlv_1", "", "x" * 300, f"dlv_{'1' * 19}_{'a' * 16}"])
def test_an_unknown_delivery_is_not_found(wrong: str) -> None:
    with pytest.raises(NotFound):
        Deliveries(fake_store()).again("t1", a_webhook().id, wrong)


def test_the_log_pages_to_its_end() -> None:
    store, hook = fake_store(), a_webhook()
    ids = happened(store, 5)
    Deliveries(store).plan([hook])

    found, after = [], None
    for _ in range(3):
        page = Deliveries(store).page("t1", hook.id, after, 2)
        found += [one.event_id for one in page.items]
        after = page.after

    assert (found, after) == (ids[::-1], None)


def test_the_log_keeps_a_thousand_that_ended() -> None:
    store, hook = fake_store(), a_webhook()
    base = keys.webhook("t1", hook.id)
    older = {f"dlv_{number:019d}_0000000000000000": number for number in range(998)}
    store.client.zadd(f"{base}:done", older)
    store.client.zadd(f"{base}:log", dict.fromkeys(older, 0))
    ids = happened(store, 4)
    Deliveries(store).plan([hook])

    for claim in Deliveries(store).claim(4, 4).claims:
        Deliveries(store).delivered(claim, TAKEN)

    newest = Deliveries(store).page("t1", hook.id, None, 4).items
    assert store.client.zcard(f"{base}:log") == 1000
    assert store.client.zrange(f"{base}:log", 0, 0) == ["dlv_0000000000000000002_0000000000000000"]
    assert [one.event_id for one in newest] == ids[::-1]


def test_what_ended_long_ago_is_dropped() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 2)
    Deliveries(store).plan([hook])
    ended, _ = Deliveries(store).claim(2, 2).claims
    Deliveries(store).delivered(ended, TAKEN)

    Deliveries(store).tidy([("t1", hook.id)], keep_ms=-1)

    assert len(Deliveries(store).page("t1", hook.id, None, 10).items) == 1


def test_too_much_waiting_leaves_the_rest_in_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.webhooks.MAX_PENDING", 3)
    store, hook = fake_store(), a_webhook()
    happened(store, 5)
    Deliveries(store).plan([hook])
    Deliveries(store).plan([hook])
    waiting = Deliveries(store).waiting().number
    for claim in Deliveries(store).claim(10, 10).claims:
        Deliveries(store).delivered(claim, TAKEN)

    Deliveries(store).plan([hook])

    assert waiting == 3
    assert numbers(Deliveries(store).claim(10, 10).claims) == [3, 4]


def test_in_a_crowd_progress_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.webhooks.CROWD", 2)
    store, hook = fake_store(), a_webhook()
    for kind in ("job.progress", "job.progress", "job.progress", "clip.ready", "job.progress"):
        Events(store).emit("t1", kind, {})

    Deliveries(store).plan([hook])

    found = Deliveries(store).page("t1", hook.id, None, 10).items
    assert [one.event_type for one in found] == ["clip.ready", "job.progress", "job.progress"]


def test_events_are_kept_for_longer_while_no_keeper_looks() -> None:
    store, hook = fake_store(), a_webhook()
    Deliveries(store).plan([hook])
    told = int(str(store.client.get(f"{keys.PREFIX}hooked:t1")))
    store.client.set(f"{keys.PREFIX}hooked:t1", told - 31_000)
    pipeline = store.client.pipeline(transaction=False)
    for number in range(10_500):
        pipeline.xadd(keys.tenant_events("t1"), {"type": "clip.ready", "n": number})
    pipeline.execute()

    happened(store)

    assert store.client.xlen(keys.tenant_events("t1")) == 10_501


def test_a_cancelled_webhook_has_nothing_pending() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 3)
    Deliveries(store).plan([hook])

    count = Deliveries(store).cancel("t1", hook.id, "the webhook is disabled")

    log = Deliveries(store).page("t1", hook.id, None, 10).items
    assert count == 3
    assert {(one.state, one.reason) for one in log} == {("failed", "the webhook is disabled")}
    assert Deliveries(store).waiting().number == 0


def test_nothing_is_left_of_a_forgotten_webhook() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 3)
    Deliveries(store).plan([hook])
    Deliveries(store).claim(1, 1)

    Deliveries(store).forget("t1", hook.id)

    assert [k for k in store.client.scan_iter() if "hook" in k and "hooked" not in k] == []


def test_nothing_is_left_of_a_forgotten_tenant() -> None:
    store, hook = fake_store(), a_webhook(tenant="ten_gone")
    happened(store, 3, "ten_gone")
    Deliveries(store).plan([hook])
    Deliveries(store).claim(1, 1)
    forget_tenant(store, "ten_gone")

    for tenant, webhook_id in Deliveries(store).known():
        Deliveries(store).forget(tenant, webhook_id)
    Deliveries(store).tidy([])

    assert list(store.client.scan_iter(match="*hook*")) == []


def test_the_oldest_waiting_tells_its_age() -> None:
    store, hook = fake_store(), a_webhook()
    happened(store, 2)
    assert Deliveries(store).waiting() == (0, 0)

    Deliveries(store).plan([hook])

    assert Deliveries(store).waiting().number == 2
