"""A file is localized by one job at a time, and its content outlives its connector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from connectors.base import ConnectorEnv
from connectors.egress import Egress, Limits
from pipelines import localize as pipeline
from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo
from store.jobs import RedisLedger
from store.localized import Localized, Place
from tests.file_origin import FileOrigin, file_origin
from tests.gateway_kit import CANONICAL, FILE_ID, HLS, NOW_MS, Kit, a_kit, clip_path

NAME = "shows/a b.mp4"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with a_kit(tmp_path) as made:
        egress = Egress(allow_cidrs=("127.0.0.0/8",), limits=Limits(idle_timeout_s=2))
        made.gateway.env = ConnectorEnv(
            egress=egress, settings=made.gateway.settings, clock=made.clock
        )
        yield made
        egress.close()


@pytest.fixture
def origin() -> Iterator[FileOrigin]:
    with file_origin(**{NAME: b"media"}) as running:
        yield running


def path(connector_id: str, file_id: str = NAME) -> str:
    return f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}/localize"


def web(kit: Kit, origin: FileOrigin, name: str = "Web", **options: Any) -> str:
    config = {"baseUrl": origin.url}
    return kit.connector(name, type="http", config=config, **options)


def ended(kit: Kit, job_id: str, connector_id: str, *, held: bool = True) -> None:
    """The worker's part: the job succeeds, and the index holds what it brought."""
    ledger = RedisLedger(kit.gateway.store)
    lease = ledger.claim("localize", "w", job_id)
    assert lease is not None
    if held:
        with kit.gateway.catalog.read() as tx:
            connector = tx.connectors.get(kit.mine.tenant_id, connector_id)
        place = Place(kit.mine.tenant_id, connector.fingerprint, pipeline.file_digest(NAME))
        Localized(kit.gateway.store).put(place, a_record(place, job_id))
    ledger.finish(lease, {"held": held})


def a_record(place: Place, job_id: str) -> LocalizedFile:
    return LocalizedFile(
        tenant_id=place.tenant_id,
        fingerprint=place.fingerprint,
        connector_id="con",
        file_id=NAME,
        job_id=job_id,
        key=f"localized/{place.name}/{job_id}.mp4",
        record_key=f"localized/{place.name}/{job_id}.json",
        size=5,
        sha256="0" * 64,
        content_type="video/mp4",
        validators=Validators(size=5),
        media=MediaInfo(container="mp4", size=5, duration_ms=1, streams=()),
        localized_ms=NOW_MS,
    )


def test_a_file_is_accepted_and_can_be_found_again(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)

    answer = kit.post(path(connector), {})

    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["connectorId"]) == ("localize", "queued", connector)
    assert job["request"] == {"fileId": NAME, "renditionId": None, "force": False}
    assert kit.get(path(connector)).json()["id"] == job["id"]
    assert kit.get(path(connector, "x") + f"?fileId={quote(NAME)}").json()["id"] == job["id"]


def test_the_same_file_asked_for_twice_is_one_job(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)
    first = kit.post(path(connector), {}).json()

    again = [kit.post(path(connector), {}), kit.post(path(connector), {"force": True})]

    assert [(a.status_code, a.json()["id"]) for a in again] == [(200, first["id"])] * 2


def test_what_is_held_is_not_fetched_again_unless_forced(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)
    first = kit.post(path(connector), {}).json()
    ended(kit, first["id"], connector)

    again = kit.post(path(connector), {})
    forced = kit.post(path(connector), {"force": True})
    forced_twice = kit.post(path(connector), {"force": True})

    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (forced.status_code, forced_twice.status_code) == (202, 200)
    assert first["id"] != forced.json()["id"] == forced_twice.json()["id"]


def test_what_was_evicted_is_fetched_anew(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)
    first = kit.post(path(connector), {}).json()
    ended(kit, first["id"], connector)
    Localized(kit.gateway.store).evict(0)

    again = kit.post(path(connector), {})

    assert (again.status_code, again.json()["id"] != first["id"]) == (202, True)


def test_a_failed_one_can_be_asked_for_again(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)
    first = kit.post(path(connector), {}).json()
    kit.post(f"/v1/jobs/{first['id']}/cancel")

    assert kit.get(path(connector)).json()["state"] == "cancelled"
    assert kit.post(path(connector), {}).status_code == 202


def test_content_outlives_its_connector_and_is_found_by_an_equal_one(
    kit: Kit, origin: FileOrigin
) -> None:
    first = web(kit, origin)
    job = kit.post(path(first), {}).json()
    assert kit.get(f"/v1/connectors/{first}").json()["localized"] is False
    ended(kit, job["id"], first)
    assert kit.get(f"/v1/connectors/{first}").json()["localized"] is True

    assert kit.ask("DELETE", f"/v1/connectors/{first}").status_code == 204

    assert kit.get("/v1/connectors").json()["items"] == []
    (kept,) = kit.get("/v1/connectors?withLocalized=true").json()["items"]
    assert (kept["id"], kept["localized"], kept["deletedAt"] is not None) == (first, True, True)
    assert kit.get("/v1/connectors?withLocalized=true", key="theirs").json()["items"] == []
    second = web(kit, origin, "Web again")
    again = kit.post(path(second), {})
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    assert kit.get(path(second)).json()["id"] == job["id"]


def test_a_deleted_connector_without_content_is_not_listed(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)
    kit.ask("DELETE", f"/v1/connectors/{connector}")

    assert kit.get("/v1/connectors?withLocalized=true").json()["items"] == []


def test_a_clip_is_localized_by_being_made(kit: Kit) -> None:
    connector = kit.connector()

    asked = kit.post(path(connector, FILE_ID), {})
    clipped = kit.clip(connector)

    assert (asked.status_code, asked.json()["kind"]) == (202, "clip")
    assert asked.json()["id"] == clipped.json()["id"]
    assert kit.post(path(connector, CANONICAL), {}).status_code == 200
    assert kit.get(path(connector, FILE_ID)).json()["id"] == clipped.json()["id"]
    assert kit.get(clip_path(connector)).json()["id"] == clipped.json()["id"]


def test_what_the_source_does_not_have_is_not_accepted(kit: Kit, origin: FileOrigin) -> None:
    answer = kit.post(path(web(kit, origin), "none.mp4"), {})

    assert (answer.status_code, answer.json()["code"]) == (404, "source_not_found")


@pytest.mark.parametrize("status", [403, 500])
def test_a_source_that_fails_is_a_bad_gateway(kit: Kit, origin: FileOrigin, status: int) -> None:
    origin.refuse_all = status

    answer = kit.post(path(web(kit, origin)), {})

    assert (answer.status_code, answer.json()["code"]) == (502, "upstream")


def test_nobody_has_asked(kit: Kit, origin: FileOrigin) -> None:
    answer = kit.get(path(web(kit, origin)))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_one_idempotency_key_is_one_request(kit: Kit, origin: FileOrigin) -> None:
    connector, key = web(kit, origin), {"Idempotency-Key": "k1"}
    first = kit.post(path(connector), {}, headers=key)

    again = kit.post(path(connector), {}, headers=key)

    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize("known_first", [True, False])
def test_a_known_job_is_an_answer_to_its_key_like_any(
    kit: Kit, origin: FileOrigin, known_first: bool
) -> None:
    connector, key = web(kit, origin), {"Idempotency-Key": "k1"}
    made = kit.post(path(connector), {})

    def ask(known: bool) -> Any:
        if known:
            return kit.post(path(connector), {}, headers=key)
        return kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=key)

    first, other = ask(known_first), ask(not known_first)

    assert first.status_code == (200 if known_first else 201)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    if known_first:
        assert first.json()["id"] == made.json()["id"]


def test_a_repeated_request_is_answered_first_whatever_became_of_the_file(
    kit: Kit, origin: FileOrigin
) -> None:
    connector, key = web(kit, origin), {"Idempotency-Key": "k1"}
    first = kit.post(path(connector), {"force": True}, headers=key).json()
    ended(kit, first["id"], connector)
    later = kit.post(path(connector), {"force": True}).json()
    origin.files.clear()

    again = kit.post(path(connector), {"force": True}, headers=key)
    held = kit.post(path(connector), {})

    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert held.json()["id"] == later["id"] != first["id"]


def test_a_rendition_is_localized_by_being_made(kit: Kit, origin: FileOrigin) -> None:
    connector = web(kit, origin)

    first = kit.post(path(connector), {"renditionId": "h264-720p"})
    again = kit.post(path(connector), {"renditionId": "h264-720p"})
    plain = kit.post(path(connector), {})

    assert (first.status_code, first.json()["kind"]) == (202, "rendition")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert plain.json()["kind"] == "localize"


def test_a_rendition_there_is_not_is_refused(kit: Kit, origin: FileOrigin) -> None:
    answer = kit.post(path(web(kit, origin)), {"renditionId": "ren_none"})

    assert (answer.status_code, answer.json()["code"]) == (422, "rendition_unknown")
