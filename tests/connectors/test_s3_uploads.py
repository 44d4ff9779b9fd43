"""Uploads into a bucket: what is signed, what it allows, and what is done with what came."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from pydantic import SecretStr, ValidationError

from connectors._s3_uploads import (
    MAX_OBJECT_BYTES,
    MIB,
    POST_BYTES,
    URLS_AT_ONCE,
    part_sizes,
    write_only_policy,
)
from connectors.base import Intent
from connectors.egress import Egress
from connectors.media_store import open_media_store
from connectors.s3 import Auth, Bucket, Config, connect
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    DestinationRejected,
    InvalidCommand,
    SourceNotFound,
    TooLarge,
)
from schemas.settings import Settings
from schemas.uploads import MultipartGrant, PostGrant, StsGrant, UploadMode, UploadWanted
from tests.chaos.processes import until
from tests.connectors.buckets import (
    BUCKET,
    KEYS,
    client_for,
    moto_server,
    objects,
    rclone_server,
    uploads,
)
from tests.connectors.peer import env_for

ROLE = "arn:aws:iam::123456789012:role/field"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as running:
        yield running


def bucket_at(endpoint: str, prefix: str, **config: Any) -> Bucket:
    auth = Auth(access_key_id="AKID", secret_access_key=SecretStr("s3cret-key"))
    made = Config(bucket=BUCKET, endpoint=endpoint, prefix=prefix, **config)
    return connect(made, auth, env_for(Settings()))


def begun(bucket: Bucket, mode: UploadMode, size: int = 10, key: str = "in/goal.mp4") -> Intent:
    wanted = UploadWanted(upload_id="upl_1", key=key, size=size, content_type="video/mp4")
    return bucket.open_upload(wanted, mode)


def put(endpoint: str, prefix: str, data: bytes) -> None:
    """What a client with credentials for the hidden key may do."""
    key = f"{prefix}/in/.cuttingroom-upl_1.part"
    client_for(endpoint).put_object(Bucket=BUCKET, Key=key, Body=data)


@pytest.mark.parametrize(
    ("size", "parts", "last"),
    [
        (1, 1, 1),
        (8 * MIB, 1, 8 * MIB),
        (8 * MIB + 1, 2, 1),
        (5 * 1024 * 1024 * MIB, None, None),
    ],
)
def test_parts_are_as_many_as_a_bucket_takes(
    size: int, parts: int | None, last: int | None
) -> None:
    sizes = part_sizes(size)

    assert sum(sizes.values()) == size
    assert len(sizes) <= 10_000
    assert list(sizes) == list(range(1, len(sizes) + 1))
    assert all(5 * MIB <= part <= 5 * 1024 * MIB for part in list(sizes.values())[:-1])
    if parts is not None:
        assert (len(sizes), sizes[parts]) == (parts, last)


def test_the_ways_to_upload_follow_from_size_and_config(endpoint: str) -> None:
    plain, sts = bucket_at(endpoint, "m"), bucket_at(endpoint, "m", sts="federation-token")

    assert plain.upload_modes(POST_BYTES) == ("s3-multipart", "s3-post")
    assert sts.upload_modes(POST_BYTES + 1) == ("s3-multipart", "s3-sts")
    assert plain.upload_modes(MAX_OBJECT_BYTES + 1) == ()
    with pytest.raises(InvalidCommand):
        begun(plain, "s3-sts")


def test_a_url_takes_one_part_of_one_length_for_a_while(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "urls")
    intent = begun(bucket, "s3-multipart", 8 * MIB + 5)

    grant = bucket.grant(intent, 600)

    assert isinstance(grant, MultipartGrant)
    assert [(p.part_number, p.offset, p.size) for p in grant.parts] == [
        (1, 0, 8 * MIB),
        (2, 8 * MIB, 5),
    ]
    asked = parse_qs(urlsplit(grant.parts[1].url).query)
    assert asked["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert asked["X-Amz-Expires"] == ["600"]
    assert asked["partNumber"] == ["2"]
    assert asked["uploadId"] == [intent["upload_id"]]
    assert (grant.key, grant.bucket) == ("urls/in/goal.mp4", BUCKET)


def test_no_more_than_a_hundred_urls_come_at_once(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "many")

    grant = bucket.grant(begun(bucket, "s3-multipart", 3000 * MIB), 600)

    assert isinstance(grant, MultipartGrant)
    assert (len(grant.parts), grant.part_count) == (URLS_AT_ONCE, 375)


def test_a_part_of_another_length_counts_as_missing(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "short")
    intent = begun(bucket, "s3-multipart", 20)
    grant = bucket.grant(intent, 600)
    assert isinstance(grant, MultipartGrant)
    requests.put(grant.parts[0].url, data=b"x" * 19, timeout=20)

    again = bucket.grant(intent, 600)

    assert isinstance(again, MultipartGrant)
    assert [part.part_number for part in again.parts] == [1]
    with pytest.raises(CorruptMedia):
        bucket.settle(intent)


def test_a_forms_conditions_fix_key_type_and_size(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "form", sse="AES256")

    grant = bucket.grant(begun(bucket, "s3-post", 10), 600)

    assert isinstance(grant, PostGrant)
    policy = json.loads(base64.b64decode(grant.fields["policy"]))["conditions"]
    assert ["content-length-range", 10, 10] in policy
    assert {"key": "form/in/.cuttingroom-upl_1.part"} in policy
    assert {"Content-Type": "video/mp4"} in policy
    assert {"x-amz-server-side-encryption": "AES256"} in policy
    assert not any(isinstance(c, list) and c[0] == "starts-with" for c in policy)


@pytest.mark.parametrize("how", ["assume-role", "federation-token"])
def test_temporary_keys_may_put_one_key(endpoint: str, how: Any) -> None:
    config = {"sts": how, **({"role_arn": ROLE} if how == "assume-role" else {})}
    bucket = bucket_at(endpoint, "sts", **config)

    grant = bucket.grant(begun(bucket, "s3-sts"), 3600)

    assert isinstance(grant, StsGrant)
    assert grant.session_token
    assert grant.access_key_id != KEYS["access_key_id"]
    assert grant.key == "sts/in/.cuttingroom-upl_1.part"
    assert grant.expires_ms is not None


def test_the_policy_names_two_acts_on_one_key_that_is_no_pattern() -> None:
    policy = json.loads(write_only_policy("b", "in/a*${x}?.mp4", "cn-north-1"))

    (statement,) = policy["Statement"]
    assert statement["Action"] == ["s3:PutObject", "s3:AbortMultipartUpload"]
    assert statement["Resource"] == "arn:aws-cn:s3:::b/in/a${*}${$}{x}${?}.mp4"


def test_a_role_goes_with_assuming_it() -> None:
    for wrong in ({"sts": "assume-role"}, {"role_arn": ROLE}):
        with pytest.raises(ValidationError, match="roleArn"):
            Config(bucket=BUCKET, **wrong)  # type: ignore[arg-type]


def test_what_a_client_writes_after_it_was_settled_is_never_let_in(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "swapped")
    intent = begun(bucket, "s3-post", 10)
    put(endpoint, "swapped", b"0123456789")
    settled = bucket.settle(intent)
    put(endpoint, "swapped", b"evil bytes")

    again = bucket.settle(intent)
    read = bucket.read_upload(again, 0, 10)
    visible = "swapped/in/goal.mp4" in objects(endpoint)
    bucket.admit(settled, "0" * 64, lambda: None)

    assert (read, visible) == (b"0123456789", False)
    assert bucket.read_range("in/goal.mp4", 0, 10) == b"0123456789"
    assert [key for key in objects(endpoint) if "swapped" in key] == ["swapped/in/goal.mp4"]


def test_more_than_agreed_is_too_large(endpoint: str) -> None:
    bucket = bucket_at(endpoint, "more")
    intent = begun(bucket, "s3-post", 10)
    put(endpoint, "more", b"0123456789a")

    with pytest.raises(TooLarge):
        bucket.settle(intent)

    bucket.abandon(intent)
    assert [key for key in objects(endpoint) if key.startswith("more/")] == []


def test_a_key_somebody_took_meanwhile_is_a_conflict(endpoint: str) -> None:
    parts, form = bucket_at(endpoint, "taken"), bucket_at(endpoint, "taken2")
    first, second = begun(parts, "s3-multipart"), begun(form, "s3-post")
    grant = parts.grant(first, 60)
    assert isinstance(grant, MultipartGrant)
    requests.put(grant.parts[0].url, data=b"0123456789", timeout=20)
    put(endpoint, "taken2", b"0123456789")
    for prefix in ("taken", "taken2"):
        client_for(endpoint).put_object(Bucket=BUCKET, Key=f"{prefix}/in/goal.mp4", Body=b"theirs")

    with pytest.raises(DestinationRejected):
        parts.settle(first)
    with pytest.raises(DestinationRejected):
        form.admit(form.settle(second), "0" * 64, lambda: None)

    for bucket, intent in ((parts, first), (form, second)):
        bucket.abandon(intent)
    held = objects(endpoint)
    assert (held["taken/in/goal.mp4"], held["taken2/in/goal.mp4"]) == (6, 6)
    assert [key for key in uploads(endpoint) if key.startswith("taken")] == []


def test_without_keys_nothing_can_be_granted(endpoint: str) -> None:
    bucket = connect(Config(bucket=BUCKET, endpoint=endpoint), Auth(), env_for(Settings()))

    with pytest.raises(AccessDenied):
        begun(bucket, "s3-multipart")


def test_an_inner_address_gets_no_upload_and_no_keys(endpoint: str) -> None:
    auth = Auth(access_key_id="AKID", secret_access_key=SecretStr("s3cret-key"))
    outside = Config(bucket=BUCKET, endpoint=endpoint, sts="federation-token")
    bucket = connect(outside, auth, env_for(Settings(), Egress()))

    with pytest.raises(AccessDenied):
        begun(bucket, "s3-multipart")
    with pytest.raises(AccessDenied):
        bucket.grant({"mode": "s3-sts", "key": "a.mp4", "job_id": "upl_1"}, 900)


def test_a_bucket_as_media_store_takes_uploads(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_media_store(
        Settings(
            media_store=f"s3://{BUCKET}/media?endpoint={endpoint}",
            media_store_key_id="AKID",
            media_store_secret=SecretStr("s3cret-key"),
        )
    )
    assert isinstance(store, Bucket)

    intent = begun(store, "s3-multipart")
    aborted = store.janitor([intent], 4_000_000_000_000)

    assert aborted == 0
    assert store.arrived(intent) == 0
    assert store.janitor([], 4_000_000_000_000) == 1
    with pytest.raises(SourceNotFound):
        store.grant(intent, 60)


def test_a_server_that_judges_signatures_takes_what_was_signed_and_nothing_else(
    tmp_path: Path,
) -> None:
    with rclone_server(tmp_path / "buckets") as judging:
        bucket = connect(
            Config(bucket=BUCKET, endpoint=judging, prefix="in"),
            Auth(
                access_key_id=KEYS["access_key_id"],
                secret_access_key=SecretStr(KEYS["secret_access_key"]),
            ),
            env_for(Settings()),
        )
        intent = begun(bucket, "s3-multipart")
        url = the_url(bucket, intent, 600)
        refused = {
            "longer": requests.put(url, data=b"x" * 11, timeout=20),
            "shorter": requests.put(url, data=b"x" * 9, timeout=20),
            "read": requests.get(url, timeout=20),
            "deleted": requests.delete(url, timeout=20),
            "another part": requests.put(
                url.replace("partNumber=1", "partNumber=2"), data=b"x" * 10, timeout=20
            ),
            "another key": requests.put(url.replace("goal", "evil"), data=b"x" * 10, timeout=20),
        }
        brief = the_url(bucket, intent, 1)
        # Of another length it is refused either way: as unsigned at first, as expired in the end.
        until(lambda: not _is_live(brief), "the end of the credentials", 20)

        expired = requests.put(brief, data=b"x" * 10, timeout=20)
        renewed = requests.put(the_url(bucket, intent, 600), data=b"0123456789", timeout=20)

        assert {what: answer.status_code for what, answer in refused.items()} == dict.fromkeys(
            refused, 403
        )
        assert (expired.ok, renewed.status_code) == (False, 200)
        assert bucket.read_upload(bucket.settle(intent), 0, 10) == b"0123456789"


def the_url(bucket: Bucket, intent: Intent, ttl_s: int) -> str:
    """The URL of the only part."""
    grant = bucket.grant(intent, ttl_s)
    assert isinstance(grant, MultipartGrant)
    return grant.parts[0].url


def _is_live(url: str) -> bool:
    return requests.put(url, data=b"x" * 11, timeout=20).status_code == 403
