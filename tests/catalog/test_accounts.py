"""Tenants, users and API keys are kept, told apart and never shown in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import keys, passwords
from catalog.bootstrap import bootstrap
from catalog.engine import Catalog
from schemas.accounts import SCOPES, FirstCredentials
from schemas.errors import Conflict, NotFound
from tests.fakes import FixedClock


def a_tenant(catalog: Catalog, name: str = "Acme") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def test_a_secret_has_the_contracts_form() -> None:
    made = keys.mint()

    prefix, live, public, rest, crc = made.secret.split("_")
    assert (prefix, live, len(public), len(rest), len(crc)) == ("cr", "live", 8, 43, 6)
    assert keys.public_id(made.secret) == public == made.public_id


@pytest.mark.parametrize("spoil", [0, 9, 20, -1], ids=["prefix", "id", "random", "checksum"])
def test_a_mistyped_secret_is_known_without_a_look_up(spoil: int) -> None:
    letters = list(keys.mint().secret)
    letters[spoil] = "b" if letters[spoil] == "a" else "a"

    assert keys.public_id("".join(letters)) is None


def test_the_secret_is_nowhere_in_the_database(catalog: Catalog, tmp_path: Path) -> None:
    tenant = a_tenant(catalog)

    with catalog.write() as tx:
        _, secret = tx.api_keys.create(tenant, "ci", ("read",))

    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.secret.encode() not in held
    assert secret.hash.encode() in held


def test_a_rotated_key_lives_through_its_grace(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    with catalog.write() as tx:
        key, first = tx.api_keys.create(tenant, "ci", ("read",))

    with catalog.write() as tx:
        rotated, second = tx.api_keys.rotate(tenant, key.id, 5000)

    with catalog.read() as tx:
        check = tx.api_keys.check(first.public_id)
    assert check is not None
    assert check.hashes == ((second.hash, None), (first.hash, clock() + 5000))
    assert (rotated.prefix, rotated.version) == (key.prefix, 2)


def test_no_older_secret_outlives_the_grace_of_the_newest(
    catalog: Catalog, clock: FixedClock
) -> None:
    tenant = a_tenant(catalog)
    with catalog.write() as tx:
        key, first = tx.api_keys.create(tenant, "ci", ("read",))
        tx.api_keys.rotate(tenant, key.id, 60_000)

    with catalog.write() as tx:
        _, third = tx.api_keys.rotate(tenant, key.id, 0)

    with catalog.read() as tx:
        check = tx.api_keys.check(first.public_id)
    assert check is not None
    assert check.hashes == ((third.hash, None),)


def test_use_is_written_at_most_once_a_minute(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    with catalog.write() as tx:
        key, _ = tx.api_keys.create(tenant, "ci", ("read",))
    seen = []

    for step in (0, 59_999, 1):
        clock.advance(step)
        with catalog.write() as tx:
            tx.api_keys.used(tenant, key.id)
            seen.append(tx.api_keys.get(tenant, key.id).last_used_ms)

    assert [ms - seen[0] for ms in seen if ms and seen[0]] == [0, 0, 60_000]


def test_another_tenants_key_is_unknown(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog, "mine"), a_tenant(catalog, "theirs")
    with catalog.write() as tx:
        key, _ = tx.api_keys.create(theirs, "ci", ("read",))

    with catalog.write() as tx:
        for call in (tx.api_keys.get, lambda t, k: tx.api_keys.change(t, k, enabled=False)):
            with pytest.raises(NotFound):
                call(mine, key.id)
        with pytest.raises(NotFound):
            tx.api_keys.rotate(mine, key.id, 0)


def test_a_key_name_is_taken_once_per_tenant(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog, "mine"), a_tenant(catalog, "theirs")
    with catalog.write() as tx:
        tx.api_keys.create(mine, "ci", ("read",))
        tx.api_keys.create(theirs, "ci", ("read",))

    with pytest.raises(Conflict) as refused, catalog.write() as tx:
        tx.api_keys.create(mine, "ci", ("read",))
    assert refused.value.error_code == "name_taken"


def test_the_first_start_makes_an_admin_once(catalog: Catalog) -> None:
    kept: list[FirstCredentials] = []

    first = bootstrap(catalog, tenant="Acme", email="Admin@Example.com", keep=kept.append)
    second = bootstrap(catalog, tenant="Acme", email="admin@example.com", keep=kept.append)

    assert first is not None
    assert (kept, second) == ([first], None)
    with catalog.read() as tx:
        user = tx.users.by_email(first.tenant_id, "admin@example.com")
        stored = tx.users.password_hash(first.tenant_id, user.email)
        check = tx.api_keys.check(keys.public_id(first.api_key) or "")
    assert user.role == "admin"
    assert passwords.matches(stored, first.password)
    assert not passwords.matches(stored, first.password + "x")
    assert check is not None
    assert check.key.scopes == SCOPES
    assert first.password not in repr(first)


def test_credentials_that_cannot_be_kept_are_not_made(catalog: Catalog) -> None:
    def refuse(_: FirstCredentials) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        bootstrap(catalog, tenant="Acme", email="a@example.com", keep=refuse)

    with catalog.read() as tx:
        assert not tx.tenants.any()
