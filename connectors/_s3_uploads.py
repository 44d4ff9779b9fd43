"""Uploads into a bucket, for the `s3` connector: presigned parts, temporary keys, or a signed form;
what is let in is joined, or copied from a hidden key, by us alone."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from connectors._s3_errors import ABSENT, TAKEN, code_of, ignoring, reading, writing
from connectors.base import TEMP_PREFIX, CheckFence, Intent, key_parts
from schemas.connectors import Published
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    DestinationRejected,
    InvalidCommand,
    SourceNotFound,
    TooLarge,
)
from schemas.uploads import (
    AnyGrant,
    MultipartGrant,
    PostGrant,
    ReceivedPart,
    StsGrant,
    UploadMode,
    UploadPart,
    UploadWanted,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sts.client import STSClient

    from connectors.s3 import Config

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
MAX_PARTS = 9_000
URLS_AT_ONCE = 100
POST_BYTES = 64 * MIB
COPY_BYTES = 1024 * MIB
MAX_OBJECT_BYTES = 5 * 1024 * 1024 * MIB
# The shortest and the longest that temporary keys may live.
STS_SECONDS = (900, 3600)
JOB_FIELD = "cuttingroom-job"
_GONE = frozenset({"NoSuchUpload", "404"})
_WILD = re.compile(r"[*?$]")


class BucketUploads(ABC):
    """What makes a bucket take uploads."""

    _config: Config
    _clock: Callable[[], int]

    @property
    @abstractmethod
    def _client(self) -> S3Client:
        """The bucket's client."""

    @property
    @abstractmethod
    def _sts(self) -> STSClient:
        """A client that makes temporary keys."""

    @property
    @abstractmethod
    def _signs(self) -> bool:
        """Whether there are keys to sign with."""

    @abstractmethod
    def _key(self, name: str) -> str:
        """The key of a name."""

    @abstractmethod
    def _below(self, path: str) -> str:
        """What every key of a folder begins with."""

    @abstractmethod
    def _read_object(self, key: str, offset: int, length: int, **conditions: Any) -> bytes:
        """These bytes of an object."""

    @abstractmethod
    def _keeps_conditions(self) -> bool:
        """Whether the bucket refuses to overwrite when asked to."""

    @abstractmethod
    def _place(self) -> str:
        """What the bucket is called in an answer."""

    @abstractmethod
    def _plain_url(self, key: str) -> str:
        """An object's address, which opens nothing."""

    def upload_modes(self, size: int) -> tuple[UploadMode, ...]:
        """In parts; with temporary keys where configured; small ones by a form."""
        if size > MAX_OBJECT_BYTES:
            return ()
        modes: list[UploadMode] = ["s3-multipart"]
        if self._config.sts is not None:
            modes.append("s3-sts")
        if size <= POST_BYTES:
            modes.append("s3-post")
        return tuple(modes)

    def open_upload(self, wanted: UploadWanted, mode: UploadMode) -> Intent:
        """Choose the key; begin the upload whose parts will be signed for."""
        if mode not in self.upload_modes(wanted.size):
            raise InvalidCommand(f"this bucket takes no uploads by {mode}")
        if not self._signs:
            raise AccessDenied("uploads need keys to sign with, and the connector has none")
        with writing(wanted.key):
            unique = (
                not self._keeps_conditions() or self._head_of(self._key(wanted.key)) is not None
            )
            name = _unique(wanted.key, wanted.upload_id) if unique else wanted.key
            intent: Intent = {
                "type": "s3",
                "mode": mode,
                "key": name,
                "unique": unique,
                "job_id": wanted.upload_id,
                "size": wanted.size,
                "content_type": wanted.content_type,
                "upload_id": None,
            }
            if mode == "s3-multipart":
                made = self._client.create_multipart_upload(**self._labelled(intent))
                intent["upload_id"] = made["UploadId"]
        return intent

    def grant(self, intent: Intent, ttl_s: int) -> AnyGrant:
        """Sign anew, for what has not come yet."""
        with reading(intent["key"]):
            match intent["mode"]:
                case "s3-multipart":
                    return self._parts_grant(intent, ttl_s)
                case "s3-sts":
                    return self._sts_grant(intent, ttl_s)
            return self._post_grant(intent, ttl_s)

    def arrived(self, intent: Intent) -> int:
        """The bytes of the parts there are, or of the object."""
        with reading(intent["key"]):
            if intent["upload_id"] is None:
                found = self._head_of(self._sent(intent)) or self._final(intent)
                return 0 if found is None else int(found["ContentLength"])
            try:
                return sum(size for size, _ in self._listed(intent).values())
            except SourceNotFound:
                if self._final(intent) is None:
                    raise
                return int(intent["size"])

    def settle(self, intent: Intent) -> Intent:
        """Join the parts; of a hidden object, keep a copy that its client cannot reach."""
        with writing(intent["key"]):
            if intent["upload_id"] is None:
                self._keep(intent)
                return intent
            try:
                self._join(intent, self._listed(intent))
            except SourceNotFound:
                if self._final(intent) is None:
                    raise
        return intent

    def read_upload(self, intent: Intent, offset: int, length: int) -> bytes:
        """These bytes of what was joined or kept."""
        if intent["upload_id"] is None:
            with suppress(SourceNotFound):
                return self._read_object(self._kept(intent), offset, length)
        return self._read_object(self._key(intent["key"]), offset, length)

    def admit(self, intent: Intent, sha256: str, check_fence: CheckFence) -> Published:
        """A joined object lies there already; a hidden one is copied, where the key is free."""
        with writing(intent["key"]):
            check_fence()
            head = self._final(intent)
            if head is None and intent["upload_id"] is None:
                condition = {} if intent["unique"] else {"IfNoneMatch": "*"}
                self._copy(intent, self._kept(intent), self._labelled(intent), condition)
                head = self._final(intent)
            if head is None:
                raise DestinationRejected(
                    f"{intent['key']} was taken away or replaced by somebody else",
                    code="destination_conflict",
                )
            if intent["upload_id"] is None:
                self._delete(self._kept(intent))
                self._delete(self._sent(intent))
        return Published(
            destination=self._place(),
            key=intent["key"],
            url=self._plain_url(intent["key"]),
            size=head["ContentLength"],
            sha256=sha256,
            etag=head.get("ETag"),
            notes=_NOTES if intent["unique"] else (),
        )

    def abandon(self, intent: Intent, *, admitted: bool = False) -> None:
        """Abort the upload, and remove what it had become."""
        with writing(intent["key"]):
            if intent["upload_id"] is not None:
                self._abort(self._key(intent["key"]), intent["upload_id"])
            else:
                self._abandon_sent(self._sent(intent))
                self._delete(self._kept(intent))
            if not admitted and self._final(intent) is not None:
                self._delete(self._key(intent["key"]))

    def _parts_grant(self, intent: Intent, ttl_s: int) -> MultipartGrant:
        sizes, held = part_sizes(intent["size"]), self._listed(intent)
        missing = [n for n, size in sizes.items() if held.get(n, (-1, ""))[0] != size]
        return MultipartGrant(
            endpoint=self._client.meta.endpoint_url,
            bucket=self._config.bucket,
            key=self._key(intent["key"]),
            region=self._client.meta.region_name,
            multipart_upload_id=intent["upload_id"],
            part_size=sizes[1],
            part_count=len(sizes),
            parts=tuple(
                UploadPart(
                    part_number=number,
                    offset=(number - 1) * sizes[1],
                    size=sizes[number],
                    url=self._part_url(intent, number, sizes[number], ttl_s),
                )
                for number in missing[:URLS_AT_ONCE]
            ),
            received=tuple(
                ReceivedPart(part_number=n, size=size)
                for n, size in sizes.items()
                if n in held and n not in missing
            ),
        )

    def _part_url(self, intent: Intent, number: int, size: int, ttl_s: int) -> str:
        # The signed length is a bound: no other number of bytes passes with this URL.
        return self._client.generate_presigned_url(
            "upload_part",
            Params={
                "Bucket": self._config.bucket,
                "Key": self._key(intent["key"]),
                "UploadId": intent["upload_id"],
                "PartNumber": number,
                "ContentLength": size,
            },
            ExpiresIn=ttl_s,
        )

    def _post_grant(self, intent: Intent, ttl_s: int) -> PostGrant:
        fixed = {
            "Content-Type": intent["content_type"],
            **{f"x-amz-{name}": value for name, value in self._sealing("server-side-").items()},
        }
        key = self._sent(intent)
        form = self._client.generate_presigned_post(
            self._config.bucket,
            key,
            Fields=dict(fixed),
            Conditions=[
                *({name: value} for name, value in fixed.items()),
                ["content-length-range", intent["size"], intent["size"]],
            ],
            ExpiresIn=ttl_s,
        )
        return PostGrant(
            endpoint=self._client.meta.endpoint_url,
            bucket=self._config.bucket,
            key=key,
            region=self._client.meta.region_name,
            url=form["url"],
            fields=form["fields"],
        )

    def _sts_grant(self, intent: Intent, ttl_s: int) -> StsGrant:
        key, (least_s, most_s) = self._sent(intent), STS_SECONDS
        lasting_s = min(max(ttl_s, least_s), most_s)
        asked: Any = {
            "Policy": write_only_policy(
                self._config.bucket, key, self._client.meta.region_name, self._config.kms_key_id
            ),
            "DurationSeconds": lasting_s,
        }
        if self._config.sts == "federation-token":
            answer: Any = self._sts.get_federation_token(Name=intent["job_id"][:32], **asked)
        else:
            answer = self._sts.assume_role(
                RoleArn=self._config.role_arn or "", RoleSessionName=intent["job_id"], **asked
            )
        made = answer["Credentials"]
        return StsGrant(
            endpoint=self._client.meta.endpoint_url,
            bucket=self._config.bucket,
            key=key,
            region=self._client.meta.region_name,
            access_key_id=made["AccessKeyId"],
            secret_access_key=made["SecretAccessKey"],
            session_token=made["SessionToken"],
            expires_ms=int(made["Expiration"].timestamp() * 1000),
        )

    def _listed(self, intent: Intent) -> dict[int, tuple[int, str]]:
        """The parts there are: their sizes and tags by number."""
        try:
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._config.bucket,
                Key=self._key(intent["key"]),
                UploadId=intent["upload_id"],
            )
            parts = [part for page in pages for part in page.get("Parts", ())]
        except ClientError as error:
            if code_of(error) in _GONE:
                raise SourceNotFound(f"the upload of {intent['key']} is gone") from None
            raise
        return {part["PartNumber"]: (part["Size"], part["ETag"]) for part in parts}

    def _join(self, intent: Intent, held: dict[int, tuple[int, str]]) -> None:
        wanted = part_sizes(intent["size"])
        came = {number: size for number, (size, _) in held.items()}
        if any(came.get(number) != size for number, size in wanted.items()):
            raise CorruptMedia(
                f"{sum(came.get(n) == s for n, s in wanted.items())} of {len(wanted)} parts came",
                code="upload_incomplete",
            )
        condition: Any = {} if intent["unique"] else {"IfNoneMatch": "*"}
        try:
            self._client.complete_multipart_upload(
                Bucket=self._config.bucket,
                Key=self._key(intent["key"]),
                UploadId=intent["upload_id"],
                MultipartUpload={"Parts": [{"PartNumber": n, "ETag": held[n][1]} for n in wanted]},
                **condition,
            )
        except ClientError as error:
            if code_of(error) not in TAKEN | _GONE:
                raise
            # Another attempt of the same check may have been first.
            if self._final(intent) is None:
                raise _conflict(intent["key"]) from None

    def _keep(self, intent: Intent) -> None:
        """Copy what was sent to where only we can write, unless that was done before."""
        if self._head_of(self._kept(intent)) is None and self._final(intent) is None:
            self._hold_against(intent, self._head_of(self._sent(intent)))
            place = {"Bucket": self._config.bucket, "Key": self._kept(intent), **self._sse()}
            self._copy(intent, self._sent(intent), place, {})
            # It may have been replaced while it was copied.
            self._hold_against(intent, self._head_of(self._kept(intent)))

    def _hold_against(self, intent: Intent, head: Any) -> None:
        size = 0 if head is None else int(head["ContentLength"])
        if size < intent["size"]:
            raise CorruptMedia(f"{size} bytes of {intent['size']} came", code="upload_incomplete")
        if size > intent["size"]:
            raise TooLarge(f"{size} bytes came, more than the {intent['size']} agreed")

    def _copy(self, intent: Intent, source: str, place: Any, condition: Any) -> None:
        """Copy an object within the store, visible once it is whole."""
        made = self._client.create_multipart_upload(**place)
        target: Any = {
            "Bucket": self._config.bucket,
            "Key": place["Key"],
            "UploadId": made["UploadId"],
        }
        try:
            parts: Any = [
                {"PartNumber": n, "ETag": self._copied(intent["size"], source, target, n)}
                for n in range(1, -(-intent["size"] // COPY_BYTES) + 1)
            ]
            self._client.complete_multipart_upload(
                **target, MultipartUpload={"Parts": parts}, **condition
            )
        except ClientError as error:
            self._abort(target["Key"], target["UploadId"])
            if code_of(error) not in TAKEN:
                raise
            raise _conflict(intent["key"]) from None

    def _copied(self, size: int, source: str, target: Any, number: int) -> str:
        start = (number - 1) * COPY_BYTES
        end = min(start + COPY_BYTES, size) - 1
        # A whole small object may not be asked for as a range.
        span: Any = {} if size <= COPY_BYTES else {"CopySourceRange": f"bytes={start}-{end}"}
        answer = self._client.upload_part_copy(
            **target,
            PartNumber=number,
            CopySource={"Bucket": self._config.bucket, "Key": source},
            **span,
        )
        return answer["CopyPartResult"]["ETag"]

    def _final(self, intent: Intent) -> Any:
        """What lies under the intent's key, where it is this upload's."""
        head = self._head_of(self._key(intent["key"]))
        if head is None or head["ContentLength"] != intent["size"]:
            return None
        label = head["Metadata"].get(JOB_FIELD)
        # A key made unique names its upload itself, also where metadata are lost.
        ours = label == intent["job_id"] or (label is None and intent["unique"])
        return head if ours else None

    def _head_of(self, key: str) -> Any:
        try:
            return self._client.head_object(Bucket=self._config.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in ABSENT:
                return None
            raise

    def _sent(self, intent: Intent) -> str:
        """The key that a client may write to again and again, which no reader is shown."""
        return self._hidden(intent, "part")

    def _kept(self, intent: Intent) -> str:
        """The key of what is judged, which no reader is shown and no client can write to."""
        return self._hidden(intent, "kept")

    def _hidden(self, intent: Intent, ending: str) -> str:
        *parents, _ = key_parts(intent["key"])
        return f"{self._below('/'.join(parents))}{TEMP_PREFIX}{intent['job_id']}.{ending}"

    def _labelled(self, intent: Intent) -> Any:
        return {
            "Bucket": self._config.bucket,
            "Key": self._key(intent["key"]),
            "ContentType": intent["content_type"],
            "Metadata": {JOB_FIELD: intent["job_id"]},
            **self._sse(),
        }

    def _sse(self) -> dict[str, str]:
        sse = {"ServerSideEncryption": self._config.sse, "SSEKMSKeyId": self._config.kms_key_id}
        return {name: value for name, value in sse.items() if value}

    def _sealing(self, prefix: str) -> dict[str, str]:
        """The same as names of form fields."""
        names = {
            "ServerSideEncryption": f"{prefix}encryption",
            "SSEKMSKeyId": f"{prefix}encryption-aws-kms-key-id",
        }
        return {names[name]: value for name, value in self._sse().items()}

    def _abandon_sent(self, key: str) -> None:
        with ignoring(_GONE):
            listed = self._client.list_multipart_uploads(Bucket=self._config.bucket, Prefix=key)
            for found in listed.get("Uploads", ()):
                self._abort(found["Key"], found["UploadId"])
        self._delete(key)

    def _abort(self, key: str, upload_id: str) -> None:
        with ignoring(_GONE):
            self._client.abort_multipart_upload(
                Bucket=self._config.bucket, Key=key, UploadId=upload_id
            )

    def _delete(self, key: str) -> None:
        with ignoring(ABSENT):
            self._client.delete_object(Bucket=self._config.bucket, Key=key)


_NOTES = ("the name was taken, or could not be kept free, so the key carries the upload's id",)


def part_sizes(size: int) -> dict[int, int]:
    """The sizes of a file's parts by number: all alike but the last.

    >>> part_sizes(20 * MIB) == {1: 8 * MIB, 2: 8 * MIB, 3: 4 * MIB}
    True
    """
    part = max(PART_BYTES, -(-size // (MAX_PARTS * MIB)) * MIB)
    count = max(1, -(-size // part))
    return {n: part if n < count else size - part * (count - 1) for n in range(1, count + 1)}


def write_only_policy(bucket: str, key: str, region: str, kms_key_id: str | None = None) -> str:
    """A policy that allows to put one key, and nothing else."""
    partition = {"cn-": "aws-cn", "us-gov": "aws-us-gov"}
    named = next((p for start, p in partition.items() if region.startswith(start)), "aws")
    # What a policy would take for a wild card or a variable stands for itself.
    literal = _WILD.sub(r"${\g<0>}", key)
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": f"arn:{named}:s3:::{bucket}/{literal}",
        }
    ]
    if kms_key_id is not None:
        allowed = ["kms:GenerateDataKey", "kms:Decrypt"]
        statements.append({"Effect": "Allow", "Action": allowed, "Resource": kms_key_id})
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _conflict(key: str) -> DestinationRejected:
    return DestinationRejected(
        f"{key} exists already and is not this upload's", code="destination_conflict"
    )


def _unique(key: str, upload_id: str) -> str:
    path = PurePosixPath(key)
    return str(path.with_name(f"{path.stem}.{upload_id}{path.suffix}"))
