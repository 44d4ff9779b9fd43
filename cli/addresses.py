"""Which addresses somebody means by typing a URL."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from connectors.addresses import AddressPolicy
from schemas.errors import InvalidCommand


def stream_type(url: str) -> str:
    """The connector type for a typed address of a stream: a manifest's tells by its name.

    >>> stream_type("https://host/live/manifest.mpd?token=1")
    'dash'
    """
    parts = urlsplit(url)
    named = ".mpd" in parts.path.lower() or "format=mpd" in f"{parts.path}?{parts.query}".lower()
    return "dash" if named else "hls"


def own_addresses(url: str) -> tuple[str, ...]:
    """The addresses of a typed URL's host that only an operator may allow."""
    host = urlsplit(url).hostname
    if host is None:
        raise InvalidCommand("give the address of a playlist, as in https://host/live.m3u8")
    with suppress(OSError, UnicodeError):
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        public = AddressPolicy()
        return tuple(sorted(address for address in found if not public.allows(address)))
    return ()
