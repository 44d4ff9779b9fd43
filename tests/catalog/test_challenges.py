"""Attempts are counted before they are made; codes work once, a few tries, a while."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog.challenges import CHALLENGE_MS, RECOVERY_MS, TRIES
from catalog.engine import Catalog
from tests.fakes import FixedClock

NOBODY: frozenset[str] = frozenset()


def a_user(catalog: Catalog) -> tuple[str, str]:
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        return tenant, tx.users.create(tenant, "a@example.com", "A", "admin", None).id


def take(catalog: Catalog, name: str = "login:x", allowed: int = 3) -> int:
    with catalog.write() as tx:
        return tx.attempts.take(name, allowed, 1000)


def test_attempts_are_held_back_until_the_window_is_over(
    catalog: Catalog, clock: FixedClock
) -> None:
    waits = [take(catalog) for _ in range(5)]
    clock.advance(1000)

    assert waits == [0, 0, 0, 1000, 1000]
    assert take(catalog) == 0


def test_many_attempts_at_once_are_all_counted(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: take(catalog, allowed=5), range(24)))

    assert waits.count(0) == 5


def test_a_right_attempt_starts_again(catalog: Catalog) -> None:
    for _ in range(3):
        take(catalog)
    with catalog.write() as tx:
        tx.attempts.clear("login:x")

    assert take(catalog) == 0


def test_a_challenge_is_taken_so_many_times(catalog: Catalog, clock: FixedClock) -> None:
    tenant, user = a_user(catalog)
    with catalog.write() as tx:
        token = tx.challenges.ask(tenant, user, "mfa")
    seen = []
    for _ in range(TRIES + 1):
        with catalog.write() as tx:
            taken = tx.challenges.take(token, "mfa")
            assert taken is not None
            seen.append((taken.tries_left, taken.expired))

    assert seen == [(4, False), (3, False), (2, False), (1, False), (0, False), (0, True)]
    with catalog.write() as tx:
        assert tx.challenges.take(token, "newPassword") is None
        late = tx.challenges.ask(tenant, user, "mfa")
    clock.advance(CHALLENGE_MS)
    with catalog.write() as tx:
        taken = tx.challenges.take(late, "mfa")
    assert taken is not None
    assert taken.expired


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_wrong_codes_are_told_alike_for_known_and_unknown(catalog: Catalog, known: bool) -> None:
    _, user = a_user(catalog)
    allowed = frozenset({user}) if known else NOBODY
    with catalog.write() as tx:
        tx.recoveries.open("a@example.com", user if known else None)
    told: list[str | None] = []
    for _ in range(TRIES + 1):
        with catalog.write() as tx:
            try:
                told.append(tx.recoveries.redeem("A@example.com", "WRONGWRONG", allowed))
            except LookupError:
                told.append("run out")

    assert told == [None] * TRIES + ["run out"]


def test_a_code_works_for_its_address_in_time(catalog: Catalog, clock: FixedClock) -> None:
    _, user = a_user(catalog)
    with catalog.write() as tx:
        code = tx.recoveries.open("a@example.com", user)
        assert tx.recoveries.redeem("b@example.com", code, frozenset({user})) is None
        assert tx.recoveries.redeem("a@example.com", code, NOBODY) is None
        spelled = f"{code[:5].lower()}-{code[5:]}"
        assert tx.recoveries.redeem("a@example.com", spelled, frozenset({user})) == user
    clock.advance(RECOVERY_MS)

    with pytest.raises(LookupError), catalog.write() as tx:
        tx.recoveries.redeem("a@example.com", code, frozenset({user}))
