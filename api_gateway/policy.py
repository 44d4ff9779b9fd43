"""What a password must be, and the forms of what accounts are named by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from api_gateway.problems import FieldProblem, Problem

MIN_PASSWORD, MAX_PASSWORD = 12, 256
_FEW_LETTERS = 5
_COMMON = frozenset(
    {
        "password",
        "passwort",
        "qwerty",
        "qwertyuiop",
        "letmein",
        "welcome",
        "administrator",
        "iloveyou",
        "cuttingroom",
        "changeme",
    }
)
Email = Annotated[
    str,
    StringConstraints(
        min_length=3,
        max_length=254,
        pattern=r"^[^\x00-\x20\x7f-\xa0@<>\",;:\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
TenantRef = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", description="name or id"),
]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=MAX_PASSWORD)]


def check_password(password: str, email: str, pointer: str = "/newPassword") -> None:
    """Refuse with 422 `password_policy` a password that is guessed early."""
    reason = weakness(password, email)
    if reason is not None:
        raise Problem(
            422,
            f"choose another password: {reason}",
            code="password_policy",
            found=[FieldProblem(pointer=pointer, message=reason)],
        )


def weakness(password: str, email: str) -> str | None:
    """What makes a password guessable, or None."""
    plain = password.strip().lower()
    if len(password) < MIN_PASSWORD:
        return f"it has fewer than {MIN_PASSWORD} characters"
    if len(set(plain)) < _FEW_LETTERS:
        return f"it has fewer than {_FEW_LETTERS} different characters"
    name = email.partition("@")[0].lower()
    if len(name) > 3 and name in plain:
        return "it contains the name of the mail address"
    if plain.strip("0123456789!?.-_ ") in _COMMON:
        return "it is a common password"
    return None
