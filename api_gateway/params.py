"""Parameters that several operations take, and how the less plain ones are read."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import BeforeValidator

from api_gateway.paging import DEFAULT_LIMIT, MAX_LIMIT
from api_gateway.problems import wrong
from schemas.errors import FieldInvalid
from schemas.times import parse_rfc3339

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")


def _digits(value: object) -> object:
    """Refuse 1.0, +1 and 1_0: numbers to Python, and to nobody who reads the document."""
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("a whole number is written in digits alone")
    return value


def _true_or_false(value: object) -> object:
    """Refuse yes, 1 and True: pydantic's words for it, and nobody's who reads the document."""
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("either true or false")
    return value


Digits = BeforeValidator(_digits)
TrueOrFalse = BeforeValidator(_true_or_false)
Id = Annotated[str, Path(alias="id", max_length=200, description="the resource's id")]
FileId = Annotated[
    str,
    Path(
        alias="fileId",
        description="percent-encoded: `/` as `%2F`; where a proxy rewrites that, any word here "
        "and the fileId as a query parameter",
        examples=["761f422bb93edb7c%2F2022%2F02%2F04%2Frange-1643957046-1643957106-clip-123498625"],
    ),
]
FileIdQuery = Annotated[
    str | None,
    Query(alias="fileId", max_length=1024, description="the fileId, for proxies that rewrite %2F"),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="at most so many items"), Digits]
Cursor = Annotated[
    str | None, Query(max_length=512, description="`nextCursor` of the page before this one")
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="the ETag this change was made from; 412 where stale"),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="an ETag held already; 304 where current")
]
_KEY = partial(
    Header, alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$"
)
IdempotencyKey = Annotated[
    str | None,
    _KEY(
        description="the same key and body give the first answer again, for a day; any other "
        "request under it is 409 `idempotency_conflict`. While the first is being answered, the "
        "same is 409 `idempotency_in_progress`: ask again after `Retry-After`."
    ),
]
KeyOfAsking = Annotated[
    str | None,
    _KEY(
        description="taken, but nothing is kept under it: this only asks, and asks anew each time, "
        "whatever the body"
    ),
]
KeyOfLogin = Annotated[
    str | None,
    _KEY(
        description="taken, but nothing is kept under it: the answer is for one person and this "
        "moment alone (tokens, secrets, codes), so a repeated request is judged anew"
    ),
]
DEFAULT = DEFAULT_LIMIT


def instant(name: str, text: str | None) -> int | None:
    """Epoch milliseconds of a query parameter that is an RFC 3339 time."""
    if text is None:
        return None
    try:
        # A plus sign in a query means a blank; nobody who wrote an offset meant that.
        return parse_rfc3339(text.replace(" ", "+"))
    except FieldInvalid as error:
        raise wrong(f"#query/{name}", f"{name}: {error.message}", "query_invalid") from None
