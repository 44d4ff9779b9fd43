"""Reporter: destinations that clients upload to, uploads under way, and credentials for one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Value, WireValue
from schemas.connectors import Destination

UploadMode = Literal["s3-multipart", "s3-sts", "s3-post", "tus"]
UploadState = Literal["open", "checking", "completed", "failed", "expired"]
MAX_CREDENTIALS_S = 3600
SHA256 = r"^[0-9a-f]{64}$"


class ReporterDestination(Value):
    """Where a tenant's people may upload to; `connector_id` None is the media store.

    Absent `max_bytes` is what the destination's system takes, absent `allowed_types` every type
    that can be checked.
    """

    id: str
    tenant_id: str
    name: str
    connector_id: str | None
    path_template: str
    max_bytes: int | None = None
    allowed_types: tuple[str, ...] | None = None
    version: int = 1
    created_ms: int
    updated_ms: int


class UploadWanted(Value):
    """A file a client is about to upload, as it says itself; `key` is where it should lie."""

    upload_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    key: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=1)
    content_type: str
    sha256: str | None = Field(default=None, pattern=SHA256)


class Upload(Value):
    """An upload as it was agreed; `place.key` is where the file will lie once it was checked.

    `intent` is what the connector needs to go on with it, to finish it or to undo it.
    """

    id: str
    tenant_id: str
    destination_id: str
    requested_by: str
    mode: UploadMode
    place: Destination
    intent: dict[str, Any]
    file_name: str
    size: int
    content_type: str
    sha256: str | None = None
    allowed_types: tuple[str, ...] | None = None
    created_ms: int
    expires_ms: int


class UploadEnd(Value):
    """Why an upload ended without having been checked."""

    state: Literal["failed", "expired"]
    code: str
    message: str


class HeldUpload(Value):
    """An upload and what has become of it; `job_id` is the job that checks or checked it."""

    upload: Upload
    job_id: str | None = None
    end: UploadEnd | None = None


class TakenUpload(Value):
    """An upload brought into a workspace: what came, and the intent as it is now."""

    name: str
    size: int
    sha256: str
    intent: dict[str, Any]


class UploadPart(WireValue):
    """A part that is still missing, and the URL that takes exactly these bytes by PUT."""

    part_number: int
    offset: int
    size: int
    url: str


class ReceivedPart(WireValue):
    """A part that is there already."""

    part_number: int
    size: int


class Grant(WireValue):
    """Credentials that can write one upload and read nothing; `key` is what they can write.

    `expires_ms` is told where they end at another time than was asked for.
    """

    endpoint: str
    bucket: str | None = None
    key: str
    expires_ms: int | None = Field(default=None, exclude=True)


class MultipartGrant(Grant):
    """Presigned URLs of the parts that are missing, the first hundred of them."""

    mode: Literal["s3-multipart"] = "s3-multipart"
    region: str
    multipart_upload_id: str
    part_size: int
    part_count: int
    parts: tuple[UploadPart, ...]
    received: tuple[ReceivedPart, ...]


class StsGrant(Grant):
    """Temporary keys whose policy allows to put one key."""

    mode: Literal["s3-sts"] = "s3-sts"
    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str


class PostGrant(Grant):
    """A form whose signed conditions fix the key, the type and the size."""

    mode: Literal["s3-post"] = "s3-post"
    region: str
    url: str
    fields: dict[str, str]


class TusGrant(Grant):
    """An upload of the tus protocol 1.0; every request carries the headers."""

    mode: Literal["tus"] = "tus"
    headers: dict[str, str] = {}
    offset: int
    length: int


AnyGrant = Annotated[MultipartGrant | StsGrant | PostGrant | TusGrant, Field(discriminator="mode")]
