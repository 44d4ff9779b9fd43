"""Resources of a real gateway: made, read, changed, listed and deleted through the client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from client import ApiError, Client, Part, Place, Unreachable, clip_file_id
from client.errors import ChallengePending
from schemas.errors import StoreUnavailable
from schemas.metadata import MetadataField
from schemas.profiles import AudioRecipe, Profile
from tests.client_kit import Pauses, Served
from tests.gateway_kit import CANONICAL, FILE_ID, PASSWORD
from tests.timelines import a_clip, a_timeline, a_track, of_file

HLS = {"url": "http://127.0.0.1:9/live.m3u8"}
START_MS, END_MS = 1_643_957_046_000, 1_643_957_106_000


@pytest.fixture
def client(gateway: Served) -> Iterator[Client]:
    with gateway.client() as made:
        yield made


@pytest.fixture(scope="module")
def connector(gateway: Served) -> Iterator[str]:
    with gateway.client() as made:
        yield made.connectors.create("hls", "News", HLS).id


def test_the_service_says_what_it_is(client: Client) -> None:
    assert client.version().name == "cuttingroom"
    assert client.health()
    assert client.readiness().ready
    assert "# TYPE" in client.metrics()
    assert client.auth.verify().valid
    assert client.auth.jwks().keys is not None


def test_a_service_that_is_not_ready_says_what_is_missing(
    gateway: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise StoreUnavailable("no such disk")

    monkeypatch.setattr(gateway.kit.gateway, "media_check", away)

    found = client.readiness()

    assert not found.ready
    assert not found.checks["mediaStore"].ok


def test_a_connector_lives_and_dies(client: Client) -> None:
    made = client.connectors.create("hls", "Arena", HLS)
    held = client.connectors.get(made.id)
    changed = client.connectors.update(made.id, name="Arena 2", if_match=held.etag)
    with pytest.raises(ApiError) as stale:
        client.connectors.update(made.id, name="Arena 3", if_match=held.etag)
    names = [one.name for one in client.connectors.list(type="hls", with_localized=False)]
    client.connectors.delete(made.id, force=True)
    with pytest.raises(ApiError) as gone:
        client.connectors.get(made.id)

    assert (held.config["url"], changed.name) == (HLS["url"], "Arena 2")
    assert changed.etag not in {None, held.etag}
    assert stale.value.status == 412
    assert "Arena 2" in names
    assert gone.value.status == 404
    assert "hls" in {one.type for one in client.connectors.types()}


def test_a_field_that_is_wrong_is_pointed_at(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.connectors.create("hls", "")

    assert refused.value.status == 422
    assert [one.pointer for one in refused.value.pointers] == ["/name"]


def test_a_clip_is_named_by_its_file_id_or_by_its_channel(client: Client, connector: str) -> None:
    first = client.clips.create(connector, FILE_ID, metadata={"title": "Goal"})
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    second = client.clips.create(connector, channel="ch1", start=start, end=END_MS, clip_id="x")
    again = client.clips.get(connector, second.file_id or "")

    assert (first.file_id, first.requested_file_id) == (CANONICAL, FILE_ID)
    assert second.file_id == clip_file_id("ch1", "2022-02-04T06:44:06Z", END_MS, "x")
    assert again.id == second.id
    assert {job.id for job in client.jobs.list(connector_id=connector, kind="clip")} >= {
        first.id,
        second.id,
    }


def test_exports_name_one_range_or_several(client: Client, connector: str) -> None:
    one = client.exports.create(
        connector, "ch1", "{channel}/{id}.mp4", start=START_MS, end=END_MS, sidecars=["json"]
    )
    parts = [Part(START_MS, START_MS + 1000), Part(END_MS - 1000, END_MS, channel_id="ch2")]
    both = client.exports.create(connector, "ch1", Place("b/{id}.mp4"), parts=parts, audio=["en"])
    with pytest.raises(ApiError) as refused:
        client.exports.create(connector, "ch1", "x.mp4", programme_id="p", pad_ms=-1)

    listed = {job.id for job in client.exports.list(connector, "ch1", state="queued")}
    assert {one.id, both.id} <= listed
    assert both.kind == "export"
    assert refused.value.status == 422


def test_a_job_is_cancelled_and_its_history_told(client: Client, connector: str) -> None:
    job = client.clips.create(connector, channel="ch9", start=START_MS, end=END_MS)

    cancelled = client.jobs.cancel(job)
    with pytest.raises(ApiError) as again:
        client.jobs.cancel(job)

    assert cancelled.is_final
    assert again.value.error_code == "job_finished"
    assert [event.type for event in client.jobs.history(job)] == ["job.queued", "job.cancelled"]
    assert client.jobs.wait(job).state == "cancelled"
    assert job.id in {event.job_id for event in client.events.list()}


def test_lists_are_asked_for_page_by_page(
    client: Client, connector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.calls.PAGE", 2)
    made = [
        client.clips.create(connector, channel=f"page{n}", start=START_MS, end=END_MS).id
        for n in range(5)
    ]

    found = [job.id for job in client.jobs.list(connector_id=connector)]

    assert [one for one in found if one in made] == made[::-1]
    assert len(set(found)) == len(found)


def test_recipes_are_kept(client: Client) -> None:
    made = client.renditions.create(Profile(name="Sound", audio=AudioRecipe(codec="aac")))
    changed = client.renditions.update(made.id, {"name": "Sound 2"}, if_match=made.etag)
    found = client.renditions.get(made.id)
    client.renditions.delete(made.id)

    assert (changed.name, found.name) == ("Sound 2", "Sound 2")
    assert made.id not in {one.id for one in client.renditions.list()}


def test_metadata_is_written_found_and_taken_away(client: Client, connector: str) -> None:
    view = client.metadata.views.create("People", [MetadataField(name="speaker")])
    record = client.metadata.create(connector, "ch1", view.id, {"speaker": "Ada"})
    found = [one.id for one in client.metadata.search(connector, field="speaker", value="Ada")]
    changed = client.metadata.update(record.id, values={"speaker": "Grace"}, if_match=record.etag)

    assert found == [record.id]
    assert changed.values == {"speaker": "Grace"}
    assert [one.id for one in client.metadata.list(connector, "ch1")] == [record.id]
    assert view.id in {one.id for one in client.metadata.definitions(connector)}
    assert client.metadata.get(record.id).view == view.id
    client.metadata.delete(record.id)
    renamed = client.metadata.views.update(view.id, name="Speakers")
    assert renamed.name == client.metadata.views.get(view.id).name == "Speakers"
    client.metadata.views.delete(view.id)
    assert view.id not in {one.id for one in client.metadata.views.list()}


def test_a_project_is_taken_in_and_told_in_every_form(client: Client, connector: str) -> None:
    document = a_timeline(a_track(a_clip(media=of_file(connector, FILE_ID))))
    made = client.projects.create(document, title="Cup")
    changed = client.projects.update(made.id, status="approved", if_match=made.etag)
    replaced = client.projects.replace_timeline(made.id, document)
    job = client.projects.render(made.id, "{title}-{id}.mp4", gaps="black")

    assert (made.title, changed.status) == ("Cup", "approved")
    assert replaced.timeline.clips == 1
    assert job.kind == "export"
    assert [one.id for one in client.projects.list(title="cup")] == [made.id]
    assert client.projects.get(made.id).contributed_by == made.contributed_by
    assert b"OTIO_SCHEMA" in client.projects.file(made.id, "otio").data
    assert b"TITLE" in client.projects.file(made.id, "edl").data
    assert b"<fcpxml" in client.projects.file(made.id, "fcpxml").data
    client.projects.delete(made.id)


def test_webhooks_are_kept(client: Client) -> None:
    made = client.webhooks.create("https://hooks.example.com/in", events=["clip.ready"])
    rotated = client.webhooks.update(made.id, rotate=True, grace_seconds=60)
    sent = client.webhooks.test(made.id)

    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert rotated.secret != made.secret
    assert client.webhooks.get(made.id).events == ("clip.ready",)
    assert [one.id for one in client.webhooks.deliveries(made.id)] == [sent.id]
    assert client.webhooks.redeliver(made.id, sent.id).webhook_id == made.id
    client.webhooks.delete(made.id)
    assert made.id not in {one.id for one in client.webhooks.list()}


def test_keys_are_made_rotated_and_used(gateway: Served, client: Client) -> None:
    made = client.keys.create("reader", scopes=["read"])
    rotated = client.keys.update(made.id, rotate=True, grace_seconds=0)

    assert made.secret
    assert made.secret not in repr(made)
    assert rotated.secret not in {None, made.secret}
    with gateway.client(api_key=rotated.secret or "") as reader:
        assert reader.tenant.get().name == "mine"
        with pytest.raises(ApiError) as refused:
            reader.connectors.create("hls", "No", HLS)
    assert refused.value.status == 403
    assert "reader" in {one.name for one in client.keys.list()}


def test_users_are_invited_changed_and_deleted(client: Client) -> None:
    made = client.users.create("bo@example.com", "Bo", role="editor")
    by_email = client.users.update_by_email("bo@example.com", name="Bo B")
    changed = client.users.update(made.id, role="viewer", if_match=by_email.etag)

    assert (by_email.name, changed.role) == ("Bo B", "viewer")
    assert client.users.get(made.id).email in {one.email for one in client.users.list()}
    client.users.delete(made.id)
    client.users.create("cy@example.com", "Cy")
    client.users.delete_by_email("cy@example.com")
    assert "bo@example.com" not in {one.email for one in client.users.list()}
    assert {"createUser", "deleteUser"} <= {entry.action for entry in client.audit.list()}
    assert {one.id for one in client.audit.export()} >= {one.id for one in client.audit.list()}


def test_a_user_logs_in_and_out(gateway: Served) -> None:
    gateway.kit.user("in@example.com")
    with Client(gateway.url, pause=Pauses()) as client:
        client.login("in@example.com", PASSWORD)
        shown = client.tenant.update(name="mine")
        ended = client.auth.logout(everywhere=True)
        with pytest.raises(ApiError) as refused:
            client.tenant.get()

    assert (shown.name, ended.ended_sessions) == ("mine", 1)
    assert refused.value.status == 401


def test_a_second_factor_is_asked_for(gateway: Served) -> None:
    import pyotp

    gateway.kit.user("two@example.com")
    with Client(gateway.url, pause=Pauses()) as client:
        client.login("two@example.com", PASSWORD)
        enrolled = client.auth.enrol_mfa()
        at = gateway.kit.clock() // 1000
        codes = client.auth.confirm_mfa(pyotp.TOTP(enrolled.secret).at(at))
        with pytest.raises(ChallengePending) as pending:
            client.login("two@example.com", PASSWORD)
        client.login("two@example.com", PASSWORD, code=codes.recovery_codes[0])
        client.auth.remove_mfa()

    assert pending.value.challenge == "mfa"
    assert pending.value.session not in str(pending.value) + repr(pending.value)
    assert enrolled.secret not in repr(enrolled)
    assert codes.recovery_codes[0] not in repr(codes)


def test_stations_and_programmes_are_asked_of_guides_that_are_there(
    client: Client, connector: str
) -> None:
    assert list(client.epg.stations("bbc")) == []
    with pytest.raises(ApiError) as unmapped:
        client.epg.programmes(connector, "ch1", START_MS, END_MS)
    assert unmapped.value.status == 409


def test_nobody_at_the_address_is_said_after_so_many_tries() -> None:
    pauses = Pauses()
    nowhere = Client("http://127.0.0.1:9", retries=2, pause=pauses)
    with nowhere as client, pytest.raises(Unreachable) as nobody:
        client.version()

    assert len(pauses.waited) == 2
    assert nobody.value.retryable
