"""How a client says who it is: an API key, an access token, or a session that renews itself."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from client.values import Told


class Tokens(Told):
    """What logging in gives."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int
    mfa_enrolment_required: bool = False


@dataclass(frozen=True, repr=False)
class Credential:
    """What is sent with each request; `refresh_token` gives the next one where there is one."""

    headers: dict[str, str]
    refresh_token: str | None = None


NOBODY = Credential({})


def of_key(api_key: str) -> Credential:
    """That of an API key."""
    return Credential({"X-Api-Key": api_key})


def of_access(access_token: str) -> Credential:
    """That of an access token alone: it ends when the token does."""
    return Credential({"Authorization": f"Bearer {access_token}"})


def of_tokens(tokens: Tokens) -> Credential:
    """That of a session."""
    return Credential(of_access(tokens.access_token).headers, tokens.refresh_token)
