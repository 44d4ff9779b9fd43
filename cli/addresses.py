"""Which addresses somebody means by typing a URL."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from connectors.addresses import AddressPolicy
from schemas.errors import InvalidCommand


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
