"""The s3 connector: what it asks of a bucket, and what it makes of the answers."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from connectors.base import Query
from connectors.egress import Egress, Limits
from connectors.media_store import open_media_store
from connectors.publishing import artifact_of, publish_once
from connectors.s3 import PART_BYTES, Auth, Bucket, Config, connect
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CuttingRoomError,
    DestinationRejected,
    DestinationUnavailable,
    InvalidCommand,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
)
from schemas.settings import Settings
from tests.connectors.buckets import (
    BUCKET,
    KEYS,
    client_for,
    moto_server,
    objects,
    rclone_server,
    uploads,
)
from tests.connectors.loopback import loopback, reply, trickle
from tests.connectors.peer import FILES, Peer, env_for


@contextmanager
def _bucket_peer(tmp_path: Path, *, keeps_conditions: bool) -> Iterator[Peer]:
    with ExitStack() as stack:
        server = moto_server() if keeps_conditions else rclone_server(tmp_path / "buckets")
        endpoint = stack.enter_context(server)
        for name, data in FILES.items():
            client_for(endpoint).put_object(Bucket=BUCKET, Key=f"pre/fix/{name}", Body=data)
        yield Peer(
            config={"bucket": BUCKET, "prefix": "/pre/fix/", "endpoint": endpoint},
            auth={
                "accessKeyId": KEYS["access_key_id"],
                "secretAccessKey": KEYS["secret_access_key"],
            },
        )


PEERS = {
    "a bucket that refuses to overwrite": lambda path: _bucket_peer(path, keeps_conditions=True),
    "a bucket that overwrites": lambda path: _bucket_peer(path, keeps_conditions=False),
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as running:
        yield running


def bucket_at(endpoint: str, prefix: str = "", egress: Egress | None = None) -> Bucket:
    """A connector to the test bucket at an endpoint."""
    auth = Auth(access_key_id="AKID", secret_access_key=SecretStr("s3cret-key"))
    config = Config(bucket=BUCKET, endpoint=endpoint, prefix=prefix)
    return connect(config, auth, env_for(Settings(), egress))


def test_a_large_file_goes_in_parts_and_control_can_stop_it(endpoint: str, tmp_path: Path) -> None:
    source = tmp_path / "large.mp4"
    source.write_bytes(os.urandom(2 * PART_BYTES + 5))
    artifact, bucket = artifact_of(source, key="large.mp4", job_id="j1"), bucket_at(endpoint)
    moved: list[int] = []

    def stop_after_a_part() -> None:
        if moved:
            raise Cancelled("somebody cancelled")

    with pytest.raises(Cancelled):
        publish_once(
            bucket,
            artifact,
            earlier=None,
            remember=lambda _: None,
            check_fence=lambda: None,
            on_bytes=moved.append,
            control=stop_after_a_part,
        )
    left = uploads(endpoint), "large.mp4" in objects(endpoint)
    done = publish_once(
        bucket, artifact, earlier=None, remember=lambda _: None, check_fence=lambda: None
    )

    assert left == ([], False)
    assert (done.size, done.sha256) == (artifact.size, artifact.sha256)
    assert (
        bucket.read_range("large.mp4", PART_BYTES - 2, 4)
        == source.read_bytes()[PART_BYTES - 2 : PART_BYTES + 2]
    )


def test_a_bucket_pages_through_its_own_cursor(endpoint: str) -> None:
    for number in range(5):
        client_for(endpoint).put_object(Bucket=BUCKET, Key=f"paged/{number}", Body=b"x")
    bucket, found, cursor = bucket_at(endpoint, "paged"), [], None

    while True:
        page = bucket.query(Query(limit=2, cursor=cursor))
        found += [entry.name for entry in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert found == list("01234")


def test_an_endpoint_is_judged_like_any_address(endpoint: str) -> None:
    bucket = bucket_at(endpoint, egress=Egress())

    with pytest.raises(AccessDenied, match="not at an address"):
        bucket.check()


def test_proxies_of_the_environment_are_ignored(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    bucket_at(endpoint).check()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("403 Forbidden", "AccessDenied", AccessDenied),
        ("403 Forbidden", "SignatureDoesNotMatch", AccessDenied),
        ("404 Not Found", "NoSuchBucket", SourceNotFound),
        ("503 Service Unavailable", "SlowDown", RateLimited),
        ("500 Internal Server Error", "InternalError", SourceUnavailable),
    ],
)
def test_a_buckets_refusals_mean_what_to_do(
    status: str, code: str, error: type[CuttingRoomError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = f"<Error><Code>{code}</Code><Message>s3cret-key</Message></Error>".encode()
    with loopback() as server:
        server.answers[f"/{BUCKET}"] = reply(body, status, Content_Type="application/xml")

        with pytest.raises(error) as raised:
            bucket_at(server.url("")).check()

    assert "s3cret-key" not in "".join(traceback.format_exception(raised.value)) + caplog.text


def test_a_refused_write_is_final_and_an_absent_server_is_not(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"made")
    artifact = artifact_of(source, key="a.mp4", job_id="j1")

    with loopback() as server:
        server.answers["*"] = reply(status="403 Forbidden")
        with pytest.raises(DestinationRejected):
            bucket_at(server.url("")).begin(artifact)
    with pytest.raises(DestinationUnavailable):
        bucket_at(server.url("")).begin(artifact)

    assert [request.method for request in server.requests] == ["PUT", "DELETE"]


def test_nothing_shows_the_keys(endpoint: str) -> None:
    auth = Auth(access_key_id="AKID", secret_access_key=SecretStr("s3cret-key"))
    bucket = bucket_at(endpoint)
    bucket.check()

    shown = f"{auth!r} {auth!s} {auth.model_dump_json()} {bucket!r} {bucket.__dict__!r}"

    assert "s3cret-key" not in shown


@pytest.mark.parametrize(
    "config",
    [
        {"bucket": "a/b"},
        {"bucket": "arn:aws:s3:::x"},
        {"bucket": ".."},
        {"bucket": BUCKET, "prefix": "a/../b"},
        {"bucket": BUCKET, "endpoint": "ftp://a.example"},
        {"bucket": BUCKET, "endpoint": "http://u:p@a.example"},
        {"bucket": BUCKET, "endpoint": "http://a.example/path"},
        {"bucket": BUCKET, "endpoint": "http://a.example?x=1"},
        {"bucket": BUCKET, "region": "us.evil.example/"},
        {"bucket": BUCKET, "unknown": 1},
    ],
)
def test_a_config_names_a_bucket_and_nothing_else(config: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(config)


def test_the_media_store_can_be_a_bucket(endpoint: str, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"made")
    settings = Settings(
        media_store=f"s3://{BUCKET}/store/here?endpoint={endpoint}&region=us-east-1",
        media_store_key_id="AKID",
        media_store_secret=SecretStr("s3cret-key"),
    )
    store = open_media_store(settings)

    done = publish_once(
        store,
        artifact_of(source, key="t1/a.mp4", job_id="j1"),
        earlier=None,
        remember=lambda _: None,
        check_fence=lambda: None,
    )

    assert store.read_range("t1/a.mp4", 0, 99) == b"made"
    assert done.destination == f"s3://{BUCKET}/store/here"
    assert "store/here/t1/a.mp4" in objects(endpoint)


@pytest.mark.parametrize(
    "place",
    ["ftp://x/y", "s3://", "s3://u:p@bucket-name/", "s3://bucket-name?what=1", "http://x/"],
)
def test_a_media_store_that_cannot_be_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidCommand) as raised:
        open_media_store(Settings(media_store=place, data_dir=str(tmp_path)))

    assert ":p@" not in str(raised.value)


def test_the_media_store_is_a_folder_of_the_data_folder_by_default(tmp_path: Path) -> None:
    store = open_media_store(Settings(data_dir=str(tmp_path)))

    store.check("writes")

    assert (tmp_path / "media").is_dir()


def test_a_media_store_that_vanishes_is_told_of_and_not_made_anew(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    open_media_store(settings).check("writes")
    (tmp_path / "media").rmdir()

    with pytest.raises(SourceNotFound):
        open_media_store(settings).check("writes")

    assert not (tmp_path / "media").exists()


def test_a_media_store_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CuttingRoomError):
        open_media_store(Settings(media_store=str(tmp_path / "file" / "media")))


def test_an_endpoint_that_trickles_does_not_hold_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.s3.LIMITS", Limits(header_timeout_s=0.5))
    source = tmp_path / "a.mp4"
    source.write_bytes(b"made")
    with loopback() as server:
        server.answers["*"] = trickle(b"HTTP/1.1 100 Continue\r\nX: ", b"x", server)
        bucket = bucket_at(server.url(""))

        with pytest.raises(SourceUnavailable, match="no answer within"):
            bucket.check()
        with pytest.raises(DestinationUnavailable, match="no answer within"):
            bucket.begin(artifact_of(source, key="a.mp4", job_id="j1"))

        assert all("expect" not in request.headers for request in server.requests)


def test_a_cancelled_job_does_not_wait_for_a_bucket(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(os.urandom(PART_BYTES + 1))

    def cancel() -> None:
        raise Cancelled("somebody cancelled")

    with loopback() as server:
        bucket = bucket_at(server.url(""))
        artifact = artifact_of(source, key="a.mp4", job_id="j1")
        intent = {**artifact.model_dump(), "upload_id": "u1", "unique": False}

        with pytest.raises(Cancelled):
            bucket.put(intent, artifact, control=cancel)

        assert server.requests == []
