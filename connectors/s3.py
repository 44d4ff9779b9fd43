"""The `s3` connector: a bucket at Amazon or at any endpoint that speaks its protocol.

boto3 is known here and in `_s3_client` alone, and its connections pass the same judge as
everybody's. An upload is invisible until it is completed, and is completed on the condition that
its key is free.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, SecretStr, field_validator, model_validator

from connectors._s3_errors import ABSENT, TAKEN, code_of, ignoring, reading, writing
from connectors._s3_uploads import JOB_FIELD, MAX_PARTS, PART_BYTES, BucketUploads
from connectors.base import (
    CHUNK_BYTES,
    TEMP_PREFIX,
    Artifact,
    AuthModel,
    CheckFence,
    ConnectorEnv,
    Control,
    Entry,
    Intent,
    OnBytes,
    PacedConfig,
    Page,
    Query,
    TimedUrl,
    key_parts,
    paged,
)
from connectors.egress import Budget, Judge, Limits, RawBody, spending
from schemas.connectors import Capability, Published
from schemas.errors import (
    AccessDenied,
    DestinationRejected,
    DestinationUnavailable,
    FieldInvalid,
    SourceChanged,
    SourceNotFound,
)
from schemas.localized import Validators

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sts.client import STSClient

TYPE = "s3"
IDENTITY = ("endpoint", "bucket", "prefix")
MAX_LISTED = 10_000
MAX_URL_TTL_S = 7 * 24 * 3600
# A whole object may take a day, as long as it keeps coming.
LONG = Limits(idle_timeout_s=30, total_timeout_s=24 * 3600)
HASH_FIELD = "cuttingroom-sha256"
# While it joins parts a server may be silent for long, or send a blank now and then.
LIMITS = Limits(idle_timeout_s=90, header_timeout_s=120, total_timeout_s=3600, min_rate=0)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_NO_CONDITIONS = frozenset({"501", "NotImplemented"})


class Config(PacedConfig):
    """Which bucket, and where; `prefix` is a folder that every key lies below."""

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = Field(default="", max_length=512)
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,40}$")
    endpoint: str | None = Field(default=None, max_length=512, description="Amazon where absent")
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = Field(default=None, max_length=512)
    sts: Literal["assume-role", "federation-token"] | None = Field(
        default=None, description="how uploads get temporary keys, where they may"
    )
    role_arn: str | None = Field(default=None, min_length=20, max_length=2048)
    sts_endpoint: str | None = Field(
        default=None, max_length=512, description="the bucket's own endpoint where absent"
    )

    @model_validator(mode="after")
    def _names_a_role(self) -> Config:
        if (self.sts == "assume-role") != (self.role_arn is not None):
            raise ValueError("roleArn goes with sts assume-role")
        return self

    @field_validator("bucket")
    @classmethod
    def _a_bucket(cls, name: str) -> str:
        if not _BUCKET.fullmatch(name):
            raise ValueError("a bucket's name is letters, digits, dots and dashes")
        return name

    @field_validator("prefix")
    @classmethod
    def _a_folder(cls, prefix: str) -> str:
        stripped = prefix.strip("/")
        try:
            return "/".join(key_parts(stripped)) if stripped else ""
        except FieldInvalid as error:
            raise ValueError(error.message) from None

    @field_validator("endpoint", "sts_endpoint")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://s3")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an http or https URL with a host is needed")
        if parts.username is not None or parts.query or parts.path not in {"", "/"}:
            raise ValueError("an endpoint is scheme, host and port alone")
        return url and url.rstrip("/")


class Auth(AuthModel):
    """A key pair; without one, requests are not signed and only public buckets answer."""

    access_key_id: str | None = Field(default=None, max_length=128)
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> Bucket:
    """The bucket, with the tenant's credentials and no others."""
    return Bucket(config, auth, env.egress.judge, env.clock)


class Bucket(BucketUploads):
    """Objects below a prefix of a bucket.

    `own_chain` lets boto3 look for the machine's own credentials, `exclusive` says that nobody
    else uploads below the prefix: both are for the operator's media store, never for a tenant.
    """

    def __init__(
        self,
        config: Config,
        auth: Auth,
        judge: Judge,
        clock: Callable[[], int],
        *,
        own_chain: bool = False,
        exclusive: bool = False,
    ) -> None:
        self._config, self._auth, self._judge, self._clock = config, auth, judge, clock
        self._own_chain = own_chain
        self._exclusive = exclusive or bool(config.prefix)
        self._made: S3Client | None = None
        self._made_sts: STSClient | None = None

    def check(self, capability: Capability | None = None) -> None:
        """The bucket may be listed; to write to it, a small object may be written and removed."""
        if capability in {"writes", "temp_credentials"}:
            with writing(self._place()):
                self._probed()
            return
        with reading(self._place()):
            self._client.list_objects_v2(
                Bucket=self._config.bucket, Prefix=self._below(""), MaxKeys=1
            )

    def query(self, query: Query) -> Page:
        """A folder's entries as the bucket pages them; searched and sorted ones all at once."""
        with reading(self._place()):
            if query.sort == "name" and not query.text and not query.filters:
                return self._listed_page(query)
            return paged(self._listed_all(query), query)

    def stat(self, file_id: str) -> Entry:
        """Size, type and time of an object."""
        with reading(file_id):
            head = self._client.head_object(Bucket=self._config.bucket, Key=self._key(file_id))
        return Entry(
            file_id=file_id,
            name=key_parts(file_id)[-1],
            size=head["ContentLength"],
            modified_ms=int(head["LastModified"].timestamp() * 1000),
            content_type=head.get("ContentType"),
            etag=head.get("ETag"),
        )

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of an object."""
        try:
            return self._read_object(self._key(file_id), offset, length)
        except SourceNotFound:
            if self.stat(file_id).size is not None:
                return b""
            raise

    def reader(self, file_id: str, expected: Validators, control: Control) -> BucketReader:
        """A further connection, asking for the expected version alone."""
        place = {"Bucket": self._config.bucket, "Key": self._key(file_id)}
        if expected.strong_etag:
            place["IfMatch"] = expected.strong_etag
        return BucketReader(self._client, place, f"{self._place()}/{file_id}", control)

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """A presigned URL; it is a credential until it expires."""
        lasting_s = min(max(ttl_s, 1), MAX_URL_TTL_S)
        with reading(file_id):
            signed = self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._config.bucket, "Key": self._key(file_id)},
                ExpiresIn=lasting_s,
            )
        return TimedUrl(url=signed, expires_ms=self._clock() + lasting_s * 1000)

    def begin(self, artifact: Artifact) -> Intent:
        """Choose the key and open an upload; a file of one part needs none."""
        with writing(artifact.key):
            unique = not self._keeps_conditions()
            name = _unique(artifact.key, artifact.job_id) if unique else artifact.key
            intent = {
                "type": TYPE,
                "key": name,
                "unique": unique,
                "upload_id": None,
                **artifact.model_dump(include={"job_id", "size", "sha256", "content_type"}),
            }
            if artifact.size > PART_BYTES:
                made = self._client.create_multipart_upload(**self._described(intent))
                intent["upload_id"] = made["UploadId"]
            return intent

    def put(
        self,
        intent: Intent,
        artifact: Artifact,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Intent:
        """Upload the parts; a file of one part is only measured, and travels in `finish`."""
        with (
            writing(intent["key"]),
            spending(Budget(LIMITS, control=control)),
            Path(artifact.path).open("rb") as source,
        ):
            if intent["upload_id"] is None:
                etag = hashlib.file_digest(source, _md5).hexdigest()
                return {**intent, "path": artifact.path, "etag": f'"{etag}"'}
            parts = list(self._uploaded(intent, source, on_bytes, control))
        return {**intent, "parts": [tag for tag, _ in parts], "etag": _joined(parts)}

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """Complete the upload where the key is free, and read back what lies there."""
        check_fence()
        with writing(intent["key"]):
            try:
                self._complete(intent)
            except ClientError as error:
                self._settle(intent, error)
            return self._read_back(intent)

    def abort(self, intent: Intent) -> None:
        """Abort the upload, if there is one still."""
        if intent["upload_id"] is None:
            return
        with writing(intent["key"]), ignoring({"NoSuchUpload", "404"}):
            self._client.abort_multipart_upload(
                Bucket=self._config.bucket,
                Key=self._key(intent["key"]),
                UploadId=intent["upload_id"],
            )

    def find(self, intent: Intent) -> Published | None:
        """The object under the intent's key, if it carries the intent's job."""
        try:
            with reading(intent["key"]):
                head = self._head(intent["key"])
                return self._published(intent, head) if self._ours(intent, head) else None
        except (SourceNotFound, AccessDenied):
            return None

    def delete(self, key: str) -> None:
        """Remove an object."""
        with writing(key), ignoring(ABSENT):
            self._client.delete_object(Bucket=self._config.bucket, Key=self._key(key))

    def janitor(self, live: Iterable[Intent], older_than_ms: int) -> int:
        """Abort old uploads below the prefix; in a bucket shared without one, none is touched."""
        if not self._exclusive:
            return 0
        named = {intent.get("upload_id") for intent in live}
        with writing(self._place()):
            stale = [
                (found["Key"], found["UploadId"])
                for found in self._uploads()
                if found["UploadId"] not in named
                and found["Initiated"].timestamp() * 1000 < older_than_ms
            ]
            for key, upload_id in stale:
                with ignoring({"NoSuchUpload", "404"}):
                    self._client.abort_multipart_upload(
                        Bucket=self._config.bucket, Key=key, UploadId=upload_id
                    )
        return len(stale)

    @property
    def _client(self) -> S3Client:
        if self._made is None:
            # boto3 takes longer to import than a short clip to cut, and most jobs touch no bucket.
            from connectors._s3_client import new_client

            self._made = new_client(
                self._judge,
                LIMITS,
                endpoint=self._config.endpoint,
                region=self._config.region,
                keys=_keys(self._auth),
                signed=self._signs,
            )
        return self._made

    @property
    def _sts(self) -> STSClient:
        if self._made_sts is None:
            from connectors._s3_client import new_sts_client

            self._made_sts = new_sts_client(
                self._judge,
                LIMITS,
                endpoint=self._config.sts_endpoint or self._config.endpoint,
                region=self._config.region,
                keys=_keys(self._auth),
            )
        return self._made_sts

    @property
    def _signs(self) -> bool:
        return self._own_chain or self._auth.access_key_id is not None

    def _read_object(self, key: str, offset: int, length: int, **conditions: Any) -> bytes:
        with reading(key.rpartition("/")[2]), spending(Budget(LIMITS, max_bytes=length)):
            answer = self._client.get_object(
                Bucket=self._config.bucket,
                Key=key,
                Range=f"bytes={offset}-{offset + length - 1}",
                **conditions,
            )
            with closing(answer["Body"]) as body:
                return body.read(length)

    def _below(self, path: str) -> str:
        parts = [part for part in (self._config.prefix, path) if part]
        return "/".join(parts) + "/" if parts else ""

    def _key(self, name: str) -> str:
        return "/".join((*filter(None, [self._config.prefix]), *key_parts(name)))

    def _place(self) -> str:
        return f"s3://{'/'.join(filter(None, [self._config.bucket, self._config.prefix]))}"

    def _listed_page(self, query: Query) -> Page:
        more = {"ContinuationToken": query.cursor} if query.cursor else {}
        found = self._client.list_objects_v2(
            Bucket=self._config.bucket,
            Prefix=self._below(query.path),
            Delimiter="/",
            MaxKeys=query.limit,
            **more,  # type: ignore[arg-type]
        )
        return Page(
            items=tuple(self._entries(found)), next_cursor=found.get("NextContinuationToken")
        )

    def _listed_all(self, query: Query) -> list[Entry]:
        folders = {} if query.text else {"Delimiter": "/"}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._config.bucket,
            Prefix=self._below(query.path),
            **folders,  # type: ignore[arg-type]
        )
        entries: list[Entry] = []
        for page in pages:
            entries.extend(self._entries(page))
            if len(entries) > MAX_LISTED:
                raise FieldInvalid(
                    f"more than {MAX_LISTED} objects: name a path further down", code="too_many"
                )
        return entries

    def _entries(self, page: Any) -> Iterator[Entry]:
        cut = len(self._below(""))
        for folder in page.get("CommonPrefixes", ()):
            file_id = folder["Prefix"][cut:].rstrip("/")
            yield Entry(file_id=file_id, name=file_id.rpartition("/")[2], kind="folder")
        for found in page.get("Contents", ()):
            name = found["Key"].rpartition("/")[2]
            if name and not name.startswith(TEMP_PREFIX):
                yield Entry(
                    file_id=found["Key"][cut:],
                    name=name,
                    size=found["Size"],
                    modified_ms=int(found["LastModified"].timestamp() * 1000),
                    content_type=mimetypes.guess_type(name)[0],
                    etag=found.get("ETag"),
                )

    def _described(self, intent: Intent) -> Any:
        label = {JOB_FIELD: intent["job_id"], HASH_FIELD: intent["sha256"]}
        return {**self._labelled(intent), "Metadata": label}

    def _uploaded(
        self,
        intent: Intent,
        source: BinaryIO,
        on_bytes: OnBytes | None,
        control: Control | None,
    ) -> Iterator[tuple[str, bytes]]:
        """Each part as it is accepted: the tag it was given, and the MD5 of what was sent."""
        part_bytes = max(PART_BYTES, -(-intent["size"] // MAX_PARTS))
        for number, data in enumerate(iter(lambda: source.read(part_bytes), b""), start=1):
            if control:
                control()
            answer = self._client.upload_part(
                Bucket=self._config.bucket,
                Key=self._key(intent["key"]),
                UploadId=intent["upload_id"],
                PartNumber=number,
                Body=data,
            )
            if on_bytes:
                on_bytes(len(data))
            yield answer["ETag"], _md5(data).digest()

    def _complete(self, intent: Intent) -> None:
        condition: Any = {} if intent["unique"] else {"IfNoneMatch": "*"}
        if intent["upload_id"] is None:
            with Path(intent["path"]).open("rb") as source:
                self._client.put_object(**self._described(intent), Body=source, **condition)
            return
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(intent["parts"], start=1)]
        self._client.complete_multipart_upload(
            Bucket=self._config.bucket,
            Key=self._key(intent["key"]),
            UploadId=intent["upload_id"],
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
            **condition,
        )

    def _settle(self, intent: Intent, error: ClientError) -> None:
        """Return where the job's output is there already; raise what the refusal meant else."""
        code = code_of(error)
        if code not in TAKEN | {"NoSuchUpload"}:
            raise error
        if self.find(intent):
            return
        if code in TAKEN:
            raise DestinationRejected(
                f"{intent['key']} exists already and is not this job's",
                code="destination_conflict",
            )
        raise DestinationUnavailable(f"the upload of {intent['key']} is gone")

    def _read_back(self, intent: Intent) -> Published:
        head = self._head(intent["key"])
        if not self._ours(intent, head):
            raise DestinationRejected(
                f"{intent['key']} was replaced by somebody else", code="destination_conflict"
            )
        # Another attempt of this job may have been first: then its own hash is what must hold.
        wanted = head["Metadata"].get(HASH_FIELD, intent["sha256"])
        if head.get("ETag") != intent["etag"] and self._hash(intent["key"]) != wanted:
            raise DestinationUnavailable(f"{intent['key']} did not read back as it was written")
        return self._published(intent, head)

    def _ours(self, intent: Intent, head: Any) -> bool:
        """Whether an object is the intent's job's; where metadata is lost, its bytes must tell."""
        job_id = head["Metadata"].get(JOB_FIELD)
        if job_id is not None:
            return bool(job_id == intent["job_id"])
        return bool(
            head["ContentLength"] == intent["size"]
            and self._hash(intent["key"]) == intent["sha256"]
        )

    def _head(self, key: str) -> Any:
        return self._client.head_object(Bucket=self._config.bucket, Key=self._key(key))

    def _hash(self, key: str) -> str:
        digest = hashlib.sha256()
        answer = self._client.get_object(Bucket=self._config.bucket, Key=self._key(key))
        with closing(answer["Body"]) as body:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def _published(self, intent: Intent, head: Any) -> Published:
        made_unique = (
            "the destination cannot refuse to overwrite, so the key carries the job's id",
        )
        return Published(
            destination=self._place(),
            key=intent["key"],
            url=self._plain_url(intent["key"]),
            size=head["ContentLength"],
            sha256=head["Metadata"].get(HASH_FIELD, intent["sha256"]),
            etag=head.get("ETag"),
            notes=made_unique if intent["unique"] else (),
        )

    def _plain_url(self, key: str) -> str:
        bucket, path = self._config.bucket, quote(self._key(key))
        if self._config.endpoint:
            return f"{self._config.endpoint}/{bucket}/{path}"
        region = f".{self._config.region}" if self._config.region else ""
        return f"https://{bucket}.s3{region}.amazonaws.com/{path}"

    def _uploads(self) -> Iterator[Any]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._config.bucket,
            Prefix=self._below(""),
            PaginationConfig={"MaxItems": MAX_LISTED},
        )
        # Some servers answer that there is no such upload where there is none at all.
        with ignoring({"NoSuchUpload"}):
            for page in pages:
                yield from page.get("Uploads", ())

    def _keeps_conditions(self) -> bool:
        """Whether the destination refuses to overwrite when asked to; tried once a process."""
        if self._config.endpoint is None:
            return True
        place = (self._config.endpoint, self._config.bucket)
        if place not in _PROBED:
            _PROBED[place] = self._probed()
        return _PROBED[place]

    def _probed(self) -> bool:
        key = self._below("") + f"{TEMP_PREFIX}probe-{secrets.token_hex(8)}"
        place: Any = {"Bucket": self._config.bucket, "Key": key}
        try:
            for _ in range(2):
                self._client.put_object(**place, Body=b"probe", IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) in TAKEN:
                return True
            if code_of(error) not in _NO_CONDITIONS:
                raise
        finally:
            with suppress(ClientError, BotoCoreError):
                self._client.delete_object(**place)
        return False


class BucketReader:
    """One object, read as streams over a connection of the thread that asks."""

    def __init__(
        self, client: S3Client, place: dict[str, str], name: str, control: Control
    ) -> None:
        self._client, self._place, self._name, self._control = client, place, name, control

    @contextmanager
    def open(self, offset: int, length: int | None) -> Iterator[BucketStream]:
        """The bytes; `SourceChanged` where the object is another one now."""
        asked: Any = dict(self._place)
        if length is not None:
            asked["Range"] = f"bytes={offset}-{offset + length - 1}"
        with reading(self._name), spending(Budget(LONG, control=self._control)):
            try:
                answer = self._client.get_object(**asked)
            except ClientError as error:
                if code_of(error) in TAKEN:
                    raise SourceChanged(f"{self._name} is not the object it was") from None
                raise
        with closing(answer["Body"]) as body:
            yield BucketStream(answer, body, self._name)

    def close(self) -> None:
        """Nothing: connections belong to the client."""


class BucketStream(RawBody):
    """An object's bytes as they come."""

    def __init__(self, answer: Any, body: Any, name: str) -> None:
        super().__init__(body._raw_stream, name)
        span = answer.get("ContentRange", "")
        total = span.rpartition("/")[2]
        self.partial = bool(span)
        self.validators = Validators(
            size=int(total) if total.isdigit() else answer["ContentLength"],
            etag=answer.get("ETag"),
            modified_ms=int(answer["LastModified"].timestamp() * 1000),
        )


_PROBED: dict[tuple[str, str], bool] = {}


def _keys(auth: Auth) -> dict[str, str | None]:
    return {
        "aws_access_key_id": auth.access_key_id,
        "aws_secret_access_key": _shown(auth.secret_access_key),
        "aws_session_token": _shown(auth.session_token),
    }


def _shown(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _md5(data: bytes = b"") -> Any:
    # What S3 calls an ETag: it tells a transfer that went wrong, not an attacker.
    return hashlib.md5(data, usedforsecurity=False)


def _joined(parts: list[tuple[str, bytes]]) -> str:
    """The ETag S3 gives an object made of these parts."""
    whole = _md5(b"".join(digest for _, digest in parts)).hexdigest()
    return f'"{whole}-{len(parts)}"'


def _unique(key: str, job_id: str) -> str:
    path = PurePosixPath(key)
    return str(path.with_name(f"{path.stem}.{job_id}{path.suffix}"))
