"""The tus resumable upload protocol 1.0, as the service speaks it, by an upload's own token."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from client.calls import Calls
from client.errors import Unreadable
from client.grants import TusCredentials
from client.operations import OPERATIONS
from client.retries import refusal
from client.transport import Body, Reply

TUS: Final = {"Tus-Resumable": "1.0.0"}
MAX_ANSWER_BYTES = 64 * 1024


class Tus:
    """Single requests of the protocol; `Reporter.upload` does what they are for."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def options(self) -> Mapping[str, str]:
        """What of the protocol is spoken: the headers of the answer."""
        return self._calls.reply("getTusOptions", signed=False).headers

    def offset(self, credentials: TusCredentials) -> int:
        """How many bytes have arrived; ends what still hangs in an earlier request."""
        return _offset(self._ask("headTusUpload", credentials))

    def send(self, credentials: TusCredentials, offset: int, body: Body) -> int:
        """Send what begins at an offset; how many bytes have arrived by then."""
        said = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return _offset(self._ask("patchTusUpload", credentials, said, body))

    def delete(self, credentials: TusCredentials) -> None:
        """Give the upload up."""
        self._ask("deleteTusUpload", credentials)

    def _ask(
        self,
        operation_id: str,
        credentials: TusCredentials,
        said: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Reply:
        reply = self._calls.transport.send(
            OPERATIONS[operation_id].method,
            credentials.endpoint,
            headers={**TUS, **credentials.headers, **(said or {})},
            body=body,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if reply.status >= 300:
            raise refusal(reply, datetime.now(UTC))
        return reply


def _offset(reply: Reply) -> int:
    told = reply.headers.get("upload-offset", "")
    if not (told.isascii() and told.isdecimal() and len(told) < 17):
        raise Unreadable("the answer names no Upload-Offset")
    return int(told)
