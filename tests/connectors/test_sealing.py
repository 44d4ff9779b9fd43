"""Secrets open only where they were sealed for, and show nowhere."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from connectors.base import AuthModel
from connectors.sealing import MASK, Sealer, masked, merged, new_key, revealed
from schemas.errors import AccessDenied, InvalidCommand


class _Auth(AuthModel):
    user_name: str | None = None
    pass_word: SecretStr | None = None


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(new_key())


def test_what_was_sealed_opens(sealer: Sealer) -> None:
    token = sealer.seal("t1", "c1", "auth", "s3cret ✓")

    assert sealer.open("t1", "c1", "auth", token).get_secret_value() == "s3cret ✓"
    assert "s3cret" not in token


@pytest.mark.parametrize(
    "elsewhere", [("t2", "c1", "auth"), ("t1", "c2", "auth"), ("t1", "c1", "other")]
)
def test_a_sealed_text_opens_nowhere_else(elsewhere: tuple[str, str, str], sealer: Sealer) -> None:
    token = sealer.seal("t1", "c1", "auth", "s3cret")

    with pytest.raises(AccessDenied) as raised:
        sealer.open(*elsewhere, token)

    assert raised.value.error_code == "secret_unreadable"
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("token", ["", "x", "gAAAA", "é"])
def test_a_damaged_token_does_not_open(token: str, sealer: Sealer) -> None:
    with pytest.raises(AccessDenied):
        sealer.open("t1", "c1", "auth", token)
    with pytest.raises(AccessDenied):
        sealer.rotate(token)


def test_keys_rotate() -> None:
    old, new = new_key().get_secret_value(), new_key().get_secret_value()
    token = Sealer(old).seal("t1", "c1", "auth", "s3cret")

    rotated = Sealer(f"{new},{old}").rotate(token)

    assert Sealer(new).open("t1", "c1", "auth", rotated).get_secret_value() == "s3cret"
    with pytest.raises(AccessDenied):
        Sealer(new).open("t1", "c1", "auth", token)


@pytest.mark.parametrize("keys", ["", " , ", "short", "x" * 44])
def test_a_ring_of_no_keys_is_refused_without_showing_them(keys: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        Sealer(SecretStr(keys))

    assert keys.strip(" ,") == "" or keys not in str(raised.value)


def test_a_whole_auth_is_sealed(sealer: Sealer) -> None:
    auth = _Auth(user_name="ann", pass_word=SecretStr("s3cret"))

    values = sealer.open_auth("t1", "c1", sealer.seal_auth("t1", "c1", auth))

    assert _Auth.model_validate(values) == auth
    assert revealed(auth) == {"user_name": "ann", "pass_word": "s3cret"}
    assert "s3cret" not in f"{auth!r}{auth!s}{auth.model_dump_json()}{sealer!r}"


@pytest.mark.parametrize("spelling", ["pass_word", "passWord"])
def test_a_secret_shows_as_a_mask(spelling: str) -> None:
    assert masked(_Auth, {"userName": "ann", spelling: "s3cret"}) == {
        "userName": "ann",
        spelling: MASK,
    }
    assert masked(_Auth, {spelling: None}) == {spelling: None}


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({}, {"userName": "ann", "passWord": "old"}),
        ({"passWord": MASK}, {"userName": "ann", "passWord": "old"}),
        ({"passWord": "new"}, {"userName": "ann", "passWord": "new"}),
        ({"passWord": None}, {"userName": "ann"}),
        ({"userName": MASK}, {"userName": MASK, "passWord": "old"}),
        ({"userName": "bob", "passWord": MASK}, {"userName": "bob", "passWord": "old"}),
    ],
)
def test_a_patch_keeps_the_secrets_it_leaves_out(
    patch: dict[str, str | None], result: dict[str, str]
) -> None:
    assert merged(_Auth, {"userName": "ann", "passWord": "old"}, patch) == result
