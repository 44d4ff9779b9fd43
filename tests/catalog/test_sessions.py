"""Refresh tokens are used once; a family ends as a whole; a lost answer is forgiven shortly."""

from __future__ import annotations

from pathlib import Path

from catalog.engine import Catalog
from catalog.sessions import Refreshed
from tests.fakes import FixedClock

GRACE_MS = 10_000
LIFE_MS = 86_400_000


def a_session(catalog: Catalog) -> tuple[str, str, str]:
    """Tenant, session and refresh token."""
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        user = tx.users.create(tenant, "a@example.com", "A", "admin", None)
        session, token = tx.sessions.start(tenant, user.id, LIFE_MS)
    return tenant, session.id, token


def refresh(catalog: Catalog, token: str) -> Refreshed:
    with catalog.write() as tx:
        return tx.sessions.refresh(token, GRACE_MS)


def lives(catalog: Catalog, session: str) -> bool:
    with catalog.read() as tx:
        return tx.sessions.check(session) is not None


def test_a_token_gives_the_next_one(catalog: Catalog) -> None:
    _, session, first = a_session(catalog)

    second = refresh(catalog, first)
    third = refresh(catalog, second.token)

    assert second.session is not None
    assert second.session.id == session
    assert len({first, second.token, third.token}) == 3


def test_an_old_token_ends_its_family(catalog: Catalog, clock: FixedClock) -> None:
    _, session, first = a_session(catalog)
    second = refresh(catalog, first)
    clock.advance(GRACE_MS + 1)

    again = refresh(catalog, first)

    assert again.reused
    assert not lives(catalog, session)
    assert refresh(catalog, second.token).session is None


def test_a_lost_answer_is_forgiven_and_voids_the_lost_token(catalog: Catalog) -> None:
    _, session, first = a_session(catalog)
    lost = refresh(catalog, first)

    given_again = refresh(catalog, first)

    assert given_again.token
    assert lives(catalog, session)
    assert refresh(catalog, lost.token).reused
    assert not lives(catalog, session)


def test_nothing_is_forgiven_once_the_successor_was_used(catalog: Catalog) -> None:
    _, session, first = a_session(catalog)
    refresh(catalog, refresh(catalog, first).token)

    assert refresh(catalog, first).reused
    assert not lives(catalog, session)


def test_a_session_ends_with_its_life_its_user_or_its_log_out(
    catalog: Catalog, clock: FixedClock
) -> None:
    tenant, session, token = a_session(catalog)
    with catalog.write() as tx:
        user = tx.users.by_email(tenant, "a@example.com")
        other, _ = tx.sessions.start(tenant, user.id, LIFE_MS)
        ended = tx.sessions.end(tenant, other.id)

    assert ended == (other.id,)
    assert lives(catalog, session)
    assert not lives(catalog, other.id)
    clock.advance(LIFE_MS)
    assert not lives(catalog, session)
    assert refresh(catalog, token).session is None


def test_the_token_is_nowhere_in_the_database(catalog: Catalog, tmp_path: Path) -> None:
    _, _, token = a_session(catalog)

    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert token.encode() not in held


def test_another_tenants_session_cannot_be_ended(catalog: Catalog) -> None:
    _, session, _ = a_session(catalog)
    with catalog.write() as tx:
        other = tx.tenants.create("Other").id
        assert tx.sessions.end(other, session) == ()
        assert tx.sessions.sso_link(other, session) is None

    assert lives(catalog, session)
