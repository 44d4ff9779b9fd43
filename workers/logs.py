"""Logs: one JSON object a line, with secrets and the query strings of URLs taken out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_QUERY = re.compile(r"(?P<base>\b[a-z][a-z0-9+.-]{1,20}://[^\s?#'\"<>]*)[?#][^\s'\"<>]*", re.I)
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@'\"]*@", re.I)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.I)
_OUR_KEY = re.compile(r"\bcr_live_\w+")
_SECRET_NAMES = re.compile(r"secret|password|token|authorization|api_?key|credential|cookie", re.I)
_DEPTH = 6


def redacted(text: str) -> str:
    """The text without what could open a door.

    >>> redacted("GET https://a:b@h/x.m3u8?sig=1 failed")
    'GET https://***@h/x.m3u8?*** failed'
    """
    text = _USERINFO.sub(r"\g<scheme>***@", _QUERY.sub(r"\g<base>?***", text))
    return _OUR_KEY.sub("***", _BEARER.sub(r"\1 ***", text))


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict) and depth < _DEPTH:
        return {
            str(k): "***" if _SECRET_NAMES.search(str(k)) else _clean(v, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple) and depth < _DEPTH:
        return [_clean(item, depth + 1) for item in value]
    return value if isinstance(value, int | float | bool | None) else redacted(str(value))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The structlog processor that cleans a whole event."""
    cleaned: dict[str, Any] = _clean(dict(event))
    return cleaned


def set_up(level: str = "info") -> None:
    """Send our logs and those of libraries to standard error as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("dramatiq").setLevel(logging.WARNING)


def _formatter(shared: list[Any]) -> logging.Formatter:
    final: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final)
