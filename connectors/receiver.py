"""A webhook's receiver: what it is sent, signed as Standard Webhooks says, and what it answers."""

from __future__ import annotations

import base64
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from standardwebhooks import Webhook as Signer

from connectors.addresses import AddressPolicy, is_address, within
from connectors.base import Control
from connectors.egress import Egress, Limits, retry_after_s
from schemas.errors import AccessDenied, CuttingRoomError, WorkerInterrupted
from schemas.webhooks import Outcome

LIMITS = Limits(
    connect_timeout_s=4.0, idle_timeout_s=10.0, header_timeout_s=10.0, total_timeout_s=15.0
)
MAX_URL_CHARS = 2000
MAX_PAUSE_S = 24 * 3600.0
_KEY_BYTES = 32
_REASON_CHARS = 200


def new_secret() -> str:
    """A signing secret as the standard spells it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


def signatures(keys: Iterable[str], message_id: str, at: datetime, body: str) -> str:
    """The value of `webhook-signature`: one signature a secret, the newest first."""
    return " ".join(Signer(key).sign(message_id, at, body) for key in keys)


def check_url(url: str, allow_cidrs: Sequence[str] = ()) -> None:
    """Raise AccessDenied, with what to write instead, for a URL that is never delivered to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise AccessDenied("the URL cannot be read") from None
    if parts.scheme.lower() not in {"https", "http"} or not host:
        raise AccessDenied("a webhook's URL begins with https:// and a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise AccessDenied("a webhook's URL has no user, password or fragment")
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise AccessDenied("a webhook's URL is printable ASCII of 2000 characters at most")
    plain = parts.scheme.lower() == "http"
    if plain and (not allow_cidrs or (is_address(host) and not within(host, allow_cidrs))):
        raise AccessDenied("a webhook's URL begins with https://")
    if is_address(host) and not AddressPolicy(allow_cidrs).allows(host):
        raise AccessDenied(f"{host} is not an address this service may connect to")


class Receivers:
    """The way to every receiver; plain http only to networks an operator has listed."""

    def __init__(self, allow_cidrs: Sequence[str] = (), ca_file: str | None = None) -> None:
        self._listed = tuple(allow_cidrs)
        self._safe = Egress(allow_cidrs=allow_cidrs, ca_file=ca_file, limits=LIMITS)
        self._plain = Egress(allow_cidrs=allow_cidrs, resolve=self._resolve_listed, limits=LIMITS)

    def send(
        self, url: str, keys: Sequence[str], message_id: str, body: str, control: Control | None
    ) -> Outcome:
        """Post a message once; every failure is an outcome, only `WorkerInterrupted` is raised.

        What the receiver answers is never read past its headers, and redirects are not followed.
        """
        began = time.monotonic()
        try:
            code, headers = self._posted(url, keys, message_id, body, control)
        except WorkerInterrupted:
            raise
        except CuttingRoomError as error:
            return Outcome(duration_ms=_since(began), reason=error.message[:_REASON_CHARS])
        wait_s = retry_after_s(headers.get("retry-after"), time.time(), MAX_PAUSE_S)
        return Outcome(
            code=code,
            duration_ms=_since(began),
            reason=_reason(code),
            retry_after_s=wait_s if code >= 300 else None,
        )

    def close(self) -> None:
        """Let the connections go."""
        self._safe.close()
        self._plain.close()

    def _posted(
        self, url: str, keys: Sequence[str], message_id: str, body: str, control: Control | None
    ) -> tuple[int, dict[str, str]]:
        now = datetime.now(tz=UTC)
        headers = {
            "Content-Type": "application/json",
            # A receiver may have closed a kept connection just now, and a POST is not sent twice.
            "Connection": "close",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures(keys, message_id, now, body),
        }
        egress = self._plain if urlsplit(url).scheme.lower() == "http" else self._safe
        return egress.post_only(url, body.encode(), headers, control=control)

    def _resolve_listed(self, host: str, port: int) -> list[tuple[Any, ...]]:
        found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if not all(within(str(sockaddr[0]), self._listed) for *_, sockaddr in found):
            raise AccessDenied(f"{host} is not at an address this service may connect to")
        return found


def _reason(code: int) -> str | None:
    if 200 <= code < 300:
        return None
    if 300 <= code < 400:
        return f"answered {code}: redirects are not followed"
    return f"answered {code}"


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
