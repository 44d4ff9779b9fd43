"""Reporter: where people in the field upload to, and uploads from beginning to end."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.calls import Calls, decoded
from client.errors import ApiError
from client.grants import Credentials, credentials_of
from client.jobs import WAIT_S, Jobs
from client.tus import Tus
from client.uploading import Again, OnProgress, Sending
from client.values import UNSET, Given, Job, Resource, Told, given, present, read
from schemas.errors import InvalidCommand, NotFound
from schemas.jobs import JobError
from schemas.uploads import UploadMode


class Destination(Resource):
    """Where uploads go; without a connector that is the media store."""

    id: str
    name: str
    connector_id: str | None = None
    path_template: str
    max_bytes: int | None = None
    allowed_types: tuple[str, ...] | None = None
    created_at: str
    updated_at: str


class Upload(Told):
    """An upload and what has become of it."""

    id: str
    destination_id: str
    state: str
    mode: str
    file_name: str
    path: str
    size: int
    content_type: str
    sha256: str | None = None
    requested_by: str
    created_at: str
    expires_at: str
    job_id: str | None = None
    error: JobError | None = None


class Uploaded(Told):
    """A file that was let in: what `upload.completed` tells, and the job that looked into it."""

    upload_id: str
    key: str
    size: int
    sha256: str
    type: str | None = None
    duration_ms: int | None = None
    job_id: str


class Destinations:
    """The tenant's upload destinations."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[Destination]:
        """Every destination."""
        return self._calls.pages(Destination, "listDestinations")

    def create(
        self,
        name: str,
        path_template: str,
        *,
        connector_id: str | None = None,
        max_bytes: int | None = None,
        allowed_types: Sequence[str] | None = None,
    ) -> Destination:
        """Set up where uploads go."""
        body = present(
            name=name,
            path_template=path_template,
            connector_id=connector_id,
            max_bytes=max_bytes,
            allowed_types=allowed_types,
        )
        return self._calls.value(Destination, "createDestination", body=body)

    def get(self, destination_id: str) -> Destination:
        """One destination."""
        return self._calls.value(Destination, "getDestination", {"id": destination_id})

    def update(
        self,
        destination_id: str,
        *,
        name: str | Given = UNSET,
        path_template: str | Given = UNSET,
        connector_id: str | Given | None = UNSET,
        max_bytes: int | Given | None = UNSET,
        allowed_types: Sequence[str] | Given | None = UNSET,
        if_match: str | None = None,
    ) -> Destination:
        """Change a destination; None takes a limit away."""
        body = given(
            name=name,
            path_template=path_template,
            connector_id=connector_id,
            max_bytes=max_bytes,
            allowed_types=allowed_types,
        )
        at, said = {"id": destination_id}, {"If-Match": if_match}
        return self._calls.value(Destination, "updateDestination", at, body=body, headers=said)

    def delete(
        self, destination_id: str, *, force: bool | None = None, if_match: str | None = None
    ) -> None:
        """Delete a destination; what was uploaded stays. `force`: uploads under way end."""
        self._calls.reply(
            "deleteDestination",
            {"id": destination_id},
            query={"force": force},
            headers={"If-Match": if_match},
        )


class Reporter:
    """Uploads from the field."""

    def __init__(self, calls: Calls, jobs: Jobs) -> None:
        self._calls = calls
        self._jobs = jobs
        self.destinations = Destinations(calls)
        self.tus = Tus(calls)

    def upload(
        self,
        destination_id: str,
        path: Path | str,
        *,
        content_type: str | None = None,
        file_name: str | None = None,
        mode: UploadMode | None = None,
        hashed: bool = True,
        upload_id: str | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float = WAIT_S,
    ) -> Uploaded:
        """Send a file, whatever way its destination takes it, and wait until it was let in.

        `upload_id` goes on with an upload that was begun before, also by another process.
        `on_progress` hears how many bytes of how many are sent; that may fall, when some of them
        did not arrive. UploadInterrupted where it stops, JobFailed where the file is refused.
        """
        file = Path(path)
        begun = (
            self._begin(destination_id, file, content_type, file_name, mode, hashed)
            if upload_id is None
            else self._begun(destination_id, upload_id, file)
        )
        if begun is not None:
            upload_id = begun.upload_id
            self._send(destination_id, begun, file, on_progress)
        return self._let_in(destination_id, str(upload_id), timeout_s)

    def credentials(
        self,
        destination_id: str,
        file_name: str,
        size: int,
        content_type: str,
        *,
        sha256: str | None = None,
        mode: UploadMode | None = None,
    ) -> Credentials:
        """Begin an upload: credentials that write this one file and read nothing."""
        body = present(
            file_name=file_name, size=size, content_type=content_type, sha256=sha256, mode=mode
        )
        at = {"id": destination_id}
        return credentials_of(decoded(self._calls.reply("createUploadCredentials", at, body=body)))

    def renew(self, destination_id: str, upload_id: str) -> Credentials:
        """Fresh credentials of the same upload, and what has arrived already."""
        at = _at(destination_id, upload_id)
        return credentials_of(decoded(self._calls.reply("renewUploadCredentials", at)))

    def complete(self, destination_id: str, upload_id: str) -> Job:
        """Say that everything was sent; the job that looks into it."""
        return self._calls.value(Job, "completeUpload", _at(destination_id, upload_id))

    def uploads(self, destination_id: str) -> Iterator[Upload]:
        """A destination's uploads, the newest first."""
        return self._calls.pages(Upload, "listUploads", {"id": destination_id})

    def get(self, destination_id: str, upload_id: str) -> Upload:
        """One upload."""
        return self._calls.value(Upload, "getUpload", _at(destination_id, upload_id))

    def cancel(self, destination_id: str, upload_id: str) -> None:
        """Give an upload up."""
        self._calls.reply("cancelUpload", _at(destination_id, upload_id))

    def _begin(
        self,
        destination_id: str,
        file: Path,
        content_type: str | None,
        file_name: str | None,
        mode: UploadMode | None,
        hashed: bool,
    ) -> Credentials:
        guessed = content_type or mimetypes.guess_type(file.name)[0]
        if guessed is None:
            raise InvalidCommand(f"say the content_type of {file.name}: its name does not tell")
        sha256 = _sha256(file) if hashed else None
        size = file.stat().st_size
        return self.credentials(
            destination_id, file_name or file.name, size, guessed, sha256=sha256, mode=mode
        )

    def _begun(self, destination_id: str, upload_id: str, file: Path) -> Credentials | None:
        """Fresh credentials; None where everything was sent before."""
        held = self.get(destination_id, upload_id)
        if held.size != file.stat().st_size:
            raise InvalidCommand(f"the upload is of another file, of {held.size} bytes")
        if held.state in {"checking", "completed"}:
            return None
        return self.renew(destination_id, upload_id)

    def _send(
        self, destination_id: str, begun: Credentials, file: Path, on_progress: OnProgress | None
    ) -> None:
        upload_id = begun.upload_id

        def complete() -> None:
            try:
                self.complete(destination_id, upload_id)
            except ApiError as error:
                if error.error_code != "upload_incomplete":
                    raise
                raise Again(error.detail) from None

        sending = Sending(self._calls, self.tus, destination_id, file, on_progress)
        sending.run(begun, lambda: self.renew(destination_id, upload_id), complete)

    def _let_in(self, destination_id: str, upload_id: str, timeout_s: float) -> Uploaded:
        job = self._jobs.succeeded(self.complete(destination_id, upload_id), timeout_s)
        for event in self._jobs.events(job, timeout_s=timeout_s):
            if event.type == "upload.completed":
                return read(Uploaded, {**event.data, "jobId": job.id})
        raise NotFound(f"job {job.id} has succeeded without telling of an upload")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _at(destination_id: str, upload_id: str) -> dict[str, str]:
    return {"id": destination_id, "uploadId": upload_id}
