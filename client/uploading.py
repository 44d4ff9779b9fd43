"""One upload on its way: sent as its credentials say, renewed when they end, resumed when cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from client.bodies import Form, Slice
from client.calls import Calls
from client.errors import ApiError, Unreachable, UploadInterrupted
from client.grants import (
    Credentials,
    MultipartCredentials,
    PostCredentials,
    StsCredentials,
    TusCredentials,
)
from client.retries import pause_s
from client.transport import Body
from client.tus import MAX_ANSWER_BYTES, Tus
from schemas.errors import Unsupported

TUS_PIECE_BYTES = 16 * 1024 * 1024
# Credentials this close to their end are renewed before they are used.
_MARGIN = 0.1
OnProgress = Callable[[int, int], None]


class Again(Exception):
    """The credentials of now take it no further; `why` is said where fresh ones do not either."""

    def __init__(self, why: str, *, pause: bool = True) -> None:
        super().__init__(why)
        self.pause = pause


class Sending:
    """A file being sent; `came` is how much of it is known to have arrived."""

    def __init__(
        self,
        calls: Calls,
        tus: Tus,
        destination_id: str,
        path: Path,
        on_progress: OnProgress | None,
    ) -> None:
        self._calls, self._tus, self._path = calls, tus, path
        self._destination_id = destination_id
        self._size = path.stat().st_size
        self._on_progress = on_progress
        self._sent = 0
        self.came = 0

    def run(
        self,
        begun: Credentials,
        renew: Callable[[], Credentials],
        complete: Callable[[], None],
    ) -> None:
        """Until the service takes it as complete.

        So many rounds in a row that bring nothing are forgiven as the client has retries.
        """
        credentials: Credentials | None = begun
        idle = 0
        while True:
            before = self.came
            try:
                credentials = credentials or renew()
                self._send(credentials)
                complete()
                return
            except (Again, Unreachable) as error:
                idle = 0 if self.came > before else idle + 1
                if idle > self._calls.retries:
                    raise self._interrupted(begun, error) from None
                credentials = None
                if not isinstance(error, Again) or error.pause:
                    self._calls.pause(pause_s(idle))

    def _interrupted(self, begun: Credentials, error: Exception) -> UploadInterrupted:
        return UploadInterrupted(
            f"{self.came} of {self._size} bytes have arrived: {error}",
            destination_id=self._destination_id,
            upload_id=begun.upload_id,
        )

    def _send(self, credentials: Credentials) -> None:
        ends_s = time.monotonic() + credentials.lasts_s * (1 - _MARGIN)
        with self._path.open("rb") as file:
            match credentials:
                case MultipartCredentials():
                    self._parts(credentials, file, ends_s)
                case TusCredentials():
                    self._pieces(credentials, file, ends_s)
                case PostCredentials():
                    self._form(credentials, file)
                case StsCredentials():
                    self._keys(credentials)

    def _parts(self, told: MultipartCredentials, file: BinaryIO, ends_s: float) -> None:
        self._arrived(sum(part.size for part in told.received))
        for part in told.parts:
            _check_fresh(ends_s)
            body = self._slice(file, part.offset, part.size)
            self._put("PUT", part.url, {"Content-Length": str(part.size)}, body)
            self._arrived(self.came + part.size)
        if len(told.received) + len(told.parts) < told.part_count:
            raise Again("parts are missing still", pause=False)

    def _pieces(self, told: TusCredentials, file: BinaryIO, ends_s: float) -> None:
        try:
            self._arrived(self._tus.offset(told))
            while self.came < self._size:
                _check_fresh(ends_s)
                size = min(TUS_PIECE_BYTES, self._size - self.came)
                body = self._slice(file, self.came, size)
                self._arrived(self._tus.send(told, self.came, body))
        except ApiError as error:
            if error.status in {404, 410, 413}:
                raise
            raise Again(error.detail, pause=error.status != 401) from None

    def _form(self, told: PostCredentials, file: BinaryIO) -> None:
        self._arrived(0)
        form = Form(told.fields, self._path.name, self._slice(file, 0, self._size))
        self._put("POST", told.url, {"Content-Type": form.content_type}, form)
        self._arrived(self._size)

    def _keys(self, told: StsCredentials) -> None:
        try:
            from client import temporary_keys
        except ModuleNotFoundError:
            raise Unsupported("s3-sts needs boto3; name another mode") from None
        self._arrived(0)
        temporary_keys.put(told, self._path, self._read)
        self._arrived(self._size)

    def _put(self, method: str, url: str, headers: dict[str, str], body: Body) -> None:
        """Send to somebody else's storage: no credential of ours goes along."""
        reply = self._calls.transport.send(
            method, url, headers=headers, body=body, max_bytes=MAX_ANSWER_BYTES
        )
        if reply.status >= 300:
            raise Again(f"the storage answered {reply.status}")

    def _slice(self, file: BinaryIO, offset: int, size: int) -> Slice:
        return Slice(file, offset, size, self._read)

    def _read(self, count: int) -> None:
        self._sent += count
        self._show(min(self._sent, self._size))

    def _arrived(self, count: int) -> None:
        self.came = self._sent = count
        self._show(count)

    def _show(self, count: int) -> None:
        if self._on_progress is not None:
            self._on_progress(count, self._size)


def _check_fresh(ends_s: float) -> None:
    if time.monotonic() >= ends_s:
        raise Again("the credentials are about to end", pause=False)
