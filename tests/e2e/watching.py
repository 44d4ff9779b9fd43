"""Which operations of a running service succeeded, seen where requests leave this process."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.service import PORTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def documented() -> dict[str, tuple[str, str]]:
    """Method and path of every operation."""
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"\{\w+\}", path)
    return re.compile("[^/]+".join(re.escape(piece) for piece in pieces))


_PATTERNS = {name: (method, _pattern(path)) for name, (method, path) in documented().items()}


def operation_of(method: str, path: str) -> str | None:
    """The operation a request is of."""
    for name, (own, pattern) in _PATTERNS.items():
        if own == method and pattern.fullmatch(path):
            return name
    return None


def watched(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """From here on: every operation that a service of this process's answered below 400.

    urllib3, requests and whatever else asks over HTTP end up in `http.client`.
    """
    seen: set[str] = set()
    put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        self.asked_for = (method, urlsplit(url).path)
        put(self, method, url, *args, **kwargs)

    def getresponse(self: Any) -> http.client.HTTPResponse:
        answer = get(self)
        if self.port in PORTS and answer.status < 400:
            name = operation_of(*self.asked_for)
            seen.update({name} if name else ())
        return answer

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", putrequest)
    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", getresponse)
    return seen
