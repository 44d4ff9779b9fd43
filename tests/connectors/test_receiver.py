"""What a receiver is sent is signed as the standard says, and as our how-to says."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from connectors.receiver import Receivers, check_url, new_secret, signatures
from schemas.errors import AccessDenied
from tests.receivers import Received, Reply, receiver

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "webhooks.md").read_text()
LOOPBACK = ("127.0.0.0/8",)


def example(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", HOWTO, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def came(*secrets: str, body: str = '{"type":"clip.ready","jobId":"job_1"}') -> Received:
    """A delivery as a receiver gets it."""
    with receiver() as there:
        Receivers(LOOPBACK).send(there.url, secrets, "dlv_1", body, None)
        return there.received[0]


def test_the_signature_is_that_of_the_standard_s_own_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, tz=UTC)

    found = signatures([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')

    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", one) for one in made)


def test_the_how_to_s_receiver_takes_ours_once_and_nobody_else_s() -> None:
    names: dict[str, Any] = {}
    done: list[str] = []
    exec(example("python"), names)  # noqa: S102 - the how-to's own words
    names["work_on_later"] = lambda event: done.append(event["jobId"])
    secret = new_secret()
    one = came(secret)

    answers = [
        names["receive"](secret, one.headers, one.body),
        names["receive"](secret, one.headers, one.body),
        names["receive"](new_secret(), one.headers, one.body),
        names["receive"](secret, one.headers, one.body + b" "),
        names["receive"](secret, {}, one.body),
    ]

    assert (answers, done) == ([204, 204, 401, 401, 401], ["job_1"])


def test_the_how_to_s_shell_makes_our_signature(tmp_path: Path) -> None:
    secret = new_secret()
    one = came(secret)
    (tmp_path / "body").write_bytes(one.body)
    words = [secret, one.message_id, one.headers["webhook-timestamp"], str(tmp_path / "body")]

    made = subprocess.run(
        ["bash", "-c", example("bash"), "verify", *words], capture_output=True, check=True
    )

    assert made.stdout.decode().strip() == one.headers["webhook-signature"]


def test_two_secrets_sign_one_delivery() -> None:
    new, old = new_secret(), new_secret()

    one = came(new, old)

    assert one.headers["webhook-signature"].count("v1,") == 2
    for secret in (new, old):
        assert Verifier(secret).verify(one.body, one.headers)["type"] == "clip.ready"


@pytest.mark.parametrize("asked", ["0", "86400", "999999999", "soon", "-1", ""])
def test_what_a_receiver_asks_for_is_bounded(asked: str) -> None:
    with receiver(Reply(503, {"Retry-After": asked})) as there:
        outcome = Receivers(LOOPBACK).send(there.url, [new_secret()], "dlv_1", "{}", None)

    assert (outcome.code, outcome.reason) == (503, "answered 503")
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= 86_400


def test_a_secret_in_the_url_s_query_is_in_no_reason() -> None:
    url = "http://127.0.0.1:9/hook?token=s3cret"

    outcome = Receivers(LOOPBACK).send(url, [new_secret()], "dlv_1", "{}", None)

    assert outcome.code is None
    assert outcome.reason is not None
    assert "s3cret" not in outcome.reason


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/a?b=c", "https://93.184.215.14:8443/", "HTTPS://a.example"]
)
def test_a_url_outside_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["http://a.example/", "https://127.0.0.1/", "https://[fe80::1]/"])
def test_a_url_inside_or_in_the_clear_is_not(url: str) -> None:
    with pytest.raises(AccessDenied):
        check_url(url)
