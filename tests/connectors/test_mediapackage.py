"""The mediapackage connector: channels of both versions, and their past."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from connectors._mediapackage_api import V1, V2, Endpoint, Place
from connectors.base import Channel, ConnectorEnv
from connectors.egress import Egress
from connectors.mediapackage import Auth, Config, MediaPackage, connect
from connectors.sealing import Sealer, new_key
from schemas.commands import ExportPart
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    NotYetAvailable,
    OutsideWindow,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.jobs import Job
from schemas.settings import Settings
from schemas.times import TimeRange
from tests.builders import a_connector_ref
from tests.connectors.loopback import loopback, reply
from tests.connectors.mediapackage_service import (
    CHANNEL,
    GROUP,
    KEYS,
    Service,
    mediapackage,
)
from tests.connectors.peer import NOW_MS, Peer, env_for
from tests.e2e.export_kit import carry_out
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact, inspect
from tests.origin import wall_clock_ms

ROLE = "arn:aws:iam::123456789012:role/reader"
V1_CONFIG = {"version": "v1", "region": "eu-west-1"}
V2_CONFIG = {"version": "v2", "region": "eu-west-1", "channelGroup": GROUP}
CONFIGS = {"v1": V1_CONFIG, "v2": V2_CONFIG}


@cache
def camera(epoch_ms: int, **dress: Any) -> HlsAsset:
    """Sixteen seconds of a camera in eight segments."""
    return segment(build(StreamSpec(seconds=16)), epoch_ms=epoch_ms, **dress)


def a_minute_ago() -> int:
    """A moment whose media is in the past, by the machine's own clock."""
    return wall_clock_ms() // 1000 * 1000 - 60_000


@contextmanager
def _peer(version: str, **more: Any) -> Iterator[Peer]:
    with mediapackage(camera(NOW_MS - 30_000), lambda: NOW_MS, **more) as service:
        yield Peer(
            config=CONFIGS[version] | {"endpoint": service.base},
            auth=KEYS | ({"cdnIdentifier": c} if (c := more.get("cdn_identifier")) else {}),
            bad_auth=KEYS | {"accessKeyId": "AKIDBAD"},
            channel=CHANNEL,
        )


@contextmanager
def _v1(tmp_path: Path) -> Iterator[Peer]:
    with _peer("v1") as peer:
        yield peer


@contextmanager
def _v2(tmp_path: Path) -> Iterator[Peer]:
    with _peer("v2", cdn_identifier="0123456789") as peer:
        yield peer


PEERS = {"version 1": _v1, "version 2 behind an identifier": _v2}


@pytest.fixture
def env() -> Iterator[ConnectorEnv]:
    made = env_for(Settings())
    yield made
    made.egress.close()


@pytest.fixture
def service() -> Iterator[Service]:
    with mediapackage(camera(NOW_MS - 30_000), lambda: NOW_MS) as made:
        yield made


def opened(env: ConnectorEnv, service: Service, version: str, **more: Any) -> MediaPackage:
    auth = KEYS | more.pop("auth", {})
    config = CONFIGS[version] | {"endpoint": service.base} | more
    return connect(Config.model_validate(config), Auth.model_validate(auth), env)


def exported(service: Service, version: str, output: Path, *span: int, **more: Any) -> Job:
    """The finished export of a range, through the whole engine on the machine's own clock."""
    key, auth = new_key(), Auth.model_validate(KEYS | more.pop("auth", {}))
    ref = a_connector_ref(
        type="mediapackage",
        config=CONFIGS[version] | {"endpoint": service.base} | more,
        sealed_auth=Sealer(key).seal_auth("t1", "con_1", auth),
    )
    wanted = TimeRange(start_ms=span[0], end_ms=span[1])
    part = ExportPart(connector=ref, channel_id=CHANNEL, range=wanted)
    return carry_out([part], output, secret_keys=key)


# ---- configs


@pytest.mark.parametrize(
    "config",
    [
        {"version": "v3", "region": "eu-west-1"},
        {"version": "v2", "region": "eu-west-1"},
        V1_CONFIG | {"channelGroup": "g"},
        V1_CONFIG | {"region": "eu west"},
        V1_CONFIG | {"sign": True},
        V1_CONFIG | {"endpoint": "file:///etc"},
        V1_CONFIG | {"endpoint": "https://a.test/path"},
        V1_CONFIG | {"cdnOrigin": "https://u:p@a.test"},
        V1_CONFIG | {"harvest": {"bucket": "a-bucket"}},
        V2_CONFIG | {"harvest": {"bucket": "a/b"}},
        V2_CONFIG | {"harvest": {"bucket": "a-bucket", "prefix": "../x"}},
    ],
)
def test_a_config_that_cannot_work_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(config)


@pytest.mark.parametrize(
    "auth", [{}, {"accessKeyId": "a"}, KEYS | {"cdnIdentifier": "a\r\nX-Other: b"}]
)
def test_credentials_are_whole_and_cannot_smuggle(auth: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Auth.model_validate(auth)


# ---- channels


@pytest.mark.parametrize("version", CONFIGS)
def test_channels_are_listed_over_pages(env: ConnectorEnv, service: Service, version: str) -> None:
    found = opened(env, service, version).channels()

    assert [channel.id for channel in found] == ["gate-3", CHANNEL, "gate-5"]


@pytest.mark.parametrize("name", ["gate-9", "../gate-4", "a b", ""])
@pytest.mark.parametrize("version", CONFIGS)
def test_a_channel_that_is_not_there_is_not_found(
    env: ConnectorEnv, service: Service, version: str, name: str
) -> None:
    with pytest.raises(SourceNotFound):
        opened(env, service, version).playlist_url(name)


def test_moto_speaks_version_1_too(env: ConnectorEnv) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        made: Any = boto3.client(
            "mediapackage", endpoint_url=endpoint, region_name="eu-west-1", **keys
        )
        made.create_channel(Id="one", Description="Camera one")
        config = Config.model_validate(V1_CONFIG | {"endpoint": endpoint})

        found = connect(config, Auth.model_validate(KEYS), env).channels()

        made.close()
    finally:
        server.stop()
    assert found == (Channel(id="one", name="Camera one"),)


# ---- what is asked for


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("v1", "?start={a}&end={b}"),
        ("v2", "?aws.manifestsettings=start%3A{a}%3Bend%3A{b}"),
    ],
)
def test_a_range_is_asked_for_with_its_neighbours(
    env: ConnectorEnv, service: Service, version: str, asked: str
) -> None:
    wanted = TimeRange(start_ms=NOW_MS - 25_400, end_ms=NOW_MS - 20_400)

    url = opened(env, service, version).playlist_within(CHANNEL, wanted)

    a, b = (NOW_MS - 41_000) // 1000, (NOW_MS - 5_000) // 1000
    assert url == service.url + asked.format(a=a, b=b)


def test_a_range_that_is_still_to_come_is_asked_for_from_now(
    env: ConnectorEnv, service: Service
) -> None:
    wanted = TimeRange(start_ms=NOW_MS + 60_000, end_ms=NOW_MS + 70_000)

    url = opened(env, service, "v1").playlist_within(CHANNEL, wanted)

    assert url.endswith(f"?start={NOW_MS // 1000 - 15}&end={NOW_MS // 1000 + 85}")


def test_a_range_before_the_startover_window_is_refused_with_what_is_kept(
    env: ConnectorEnv, service: Service
) -> None:
    wanted = TimeRange(start_ms=NOW_MS - 3_700_000, end_ms=NOW_MS - 3_600_000)

    with pytest.raises(OutsideWindow) as raised:
        opened(env, service, "v2").playlist_within(CHANNEL, wanted)

    assert raised.value.held == (NOW_MS - 3_600_000, NOW_MS)


def test_what_the_endpoint_says_it_does_not_keep_is_out_of_the_window(
    env: ConnectorEnv, service: Service
) -> None:
    tams = opened(env, service, "v1")
    url = tams.playlist_within(CHANNEL, TimeRange(start_ms=NOW_MS - 25_000, end_ms=NOW_MS - 20_000))
    service.window_s = 1

    with pytest.raises(OutsideWindow):
        tams.fetch(url, max_bytes=10**6)


@pytest.mark.parametrize("change", [{"window_s": 0}, {"dated": False}], ids=["no window", "dates"])
@pytest.mark.parametrize("version", CONFIGS)
def test_an_endpoint_that_cannot_shift_time_is_read_as_it_is(
    env: ConnectorEnv, service: Service, version: str, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(service, name, value)
    wanted = TimeRange(start_ms=NOW_MS - 25_000, end_ms=NOW_MS - 20_000)

    assert opened(env, service, version).playlist_within(CHANNEL, wanted) == service.url


def test_the_playlists_within_one_ask_for_the_same_time(env: ConnectorEnv) -> None:
    asset = camera(NOW_MS - 30_000, separate_audio=True)
    with mediapackage(asset, lambda: NOW_MS) as service:
        channels = opened(env, service, "v2")
        wanted = TimeRange(start_ms=NOW_MS - 25_000, end_ms=NOW_MS - 20_000)
        url = channels.playlist_within(CHANNEL, wanted)

        text = channels.fetch(url, max_bytes=10**6).data.decode()

    (stream,) = [line for line in text.splitlines() if not line.startswith("#")]
    assert stream == f"main.m3u8?{url.partition('?')[2]}"
    assert text.count("aws.manifestsettings") == 2


# ---- credentials


@pytest.mark.parametrize("version", CONFIGS)
def test_the_cdn_identifier_goes_to_the_endpoints_alone(
    env: ConnectorEnv, version: str, tmp_path: Path
) -> None:
    asset = camera(NOW_MS - 30_000)
    identifier = {"cdnIdentifier": "0123456789"}
    with mediapackage(asset, lambda: NOW_MS, cdn_identifier="0123456789") as service:
        channels = opened(env, service, version, auth=identifier)
        with loopback() as other:
            other.answers["/a.ts"] = reply(b"x")
            channels.download(other.url("/a.ts"), tmp_path / "a", max_bytes=10)
            name = next(iter(asset.files))
            channels.download(f"{service.url}/../{name}", tmp_path / "b", max_bytes=10**6)

            assert "0123456789" not in str(other.requests)
    assert (tmp_path / "b").read_bytes() == asset.files[name]


def test_a_policy_that_wants_signatures_gets_them(env: ConnectorEnv, service: Service) -> None:
    service.signed = True

    opened(env, service, "v2", sign=True).check("live")
    with pytest.raises(AccessDenied):
        opened(env, service, "v2").check("live")


def test_a_role_is_taken_on_once(env: ConnectorEnv, service: Service) -> None:
    auth = {"roleArn": ROLE, "externalId": "outside"}
    channels = opened(env, service, "v1", auth=auth, stsEndpoint=service.base)

    channels.channels()
    channels.playlist_url(CHANNEL)

    (form,) = service.roles
    assert (form["RoleArn"], form["ExternalId"]) == ([ROLE], ["outside"])
    assert "AKIDROLE" in service.asked[-1][1]["authorization"]


def test_playlists_are_read_through_a_cdn(env: ConnectorEnv, service: Service) -> None:
    channels = opened(env, service, "v2", cdnOrigin="https://cdn.test")

    assert channels.playlist_url(CHANNEL).startswith("https://cdn.test/out/v1/abc/")


# ---- the models of the APIs, as botocore has them


def _stubbed(service: str) -> tuple[Any, Stubber]:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client: Any = boto3.client(service, region_name="eu-west-1", **keys)  # type: ignore[call-overload]
    stubber = Stubber(client)
    stubber.activate()
    return client, stubber


def test_version_1_is_asked_and_read_as_its_model_says() -> None:
    client, stubber = _stubbed("mediapackage")
    stubber.add_response("describe_channel", {"Id": "c"}, {"Id": "c"})
    endpoints = [
        {"Id": "denied", "Origination": "DENY", "HlsPackage": {}, "Url": "https://d.test/"},
        {"Id": "cmaf", "CmafPackage": {"HlsManifests": [
            {"Id": "m", "Url": "https://m.test/", "ManifestName": "index",
             "ProgramDateTimeIntervalSeconds": 5}]},
         "StartoverWindowSeconds": 600, "TimeDelaySeconds": 20},
    ]  # fmt: skip
    stubber.add_response(
        "list_origin_endpoints",
        {"OriginEndpoints": endpoints},
        {"ChannelId": "c", "MaxResults": 100},
    )

    (found,) = V1(client).endpoints("c")

    stubber.assert_no_pending_responses()
    assert (found.id, found.url, found.window_s, found.delay_s) == (
        "cmaf",
        "https://m.test/",
        600,
        20,
    )
    assert found.dated


def test_version_1_harvests_as_its_model_says() -> None:
    client, stubber = _stubbed("mediapackage")
    endpoint = Endpoint(id="hls", channel_id="c", url="https://a.test/")
    wanted = TimeRange(start_ms=1_700_000_000_000, end_ms=1_700_000_060_000)
    stubber.add_client_error("describe_harvest_job", "NotFoundException", http_status_code=404)
    stubber.add_response(
        "create_harvest_job",
        {"Status": "IN_PROGRESS"},
        {
            "Id": "job", "OriginEndpointId": "hls",
            "StartTime": "2023-11-14T22:13:20.000Z", "EndTime": "2023-11-14T22:14:20.000Z",
            "S3Destination": {"BucketName": "b", "ManifestKey": "f/index.m3u8", "RoleArn": ROLE},
        },
    )  # fmt: skip
    stubber.add_response("describe_harvest_job", {"Status": "SUCCEEDED"}, {"Id": "job"})
    api = V1(client)

    states = [api.harvested(endpoint, "job")]
    api.harvest(endpoint, "job", wanted, Place(bucket="b", key="f", role_arn=ROLE))
    states.append(api.harvested(endpoint, "job"))

    assert states == ["absent", "done"]


def test_version_2_harvests_as_its_model_says() -> None:
    client, stubber = _stubbed("mediapackagev2")
    endpoint = Endpoint(id="hls", channel_id="c", url="https://a.test/", manifest="index")
    wanted = TimeRange(start_ms=1_700_000_000_000, end_ms=1_700_000_060_000)
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    place = {"ChannelGroupName": "g", "ChannelName": "c", "OriginEndpointName": "hls"}
    manifests = {"HlsManifests": [{"ManifestName": "index"}]}
    target = {"S3Destination": {"BucketName": "bucket", "DestinationPath": "f"}}
    stubber.add_response(
        "create_harvest_job",
        place | {
            "Destination": target, "HarvestJobName": "job", "HarvestedManifests": manifests,
            "ScheduleConfiguration": {"StartTime": moment, "EndTime": moment},
            "Arn": "arn:aws:x", "CreatedAt": moment, "ModifiedAt": moment, "Status": "QUEUED",
        },
        place | {
            "HarvestJobName": "job", "ClientToken": "job", "HarvestedManifests": manifests,
            "ScheduleConfiguration": ANY, "Destination": target,
        },
    )  # fmt: skip

    V2(client, "g").harvest(endpoint, "job", wanted, Place(bucket="bucket", key="f"))

    stubber.assert_no_pending_responses()


# ---- hostile answers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"<html>", Content_Type="application/json"), CorruptMedia),
        (reply(b"[1, 2]"), CorruptMedia),
        (reply(b'{"channels": 5}'), CorruptMedia),
        (reply(b'{"channels": [5]}'), CorruptMedia),
        (reply(b'{"channels": [{"id": 5}]}'), CorruptMedia),
        (reply(b'{"channels": [{"name": "x"}]}'), CorruptMedia),
        (reply(b'{"channels": ' + b"[" * 100_000), CorruptMedia),
        (reply(b'{"channels": [], "nextToken": "again"}'), CorruptMedia),
        (reply(b" " * (40 << 20)), TooLarge),
        (reply(b"{}", "302 Found", Location="http://127.0.0.2:1/"), SourceUnavailable),
        (reply(b'{"message": "k3y"}', "403 Forbidden"), AccessDenied),
        (reply(b"{}", "404 Not Found"), SourceNotFound),
        (reply(b"{}", "429 Slow"), RateLimited),
        (reply(b"{}", "500 Broken"), SourceUnavailable),
    ],
    ids=[
        "a web page", "a list", "no list", "numbers", "a number for a name", "no name", "deep",
        "endless pages", "too large", "a redirect inside", "403", "404", "429", "500",
    ],
)  # fmt: skip
def test_an_api_that_lies_ends_in_a_code(answer: bytes, error: type[Exception]) -> None:
    egress = Egress(allow_cidrs=("127.0.0.1/32",))
    env = ConnectorEnv(egress=egress, settings=Settings(), clock=lambda: NOW_MS)
    with loopback() as server:
        server.answers["*"] = answer
        config = Config.model_validate(V1_CONFIG | {"endpoint": server.url("").rstrip("/")})

        with pytest.raises(error) as raised:
            connect(config, Auth.model_validate(KEYS), env).channels()

    egress.close()
    assert "k3y" not in str(raised.value)


# ---- through the whole engine


@pytest.mark.slow
@pytest.mark.parametrize("dress", [{}, {"separate_audio": True}], ids=["muxed", "audio apart"])
@pytest.mark.parametrize("version", CONFIGS)
def test_a_range_that_left_the_live_playlist_is_cut_exactly(
    version: str, dress: dict[str, Any], tmp_path: Path
) -> None:
    epoch_ms, output = a_minute_ago(), tmp_path / "out.mp4"
    asset = camera(epoch_ms, **dress)
    with mediapackage(asset, wall_clock_ms) as service:
        job = exported(service, version, output, epoch_ms + 3330, epoch_ms + 6910)

    assert job.error is None
    assert check_exact(output, asset, epoch_ms + 3330, epoch_ms + 6910) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", CONFIGS)
def test_a_range_is_harvested_into_a_bucket_and_cut_from_there(
    version: str, env: ConnectorEnv, tmp_path: Path
) -> None:
    epoch_ms, output = a_minute_ago(), tmp_path / "out.mp4"
    asset = camera(epoch_ms)
    wanted = TimeRange(start_ms=epoch_ms + 3330, end_ms=epoch_ms + 6910)
    live = ConnectorEnv(egress=env.egress, settings=env.settings, clock=wall_clock_ms)
    with mediapackage(asset, wall_clock_ms) as service:
        harvest = {"bucket": "harvested-bucket", "prefix": "clips", "endpoint": service.base}
        harvest |= {"roleArn": ROLE} if version == "v1" else {}
        for _ in range(2):
            with pytest.raises(NotYetAvailable):
                opened(live, service, version, harvest=harvest).playlist_within(CHANNEL, wanted)
        job = exported(service, version, output, wanted.start_ms, wanted.end_ms, harvest=harvest)
        paths = [path for path, _ in service.asked]

    assert job.error is None
    assert inspect(output).numbers == asset.numbers_between(wanted.start_ms, wanted.end_ms)
    assert any(path.startswith("/harvested-bucket/clips/cuttingroom-") for path in paths)
    assert not any(path.startswith("/out/") for path in paths)
