"""Which addresses this service may connect to; judged one by one, after names are resolved."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registries, plus the IPv6 forms that carry an IPv4 address inside:
# a translator on the path would turn those into the very addresses refused above.
REFUSED: tuple[IpNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Reached through public-looking addresses, these still belong to the cloud a worker runs in.
METADATA: tuple[IpAddress, ...] = tuple(
    ipaddress.ip_address(text) for text in ("168.63.129.16", "100.100.100.200")
)


class AddressPolicy:
    """Judges addresses: what is not public is refused, unless an operator listed its network."""

    def __init__(self, allow_cidrs: Iterable[str] = ()) -> None:
        self._allowed = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in allow_cidrs)

    def allows(self, address: str) -> bool:
        """Whether this numeric address may be connected to.

        >>> AddressPolicy().allows("93.184.215.14"), AddressPolicy().allows("127.0.0.1")
        (True, False)
        """
        parsed = _parsed(address)
        if parsed is None:
            return False
        return _within(parsed, self._allowed) or _public(parsed)


def is_address(host: str) -> bool:
    """Whether a host is written as an address instead of a name.

    >>> is_address("::1"), is_address("example.com")
    (True, False)
    """
    return _parsed(host) is not None


def within(address: str, cidrs: Iterable[str]) -> bool:
    """Whether a numeric address lies in one of these networks.

    >>> within("10.1.2.3", ["10.0.0.0/8"]), within("10.1.2.3", [])
    (True, False)
    """
    parsed = _parsed(address)
    networks = (ipaddress.ip_network(cidr, strict=False) for cidr in cidrs)
    return parsed is not None and _within(parsed, networks)


def _parsed(address: str) -> IpAddress | None:
    try:
        return None if "%" in address else ipaddress.ip_address(address)
    except ValueError:
        return None


def _public(address: IpAddress) -> bool:
    return address.is_global and address not in METADATA and not _within(address, REFUSED)


def _within(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    return any(address.version == n.version and address in n for n in networks)
