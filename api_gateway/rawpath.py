"""Raw paths: `%2F` inside a fileId stays inside its segment until the route has been chosen.

A server hands an application the path already decoded, where `files/a%2Fb/clip` and
`files/a/b/clip` cannot be told apart. Here the raw path is split first and decoded after; a slash
inside a segment travels as a control character that no honest path holds.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from api_gateway.problems import Problem

_SLASH = "\x1f"
_STAND_IN = "\x1e"
_MAX_PATH_BYTES = 8192
_FILES = re.compile(r"(/v1/connectors/[^/]*/files)/(.*)", re.DOTALL)
# What may follow a fileId; a proxy that rewrote %2F to / left the fileId in several segments.
_TAILS = frozenset({"clip", "localize", "renditions", "metadata", "thumbnail"})


def rewritten(scope: Scope) -> str:
    """The path to route by; raises a 400 where it is not UTF-8 once decoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.partition(b"?")[0]
    if len(raw) > _MAX_PATH_BYTES:
        raise Problem(400, f"the path is longer than {_MAX_PATH_BYTES} bytes")
    if b"%" not in raw:
        return _folded(_safe(raw))
    return _folded("/".join(_segment(part) for part in raw.split(b"/")))


def file_id(routed: str, query: str | None) -> str:
    """The fileId meant: the `fileId` parameter where given, else the path's."""
    return query if query is not None else routed.replace(_SLASH, "/")


def _segment(part: bytes) -> str:
    return _safe(unquote_to_bytes(part)).replace("/", _SLASH) if b"%" in part else _safe(part)


def _safe(raw: bytes) -> str:
    try:
        return raw.decode("utf-8").replace(_SLASH, _STAND_IN)
    except UnicodeDecodeError as error:
        raise Problem(400, "the path is not UTF-8 once its percent signs are decoded") from error


def _folded(path: str) -> str:
    match = _FILES.fullmatch(path)
    if match is None:
        return path
    *before, last = match[2].split("/")
    if last not in _TAILS or not before:
        return f"{match[1]}/{_SLASH.join([*before, last])}"
    return f"{match[1]}/{_SLASH.join(before)}/{last}"
