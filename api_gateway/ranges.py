"""Files in parts: which bytes a request asks for, and the answer that streams them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api_gateway import etag
from api_gateway.deps import in_thread
from api_gateway.problems import Problem

CHUNK_BYTES = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{1,19})?-(\d{1,19})?", re.ASCII)
_PLAIN = re.compile(r"[^A-Za-z0-9 ._()+,-]")


@dataclass(frozen=True)
class Held:
    """A file as it is sent; `read` answers so many bytes from an offset."""

    name: str
    size: int
    tag: str
    media_type: str
    read: Callable[[int, int], bytes]


def answer(request: Request, held: Held) -> Response:
    """The file, the part of it that was asked for, or nothing where the client has it already."""
    headers = {
        "ETag": held.tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": _disposition(held.name),
        "Content-Type": held.media_type,
    }
    if etag.is_known(request.headers.get("if-none-match"), held.tag):
        return Response(status_code=304, headers=headers)
    part = _part(request, held)
    start, end = part or (0, held.size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{held.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_pieces(held, start, end), status_code=status, headers=headers)


def _part(request: Request, held: Held) -> tuple[int, int] | None:
    """The first byte wanted and the one after the last; None for the whole.

    A range of another version, several ranges, and what is no range at all mean the whole
    (RFC 9110, 14.2).
    """
    given = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if given is None or (given[1] is None and given[2] is None):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != held.tag:
        return None
    if given[1] is None:
        start, end = max(0, held.size - int(given[2])), held.size
    else:
        start = int(given[1])
        end = min(held.size, int(given[2]) + 1) if given[2] is not None else held.size
    if given[1] is not None and given[2] is not None and int(given[2]) < start:
        return None
    if start >= held.size or start >= end:
        headers = {"Content-Range": f"bytes */{held.size}"}
        raise Problem(416, f"the file has {held.size} bytes", code="range_invalid", headers=headers)
    return start, end


async def _pieces(held: Held, start: int, end: int) -> AsyncIterator[bytes]:
    at = start
    while at < end:
        piece = await in_thread(held.read, at, min(CHUNK_BYTES, end - at))
        if not piece:
            return  # taken away meanwhile: the client sees that the length is not what was told
        at += len(piece)
        yield piece


def _disposition(name: str) -> str:
    """What a browser calls the file it saves (RFC 6266)."""
    plain = _PLAIN.sub("_", name)
    spelled = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{spelled}'
