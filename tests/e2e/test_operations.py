"""What no other test of the whole service asks it: accounts, guides, lists, changes, deletions.

Everything through the product's own client, of one service that runs once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyotp
import pytest

from client import ApiError, Client
from client.errors import ChallengePending
from client.grants import TusCredentials
from schemas.metadata import MetadataField
from schemas.profiles import AudioRecipe, Profile
from schemas.times import parse_rfc3339
from tests.chaos.processes import until
from tests.connectors.loopback import loopback, reply
from tests.connectors.tams_store import tams_store, with_plain_segments
from tests.e2e.service import Service, file_id
from tests.guides import BBC, document, programme
from tests.media_builder import StreamSpec, build, segment, write_mp4
from tests.oidc_peer import oidc_peer
from tests.origin import Fault, Origin
from tests.receivers import receiver
from tests.timelines import a_clip, a_timeline, a_track, of_file

pytestmark = [pytest.mark.slow, pytest.mark.redis]
FIRST, SECOND = "correct horse battery", "battery horse correct"


@pytest.fixture(scope="module")
def running(whole_service: Service) -> Service:
    return whole_service


@pytest.fixture(scope="module")
def films(running: Service) -> Path:
    folder = Path(running.stack.settings.local_folders[0]) / "archive"
    folder.mkdir()
    folder.chmod(0o777)
    write_mp4(build(StreamSpec(seconds=2)), folder / "film.mp4")
    return folder


@pytest.fixture
def client(running: Service) -> Iterator[Client]:
    with Client(running.stack.url, api_key=running.client.api_key) as made:
        yield made


@pytest.fixture(scope="module")
def folder(running: Service, films: Path) -> str:
    """The connector of the films."""
    with Client(running.stack.url, api_key=running.client.api_key) as made:
        return made.connectors.create("local", "Films", {"folder": str(films)}).id


def nobody(running: Service) -> Client:
    """Somebody without a credential."""
    return Client(running.stack.url)


def mailed(running: Service, address: str, words: str) -> str:
    """What the newest letter to an address says after these words, once it has come."""
    found: list[str] = []

    def came() -> bool:
        for path in sorted((running.stack.data / "mail").glob("*.eml")):
            text = path.read_text(encoding="utf-8")
            if f"To: {address}" in text:
                found.extend(re.findall(rf"{words}: (\S+)", text))
        return bool(found)

    until(came, f"a letter to {address}", 20)
    return found[-1]


# ---- the service ----------------------------------------------------------------------------


def test_the_service_says_what_it_is(client: Client) -> None:
    assert client.health()
    assert client.readiness().ready
    assert client.version().name == "cuttingroom"
    assert "# TYPE cuttingroom_http_requests" in client.metrics()
    assert client.auth.jwks().keys
    assert client.auth.verify().valid
    assert client.reporter.tus.options()["tus-version"] == "1.0.0"


# ---- accounts -------------------------------------------------------------------------------


def test_a_key_is_made_rotated_and_disabled(running: Service, client: Client) -> None:
    made = client.keys.create("reader", scopes=["read"])
    rotated = client.keys.update(made.id, rotate=True, grace_seconds=0)
    with Client(running.stack.url, api_key=rotated.secret) as reader:
        before = reader.tenant.get()
        client.keys.update(made.id, enabled=False)
        with pytest.raises(ApiError) as refused:
            reader.tenant.get()

    assert before.name == client.tenant.get().name
    assert refused.value.status == 401
    assert {one.id: one.enabled for one in client.keys.list()}[made.id] is False


def test_somebody_is_invited_by_letter_forgets_and_recovers(
    running: Service, client: Client
) -> None:
    address = "robin@example.com"
    client.users.create(address, "Robin", role="editor")
    temporary = mailed(running, address, "Temporary password")
    with nobody(running) as robin:
        with pytest.raises(ChallengePending):
            robin.login(address, temporary)
        robin.login(address, temporary, new_password=FIRST)
        tokens = robin.auth.login(address, FIRST)
        renewed = robin.auth.refresh(tokens.refresh_token)
        robin.auth.recover_password(address)
        robin.auth.confirm_recovery(address, mailed(running, address, "Recovery code"), SECOND)
        with pytest.raises(ApiError) as ended:
            robin.auth.refresh(renewed.refresh_token)
        robin.login(address, SECOND)
        left = robin.auth.logout(everywhere=True)
        with pytest.raises(ApiError) as out:
            robin.tenant.get()

    assert renewed.refresh_token != tokens.refresh_token
    assert (ended.value.status, out.value.status, left.ended_sessions) == (401, 401, 1)


def test_a_second_factor_is_set_up_asked_for_and_removed(running: Service) -> None:
    first = running.stack.credentials()
    with nobody(running) as user:
        user.login(first.email, first.password)
        app = pyotp.TOTP(user.auth.enrol_mfa().secret)
        codes = user.auth.confirm_mfa(app.now()).recovery_codes
        with pytest.raises(ChallengePending) as pending:
            user.login(first.email, first.password)
        user.resume(user.auth.answer_mfa(pending.value.session, codes[0]))
        user.auth.remove_mfa()
        user.login(first.email, first.password)

    assert pending.value.challenge == "mfa"
    assert len(set(codes)) >= 8


def test_users_are_changed_and_deleted_and_it_is_written_down(client: Client) -> None:
    made = client.users.create("bo@example.com", "Bo")
    by_email = client.users.update_by_email("bo@example.com", name="Bo B")
    changed = client.users.update(made.id, role="editor", if_match=by_email.etag)
    shown = client.users.get(made.id)
    client.users.delete(made.id)
    client.users.create("cy@example.com", "Cy")
    client.users.delete_by_email("cy@example.com")

    assert (changed.name, shown.role) == ("Bo B", "editor")
    assert not {"bo@example.com", "cy@example.com"} & {one.email for one in client.users.list()}
    listed = list(client.audit.list(action="deleteUser"))
    assert [entry.target for entry in listed][-1:] != []
    assert list(client.audit.export(action="deleteUser")) == listed


def test_a_tenant_signs_up_is_kept_to_itself_and_goes(running: Service, client: Client) -> None:
    address = "kim@example.org"
    with nobody(running) as kim:
        tenant = kim.tenant.create("Second", address)
        temporary = mailed(running, address, "Temporary password")
        kim.login(address, temporary, new_password=FIRST)
        changed = kim.tenant.update(name="Second channel")
        own = [one.email for one in kim.users.list()]
        leaving = kim.tenant.delete("Second channel")
        kept = kim.tenant.restore()
        gone = kim.tenant.delete("Second channel")

    assert (changed.name, own) == ("Second channel", [address])
    assert leaving.deletion_at
    assert kept.deletion_at is None
    assert gone.id == tenant.id != client.tenant.get().id


def test_a_provider_lets_somebody_in_and_out(running: Service, client: Client) -> None:
    person = {"sub": "sam", "email": "sam@example.com", "email_verified": True}
    tenant = client.tenant.get().id
    with oidc_peer({"sam": person}) as provider, nobody(running) as sam:
        client.tenant.set_sso(provider.issuer, "cuttingroom", default_role="viewer")
        config = sam.auth.sso(tenant)
        back = provider.consent(sam.auth.start_sso(tenant), "sam")
        sid = provider.codes[back["code"]]["sid"]
        sam.resume(sam.auth.finish_sso(tenant, back["state"], back["code"]))
        inside = sam.tenant.get()
        sam.auth.sso_backchannel_logout(tenant, provider.signed(provider.logout_token(sid=sid)))
        with pytest.raises(ApiError) as out:
            sam.tenant.get()
        shown = client.tenant.sso()
        client.tenant.remove_sso()
        after = sam.auth.sso(tenant)

    assert (config.enabled, config.issuer, shown.issuer) == (True, *[provider.issuer] * 2)
    assert inside.id == tenant
    assert out.value.status == 401
    assert not after.enabled


# ---- content --------------------------------------------------------------------------------


def test_a_connector_is_made_checked_changed_and_deleted(client: Client, films: Path) -> None:
    made = client.connectors.create("local", "Shelf", {"folder": str(films)})
    checked = client.connectors.check_auth(made.id)
    changed = client.connectors.update(made.id, name="Shelf 2", if_match=made.etag)
    shown = client.connectors.get(made.id)
    listed = {one.id for one in client.connectors.list(type="local")}
    found = [one.file_id for one in client.connectors.query(made.id, "film")]
    client.connectors.delete(made.id)

    assert checked.valid
    assert shown.name == changed.name == "Shelf 2"
    assert made.id in listed
    assert "film.mp4" in found
    assert made.id not in {one.id for one in client.connectors.list()}
    assert {"local", "hls", "s3"} <= {one.type for one in client.connectors.types()}


def test_a_file_is_looked_at_shown_and_copied_here(client: Client, folder: str) -> None:
    job = client.localize.create(folder, "film.mp4")
    client.jobs.succeeded(job, 90)
    source = client.connectors.source(folder, "film.mp4")
    packet = client.connectors.source_xmp(folder, "film.mp4")
    poster = client.thumbnails.poster(folder, "film.mp4", timeout_s=90)

    assert client.localize.get(folder, "film.mp4").state == "succeeded"
    assert source.size
    assert b"xmpmeta" in packet
    assert poster.data[:3] == b"\xff\xd8\xff"


def test_what_is_known_is_written_found_changed_and_forgotten(client: Client, folder: str) -> None:
    view = client.metadata.views.create("People", [MetadataField(name="speaker")])
    record = client.metadata.create(folder, "film.mp4", view.id, {"speaker": "Ada"})
    found = [one.id for one in client.metadata.search(folder, field="speaker", value="Ada")]
    changed = client.metadata.update(record.id, values={"speaker": "Grace"})
    shown = client.metadata.get(record.id)
    listed = [one.id for one in client.metadata.list(folder, "film.mp4")]
    defined = {one.id for one in client.metadata.definitions(folder)}
    client.metadata.delete(record.id)
    renamed = client.metadata.views.update(view.id, name="Speakers")
    named = client.metadata.views.get(view.id).name
    client.metadata.views.delete(view.id)

    assert found == listed == [record.id]
    assert shown.values == changed.values == {"speaker": "Grace"}
    assert view.id in defined
    assert renamed.name == named == "Speakers"
    assert view.id not in {one.id for one in client.metadata.views.list()}


def test_a_recipe_is_kept_changed_used_and_deleted(
    client: Client, folder: str, tmp_path: Path
) -> None:
    made = client.renditions.create(Profile(name="Sound", audio=AudioRecipe(codec="aac")))
    changed = client.renditions.update(made.id, {"name": "Sound 2"}, if_match=made.etag)
    job = client.jobs.succeeded(client.renditions.render(folder, "film.mp4", [made.id]), 90)
    file = (job.result or {})["renditions"][0]["file"]
    name = str(file["key"]).rpartition("/")[2]
    saved = client.jobs.download(job, name, tmp_path / "sound")
    held = client.renditions.get(made.id)
    client.renditions.delete(made.id)

    assert held.name == changed.name == "Sound 2"
    assert saved.stat().st_size == file["size"]
    assert made.id not in {one.id for one in client.renditions.list()}


def test_a_channel_has_a_guide_clips_exports_and_jobs(client: Client) -> None:
    asset = segment(build(StreamSpec()))
    at = asset.epoch_ms
    guide = document(BBC, programme("20220204060000 +0000", "20220204080000 +0000", "Breakfast"))
    with Origin(asset) as origin, loopback() as guides:
        guides.answers["/guide.xml"] = reply(guide)
        news = client.connectors.create("hls", "BBC One", {"url": origin.url}).id
        held = client.connectors.create("xmltv", "Guide", {"url": guides.url("/guide.xml")}).id
        stations = [one.station_id for one in client.epg.stations("bbc", connector_id=held)]
        likely = client.epg.suggest(news, "ch1", epg_connector_id=held, name="BBC One")
        client.epg.set_station(news, "ch1", "bbc1.uk", epg_connector_id=held)
        mapped = client.epg.station(news, "ch1").station_id
        day = ("2022-02-04T06:00:00Z", "2022-02-04T09:00:00Z")
        shown = [one.title for one in client.epg.programmes(news, "ch1", *day).items]
        client.epg.remove_station(news, "ch1")

        clip = client.clips.create(news, file_id(at + 1330, at + 3730, "one"))
        export = client.exports.create(news, "ch1", "{id}.mp4", start=at + 400, end=at + 1900)
        client.jobs.succeeded(clip, 90)
        client.jobs.succeeded(export, 90)
        origin.fault("main-1.ts", Fault.status(403))
        failed = client.jobs.wait(client.clips.create(news, file_id(at + 1331, at + 3730, "two")))
        origin.mend("main-1.ts")
        again = client.jobs.succeeded(client.jobs.retry(failed), 90)
        origin.fault("main-1.ts", Fault.stall(1000))
        slow = client.clips.create(news, file_id(at + 1332, at + 3730, "three"))
        origin.wait_for(lambda: origin.asked("main-1.ts"))
        client.jobs.cancel(slow)
        ended = client.jobs.wait(slow, 60)

    assert stations == ["bbc1.uk"]
    assert [one.station.station_id for one in likely][:1] == [mapped] == ["bbc1.uk"]
    assert shown == ["Breakfast"]
    assert client.clips.get(news, clip.file_id or "").state == "succeeded"
    assert [one.id for one in client.exports.list(news, "ch1")] == [export.id]
    assert (failed.state, again.state, ended.state) == ("failed", "succeeded", "cancelled")
    assert client.jobs.get(export).kind == "export"
    assert {clip.id, export.id} <= {one.id for one in client.jobs.list(connector_id=news)}
    told = [event.type for event in client.jobs.history(clip)]
    assert told[0] == "job.queued"
    assert "clip.ready" in told
    first = next(client.events.list())
    (after,) = islice(client.events.follow(after=first.id, timeout_s=20), 1)
    assert after.id > first.id


def test_a_stretch_of_a_store_is_kept_by_reference(client: Client) -> None:
    start = parse_rfc3339("2022-02-04T06:44:00Z")
    with tams_store() as store:
        channel = with_plain_segments(store, start, 20)
        made = client.connectors.create("tams", "Store", {"url": store.base})
        kept = client.connectors.keep_reference(
            made.id, channel, "Goal", start + 2000, start + 9000
        )

    assert kept.objects == 7
    assert kept.channel_id != channel


def test_a_project_is_taken_in_changed_told_and_deleted(client: Client, folder: str) -> None:
    timeline = a_timeline(a_track(a_clip(0, 20, media=of_file(folder, "film.mp4"))))
    made = client.projects.create(timeline, title="Cup")
    changed = client.projects.update(made.id, status="approved", if_match=made.etag)
    replaced = client.projects.replace_timeline(made.id, timeline)
    rendered = client.jobs.succeeded(client.projects.render(made.id, "{title}-{id}.mp4"), 90)
    shown = client.projects.get(made.id)
    told = client.projects.file(made.id, "edl").data
    listed = [one.id for one in client.projects.list(title="cup")]
    client.projects.delete(made.id)

    assert (changed.status, replaced.timeline.clips) == ("approved", 1)
    assert rendered.kind == "export"
    assert (shown.title, listed) == ("Cup", [made.id])
    assert b"TITLE" in told
    assert made.id not in {one.id for one in client.projects.list()}


def test_a_webhook_is_made_tried_changed_and_deleted(client: Client) -> None:
    with receiver() as there:
        made = client.webhooks.create(there.url, events=["job.failed"])
        sent = client.webhooks.test(made.id)
        until(lambda: len(there.received) == 1, "the test", 30)
        changed = client.webhooks.update(made.id, rotate=True)
        client.webhooks.redeliver(made.id, sent.id)
        until(lambda: len(there.received) == 2, "the test once more", 30)
        shown = client.webhooks.get(made.id)
        logged = [one.id for one in client.webhooks.deliveries(made.id)]
        client.webhooks.delete(made.id)

    assert there.received[0].verified(made.secret or "")
    assert changed.secret != made.secret
    assert shown.events == ("job.failed",)
    assert sent.id in logged
    assert made.id not in {one.id for one in client.webhooks.list()}


def test_a_recording_is_uploaded_and_others_are_given_up(
    running: Service, client: Client, films: Path
) -> None:
    place = client.reporter.destinations.create("Field", path_template="{uploadId}/{fileName}")
    renamed = client.reporter.destinations.update(place.id, name="Pitch", if_match=place.etag)
    sent = client.reporter.upload(place.id, films / "film.mp4")
    dropped, left = (
        client.reporter.credentials(place.id, "a.mp4", 1000, "video/mp4") for _ in range(2)
    )
    fresh = client.reporter.renew(place.id, left.upload_id)
    assert isinstance(fresh, TusCredentials)
    begun = client.reporter.tus.offset(fresh)
    client.reporter.tus.delete(fresh)
    client.reporter.cancel(place.id, dropped.upload_id)
    held = {one.id: one.state for one in client.reporter.uploads(place.id)}
    shown = client.reporter.get(place.id, sent.upload_id)
    named = client.reporter.destinations.get(place.id).name
    client.reporter.destinations.delete(place.id)

    assert (running.media / sent.key).read_bytes() == (films / "film.mp4").read_bytes()
    assert (renamed.name, named, begun) == ("Pitch", "Pitch", 0)
    assert held[sent.upload_id] == shown.state == "completed"
    assert held[dropped.upload_id] == held[left.upload_id] == "failed"
    assert place.id not in {one.id for one in client.reporter.destinations.list()}
