"""Entity tags: which version of a resource an answer shows, and which a change was made from."""

from __future__ import annotations

import hashlib

from api_gateway.problems import Problem


def of_version(version: int) -> str:
    """The tag of a resource that counts its changes."""
    return f'"v{version}"'


def of_bytes(body: bytes) -> str:
    """The tag of a resource that is what it says."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def check_match(header: str | None, current: str) -> None:
    """Refuse with 412 a change that was made from another version."""
    if header is None or header.strip() == "*":
        return
    given = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    if current not in given:
        raise Problem(
            412, f"the resource is at {current} now; read it again and repeat", code="stale"
        )


def is_known(header: str | None, current: str) -> bool:
    """Whether the client holds this version already (If-None-Match)."""
    if header is None:
        return False
    given = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return current in given or "*" in given
