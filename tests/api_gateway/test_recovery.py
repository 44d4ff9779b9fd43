"""Recovery does the same work for every address: what could tell them apart comes after the
answer, and is only the letter itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway_kit import Kit

SUBJECT = "somebody@example.com"


class Watched:
    """Passes every call on, and notes its name first."""

    def __init__(self, inner: Any, name: str, told: list[str]) -> None:
        self._inner, self._name, self._told = inner, name, told

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._told.append(f"{self._name}.{attribute}")
            return found(*args, **kwargs)

        return call


def watched(kit: Kit) -> list[str]:
    """From here on: every hash, transaction, letter, and what is put behind the answer."""
    told: list[str] = []
    gateway: Any = kit.gateway
    for name in ("passwords", "catalog", "mailer"):
        setattr(gateway, name, Watched(getattr(gateway, name), name, told))
    behind = gateway.behind

    def noted(work: Any) -> None:
        told.append("the rest comes after the answer")
        behind(work)

    gateway.behind = noted
    return told


def recovered(kit: Kit) -> list[str]:
    told = watched(kit)
    answer = kit.post("/v1/auth/password/recover", {"email": SUBJECT}, key=None)
    assert answer.status_code == 202
    return told


def confirmed(kit: Kit) -> list[str]:
    told = watched(kit)
    body = {"email": SUBJECT, "code": "WRONGWRONG", "newPassword": "correct horse battery"}
    answer = kit.post("/v1/auth/password/confirm", body, key=None)
    assert answer.status_code == 400
    return told


PEOPLE: dict[str, Callable[[Kit], object]] = {
    "nobody": lambda kit: None,
    "a user": lambda kit: kit.user(SUBJECT),
    "one who never changed a temporary password": lambda kit: kit.user(
        SUBJECT, temporary_until_ms=kit.clock() + 60_000
    ),
    "one who comes by sign-on alone": lambda kit: kit.user(SUBJECT, password=None),
    "a user of two tenants": lambda kit: (kit.user(SUBJECT), kit.user(SUBJECT, of="theirs")),
}
LETTERS = {
    "a user": 1,
    "one who never changed a temporary password": 1,
    "a user of two tenants": 2,
}


@pytest.mark.parametrize("who", PEOPLE)
def test_the_work_of_a_recovery_is_the_same_for(kit: Kit, who: str) -> None:
    PEOPLE[who](kit)

    told = recovered(kit)

    letters = ["mailer.send"] * LETTERS.get(who, 0)
    assert told == [
        "catalog.write",
        "the rest comes after the answer",
        "passwords.hashed",
        "catalog.write",
        *letters,
    ]
    assert len(kit.letters()) == len(letters)


@pytest.mark.parametrize("who", PEOPLE)
def test_the_work_of_a_wrong_code_is_the_same_for(kit: Kit, who: str) -> None:
    PEOPLE[who](kit)

    assert confirmed(kit) == ["passwords.hashed", "catalog.write"]
