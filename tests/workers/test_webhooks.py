"""Deliveries arrive signed, are tried again for a day, and never at an address of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from standardwebhooks import WebhookVerificationError

from connectors.receiver import Receivers, new_secret
from connectors.sealing import Sealer, new_key
from schemas.errors import StoreUnavailable
from schemas.webhooks import (
    DAY_MS,
    SECRET_FIELD,
    Claim,
    DisabledReason,
    Message,
    Outcome,
    Webhook,
)
from store.client import Store
from store.events import Events
from store.queues import Queues
from store.webhooks import Deliveries
from tests.chaos.processes import until
from tests.fakes import FixedClock, fake_store
from tests.receivers import Reply, receiver
from tests.redis_server import free_port
from workers.webhooks import Decision, Postman, WebhookCollector, decide, part

LOOPBACK = ("127.0.0.0/8",)
SEALER = Sealer(new_key())


class Book:
    """Definitions in memory."""

    def __init__(self) -> None:
        self.hooks: dict[str, Webhook] = {}
        self.secrets: dict[str, str] = {}

    def add(self, url: str, *, tenant: str = "t1", **changes: Any) -> Webhook:
        """A new webhook."""
        hook_id, secret = f"whk_{len(self.hooks) + 1:026d}", new_secret()
        self.secrets[hook_id] = secret
        self.hooks[hook_id] = Webhook.model_validate(
            {
                "id": hook_id,
                "tenant_id": tenant,
                "url": url,
                "since": "0-0",
                "sealed_secret": SEALER.seal(tenant, hook_id, SECRET_FIELD, secret),
                "created_ms": 1,
                "updated_ms": 1,
                **changes,
            }
        )
        return self.hooks[hook_id]

    def everyone(self) -> tuple[Webhook, ...]:
        return tuple(sorted(self.hooks.values(), key=lambda hook: hook.tenant_id))

    def get(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        found = self.hooks.get(webhook_id)
        return found if found and found.tenant_id == tenant_id else None

    def disable(self, held: Webhook, reason: DisabledReason) -> bool:
        update = {"enabled": False, "disabled_reason": reason}
        self.hooks[held.id] = held.model_copy(update=update)
        return True


class Office:
    """A postman, and everything around it."""

    def __init__(self, cidrs: tuple[str, ...]) -> None:
        self.store: Store = fake_store()
        self.book, self.clock = Book(), FixedClock()
        self.deliveries = Deliveries(self.store)
        receivers = Receivers(cidrs)
        self.postman = Postman(self.deliveries, self.book, receivers, SEALER, self.clock)

    def happens(self, count: int = 1, tenant: str = "t1") -> list[str]:
        """So many events; their ids."""
        return [Events(self.store).emit(tenant, "clip.ready", {"n": n}) for n in range(count)]

    def log(self, hook: Webhook) -> Any:
        """The webhook's deliveries."""
        return self.deliveries.page(hook.tenant_id, hook.id, None, 100).items


@contextmanager
def office(*cidrs: str) -> Iterator[Office]:
    made = Office(cidrs or LOOPBACK)
    yield made
    made.postman.close()


def a_claim(*, attempts: int = 1, age_ms: int = 0, kind: str = "event") -> Claim:
    message = {
        "id": "1-0",
        "seq": 1,
        "type": "clip.ready",
        "tenant_id": "t1",
        "job_id": None,
        "attempt": 0,
        "occurred_at": "2022-02-04T06:44:06Z",
    }
    return Claim(
        tenant_id="t1",
        webhook_id="whk_1",
        delivery_id="dlv_1",
        fence=1,
        attempts=attempts,
        age_ms=age_ms,
        kind="test" if kind == "test" else "event",
        message=Message.model_validate(message),
    )


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_success_is_the_end(code: int) -> None:
    assert decide(a_claim(), Outcome(code=code), 0.5) == Decision("delivered")


@pytest.mark.parametrize("code", [None, 100, 301, 400, 404, 429, 500, 503])
def test_anything_else_is_tried_again(code: int | None) -> None:
    assert decide(a_claim(), Outcome(code=code), 0.5).verdict == "retried"


def test_gone_is_the_end_of_the_webhook() -> None:
    assert decide(a_claim(), Outcome(code=410), 0.5) == Decision("failed", disable="gone")


def test_a_test_is_sent_once() -> None:
    assert decide(a_claim(kind="test"), Outcome(code=500), 0.5) == Decision("failed")


def test_tries_come_ever_more_slowly_until_the_day_is_over() -> None:
    age_ms, delays = 0, []
    for attempts in range(1, 100):
        decision = decide(a_claim(attempts=attempts, age_ms=age_ms), Outcome(code=500), 0.5)
        if decision.verdict == "failed":
            break
        delays.append(decision.delay_ms)
        age_ms += decision.delay_ms

    assert delays[:4] == [5_000, 15_000, 45_000, 135_000]
    assert age_ms == DAY_MS
    assert 12 <= len(delays) <= 20


def test_tries_are_spread() -> None:
    soonest, latest = (decide(a_claim(), Outcome(), jitter).delay_ms for jitter in (0.0, 1.0))

    assert (soonest, latest) == (3_750, 6_250)


def test_a_receiver_may_ask_for_more_time_but_not_for_more_than_the_day() -> None:
    hour, week = (
        decide(a_claim(), Outcome(code=429, retry_after_s=s), 0.5) for s in (3600.0, 7 * 86400.0)
    )

    assert (hour.delay_ms, hour.pause_ms) == (3_600_000, 3_600_000)
    assert week.delay_ms == DAY_MS


def test_a_delivery_arrives_signed() -> None:
    with office() as made, receiver() as there:
        hook = made.book.add(there.url)
        (event,) = made.happens()

        made.postman.turn()

        (came,) = there.received
        (logged,) = made.log(hook)
        told = came.verified(made.book.secrets[hook.id])
    assert told == Events(made.store).after("t1", None)[0].model_dump(mode="json")
    assert told["id"] == event
    assert came.headers["content-type"] == "application/json"
    assert (logged.id, logged.state, logged.code) == (came.message_id, "delivered", 204)


def test_what_was_tampered_with_does_not_verify() -> None:
    with office() as made, receiver() as there:
        hook = made.book.add(there.url)
        made.happens()
        made.postman.turn()

        came = there.received[0]
        forged = type(came)(came.headers, came.body.replace(b"clip", b"klip"))

    with pytest.raises(WebhookVerificationError):
        forged.verified(made.book.secrets[hook.id])


def test_both_secrets_sign_through_the_grace() -> None:
    old = new_secret()
    with office() as made, receiver() as there:
        hook = made.book.add(there.url)
        made.book.hooks[hook.id] = hook.model_copy(
            update={
                "sealed_previous": SEALER.seal("t1", hook.id, SECRET_FIELD, old),
                "previous_until_ms": made.clock() + 60_000,
            }
        )
        made.happens()
        made.postman.turn()
        made.clock.advance(60_001)
        made.happens()
        made.postman.turn()

        during, after = there.received
    for secret in (made.book.secrets[hook.id], old):
        during.verified(secret)
    after.verified(made.book.secrets[hook.id])
    with pytest.raises(WebhookVerificationError):
        after.verified(old)


def test_what_fails_is_tried_again_under_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.webhooks.FIRST_DELAY_MS", 1)
    with office() as made, receiver(Reply(500), Reply(200)) as there:
        hook = made.book.add(there.url)
        made.happens()

        def came_twice() -> bool:
            made.postman.turn()
            return len(there.received) == 2

        until(came_twice, "both tries")

        (logged,) = made.log(hook)
        first, second = there.received
    assert first.message_id == second.message_id
    assert first.body == second.body
    assert (logged.state, logged.attempts, logged.code, logged.reason) == (
        "delivered",
        2,
        200,
        None,
    )


def test_a_redirect_is_not_followed() -> None:
    with office() as made, receiver() as elsewhere:
        with receiver(Reply(302, {"Location": elsewhere.url})) as there:
            hook = made.book.add(there.url)
            made.happens()
            made.postman.turn()

        assert elsewhere.received == []
        assert made.log(hook)[0].reason == "answered 302: redirects are not followed"


def test_a_receiver_that_is_gone_is_disabled_and_told_no_more() -> None:
    with office() as made, receiver(Reply(410)) as there:
        hook = made.book.add(there.url)
        made.happens()
        made.postman.turn()
        made.happens(3)
        made.postman.turn()

        assert len(there.received) == 1
        assert made.book.hooks[hook.id].disabled_reason == "gone"
        assert {one.state for one in made.log(hook)} == {"failed"}


def test_a_webhook_that_took_nothing_for_a_day_is_disabled() -> None:
    with office() as made, receiver(Reply(500)) as there:
        hook = made.book.add(there.url)
        made.clock.now_ms = int(Events(made.store).emit("t1", "clip.ready", {}).split("-")[0])
        made.postman.turn()
        still = made.book.hooks[hook.id].enabled
        made.clock.advance(DAY_MS + 60_000)
        (waiting,) = made.log(hook)
        made.deliveries.again("t1", hook.id, waiting.id)

        made.postman.turn()

        assert still
        assert made.book.hooks[hook.id].disabled_reason == "failing"


def test_one_that_was_changed_meanwhile_gets_another_day() -> None:
    with office() as made, receiver(Reply(500)) as there:
        hook = made.book.add(there.url)
        made.happens()
        made.postman.turn()
        made.clock.now_ms = 4_000_000_000_000
        update = {"updated_ms": made.clock() - DAY_MS + 1}
        made.book.hooks[hook.id] = hook.model_copy(update=update)
        (waiting,) = made.log(hook)
        made.deliveries.again("t1", hook.id, waiting.id)

        made.postman.turn()

        assert made.book.hooks[hook.id].enabled


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_receiver_that_asks_for_time_is_left_alone_for_it(asked: str) -> None:
    with office() as made, receiver(Reply(503, {"Retry-After": asked})) as there:
        hook = made.book.add(there.url)
        made.happens()
        made.postman.turn()
        made.happens(3)
        made.postman.turn()

        (last, *_) = made.log(hook)[::-1]
        assert len(there.received) == 1
        assert last.next_ms - last.last_ms >= 3_600_000


def test_a_hanging_receiver_delays_nobody_else() -> None:
    with office() as made, receiver(Reply(hangs=True)) as slow, receiver() as good:
        made.book.add(slow.url)
        made.book.add(good.url)
        made.book.add(good.url, tenant="t2")
        first, other = made.happens(50), made.happens(20, "t2")
        turning = threading.Thread(target=made.postman.turn)
        turning.start()

        until(lambda: len(good.ids()) == 70, "everything for the good one")

        assert good.events() == sorted({*first, *other})
        assert 1 <= len(slow.received) <= 4
        slow.over.set()
        made.postman.close()
        turning.join()


def test_a_long_answer_is_not_read() -> None:
    with office() as made, receiver(Reply(200, body=b"x" * 20_000_000)) as there:
        hook = made.book.add(there.url)
        made.happens()

        made.postman.turn()

        assert made.log(hook)[0].state == "delivered"


def test_no_address_of_ours_is_called() -> None:
    with office("10.0.0.0/8") as made, receiver() as there:
        plain = made.book.add(there.url)
        named = made.book.add(there.url.replace("http://127.0.0.1", "https://localhost"))
        made.happens()

        made.postman.turn()

        assert there.received == []
        for hook in (plain, named):
            assert "not at an address this service may connect to" in made.log(hook)[0].reason


def test_an_open_and_a_closed_port_inside_look_the_same() -> None:
    with office("10.0.0.0/8") as made, receiver() as there:
        closed = f"https://127.0.0.1:{free_port()}/hook"
        hooks = [made.book.add(there.url.replace("http:", "https:")), made.book.add(closed)]
        made.happens()

        made.postman.turn()

        found = [made.log(hook)[0] for hook in hooks]
    assert {(one.code, one.reason) for one in found} == {
        (None, "127.0.0.1 is not at an address this service may connect to")
    }


def test_plain_http_goes_to_listed_networks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", ("93.184.215.14", port))]

    with office() as made:
        monkeypatch.setattr("connectors.receiver.socket.getaddrinfo", resolve)
        hook = made.book.add("http://public.example/hook")
        made.happens()

        made.postman.turn()

        assert "may connect to" in made.log(hook)[0].reason


def test_what_is_disabled_is_sent_nothing_but_tests() -> None:
    with office() as made, receiver() as there:
        hook = made.book.add(there.url)
        made.happens()
        made.deliveries.plan([hook])
        made.book.hooks[hook.id] = hook.model_copy(update={"enabled": False})
        made.deliveries.test(hook)

        made.postman.turn()

        assert [one.event["type"] for one in there.received] == ["webhook.test"]
        assert {one.state for one in made.log(hook)} == {"delivered", "failed"}


def test_a_failed_test_is_said_once_and_does_not_count_against_the_webhook() -> None:
    with office() as made, receiver(Reply(500)) as there:
        hook = made.book.add(there.url)
        made.deliveries.test(hook)

        made.postman.turn()

        (logged,) = made.log(hook)
        assert (logged.state, logged.attempts, logged.reason) == ("failed", 1, "answered 500")
        assert made.deliveries.failing_since("t1", [hook.id]) == (None,)


def test_a_deleted_webhook_is_forgotten_with_what_it_had() -> None:
    with office() as made, receiver() as there:
        hook = made.book.add(there.url)
        made.happens()
        made.deliveries.plan([hook])
        del made.book.hooks[hook.id]

        made.postman.turn()
        made.postman.tidy()

        assert there.received == []
        assert made.deliveries.known() == frozenset()
        assert made.log(hook) == ()


def test_a_keeper_that_stops_puts_back_what_it_was_sending() -> None:
    with office() as made, receiver(Reply(hangs=True)) as there:
        hook = made.book.add(there.url)
        made.happens()
        turning = threading.Thread(target=made.postman.turn)
        turning.start()
        until(lambda: len(there.received) == 1, "the delivery under way")

        made.postman.close()
        turning.join()

        (logged,) = made.log(hook)
        assert (logged.state, logged.attempts) == ("pending", 0)
        assert len(made.deliveries.claim(1, 1).claims) == 1


def test_the_numbers_tell_what_was_sent_and_what_waits() -> None:
    with office() as made, receiver(Reply(200), Reply(500)) as there:
        made.book.add(there.url)
        made.happens(2)
        made.postman.turn()
        queues = Queues(made.store)
        registry = CollectorRegistry()
        (collector,) = part(made.postman, made.deliveries, queues).collectors
        registry.register(collector)

        text = generate_latest(registry).decode()

    assert 'cuttingroom_webhook_deliveries_total{outcome="delivered"} 1.0' in text
    assert 'cuttingroom_webhook_deliveries_total{outcome="retried"} 1.0' in text
    assert 'cuttingroom_webhook_deliveries_total{outcome="failed"} 0.0' in text
    assert "cuttingroom_webhook_pending 1.0" in text
    assert "cuttingroom_webhook_oldest_pending_age_seconds" in text


def test_without_redis_there_are_no_numbers() -> None:
    store = Store.from_url(f"redis://127.0.0.1:{free_port()}/0")
    registry = CollectorRegistry()
    registry.register(WebhookCollector(Deliveries(store), Queues(store)))

    with pytest.raises(StoreUnavailable):
        Deliveries(store).waiting()

    assert generate_latest(registry) == b""
