"""Cursors: opaque to clients, bound to the list they were given for, checked when they return."""

from __future__ import annotations

import base64
import binascii
import hashlib

from api_gateway.problems import Problem, wrong

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_CHECK_BYTES = 6


def cursor(kind: str, position: str) -> str:
    """The cursor that goes on after a position in a list of one kind."""
    raw = position.encode()
    return base64.urlsafe_b64encode(_check(kind, raw) + raw).rstrip(b"=").decode()


def position(kind: str, given: str | None, pointer: str = "#query/cursor") -> str | None:
    """Where a cursor points; 422 for one that this kind of list never gave."""
    if given is None:
        return None
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        check, place = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        # The check is no secret, and some databases refuse to be asked for a NUL.
        if place and b"\0" not in place and check == _check(kind, place):
            return place.decode()
    except (binascii.Error, ValueError):
        pass
    raise refused(pointer)


def refused(pointer: str = "#query/cursor") -> Problem:
    """The problem of what passes for a cursor and leads nowhere."""
    return wrong(pointer, "not a cursor of this list; start again without one", "cursor_invalid")


def _check(kind: str, raw: bytes) -> bytes:
    return hashlib.sha256(kind.encode() + b"\0" + raw).digest()[:_CHECK_BYTES]
