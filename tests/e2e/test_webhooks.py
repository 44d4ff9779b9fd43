"""A receiver beside the whole service: what a clip's client is told, signed, in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.processes import until
from tests.e2e.service import Service, file_id
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.origin import Origin
from tests.receivers import Receiver, receiver

pytestmark = [pytest.mark.slow, pytest.mark.redis]


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def made(running: Service, there: Receiver, **body: Any) -> dict[str, Any]:
    answer = running.client.ask("POST", "/v1/webhooks", {"url": there.url, **body})
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.body
    return found


def types(there: Receiver) -> list[str]:
    return [one.event["type"] for one in list(there.received)]


def test_a_clip_is_told_from_queued_to_ready(running: Service, there: Receiver) -> None:
    asset: HlsAsset = segment(build(StreamSpec()))
    hook = made(running, there)
    with Origin(asset) as origin:
        connector = running.client.connector(origin.url, "Told")
        wanted = file_id(asset.epoch_ms + 1330, asset.epoch_ms + 3730, "told")
        job = running.client.clipped(connector, wanted)
        until(lambda: "clip.ready" in types(there), "the last of it", 60)

    listed = running.client.get(f"/v1/jobs/{job}/events?limit=100")["items"]
    # Deliveries go side by side: the last one sent is not always the last to arrive.
    ids = {event["id"] for event in listed}
    until(lambda: ids <= {one.event["id"] for one in list(there.received)}, "all of them", 60)
    told = {one.event["id"]: one.verified(hook["secret"]) for one in there.received}
    assert [told[event["id"]] for event in listed] == listed
    assert {"job.queued", "job.started", "job.succeeded", "clip.ready"} <= set(types(there))


def test_a_test_a_rotation_and_a_redelivery(running: Service, there: Receiver) -> None:
    hook = made(running, there, events=["job.failed"])
    path = f"/v1/webhooks/{hook['id']}"
    sent = running.client.ask("POST", f"{path}/test").body["id"]
    until(lambda: len(there.received) == 1, "the test")
    rotated = running.client.ask("PATCH", path, {"rotate": True}).body

    again = running.client.ask("POST", f"{path}/deliveries/{sent}/redeliver")
    until(lambda: len(there.received) == 2, "the test once more")

    first, second = there.received
    assert again.status == 202
    assert first.message_id == second.message_id == sent
    first.verified(hook["secret"])
    for secret in (hook["secret"], rotated["secret"]):
        second.verified(secret)
    assert 'cuttingroom_webhook_deliveries_total{outcome="delivered"}' in running.numbers(1)


def test_what_is_deleted_is_told_no_more(running: Service, there: Receiver) -> None:
    hook = made(running, there)
    path = f"/v1/webhooks/{hook['id']}"

    gone = running.client.ask("DELETE", path)

    assert gone.status == 204
    assert running.client.ask("GET", f"{path}/deliveries").status == 404
    assert running.client.ask("POST", f"{path}/test").status == 404
