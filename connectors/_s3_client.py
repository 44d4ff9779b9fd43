"""boto3's clients, their connections under our judge; slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
from botocore import UNSIGNED
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSRequest,
)
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from connectors.egress import Judge, Limits, held_to, judged_pools, ours_within

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sts.client import STSClient

# A session may not make two clients at once.
_MAKING = Lock()
_RETRIES: Any = {"mode": "standard", "total_max_attempts": 3}
_BASES: dict[str, tuple[type[Any], type[Any]]] = {
    "http": (AWSHTTPConnectionPool, AWSHTTPConnection),
    "https": (AWSHTTPSConnectionPool, AWSHTTPSConnection),
}


class _JudgedSession(URLLib3Session):
    """boto3's HTTP client with the judge in its connections and without any proxy."""

    def __init__(self, judge: Judge, limits: Limits) -> None:
        super().__init__(timeout=60, max_pool_connections=4)
        self._limits = limits
        manager: Any = self._manager  # type: ignore[attr-defined]
        manager.pool_classes_by_scheme = judged_pools(judge, _BASES)

    def send(self, request: Any) -> Any:
        # Waiting for "100 Continue" would read from the socket past the meter.
        request.headers.pop("Expect", None)
        try:
            with held_to(self._limits):
                return super().send(request)
        except BotoCoreError as error:
            # Ours is wrapped as a failure of the client, which would be tried again.
            raise ours_within(error) or error from None


def new_client(
    judge: Judge,
    limits: Limits,
    *,
    endpoint: str | None,
    region: str | None,
    keys: Mapping[str, Any],
    signed: bool,
) -> S3Client:
    """A client of one endpoint, Amazon's own where none is named."""
    custom: Any = {"addressing_style": "path"} if endpoint else {}
    client: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or "us-east-1",
        **keys,
        config=botocore.config.Config(
            signature_version="s3v4" if signed else UNSIGNED,
            s3=custom,
            proxies={},
            retries=_RETRIES,
            # Many endpoints do not know Amazon's newer checksums; we compare ETags and hashes.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client._endpoint.http_session = _JudgedSession(judge, limits)  # type: ignore[attr-defined]
    return client


def new_sts_client(
    judge: Judge,
    limits: Limits,
    *,
    endpoint: str | None,
    region: str | None,
    keys: Mapping[str, Any],
) -> STSClient:
    """A client of the service that makes temporary keys."""
    client: STSClient = new_service_client(
        "sts", judge, limits, endpoint=endpoint, region=region, keys=keys
    )
    return client


def new_service_client(
    service: str,
    judge: Judge,
    limits: Limits,
    *,
    endpoint: str | None,
    region: str | None,
    keys: Mapping[str, Any],
) -> Any:
    """A client of any of Amazon's services, as boto3 makes it from the service's model."""
    with _MAKING:
        client = _session().client(
            service,
            endpoint_url=endpoint,
            region_name=region or "us-east-1",
            **keys,
            config=botocore.config.Config(proxies={}, retries=_RETRIES),
        )
    client._endpoint.http_session = _JudgedSession(judge, limits)
    return client


def signed_headers(service: str, region: str, keys: Mapping[str, Any], url: str) -> dict[str, str]:
    """What makes a GET of an address one that the holder of the keys has signed (SigV4)."""
    held = Credentials(
        keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"]
    )
    request = AWSRequest("GET", url)
    made: Any = S3SigV4Auth if service == "s3" else SigV4Auth
    made(held, service, region).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}


@cache
def _session() -> Any:
    """One session for all clients: it reads a service's model from disk once, not half a second
    for each client. Whose keys a client has is said where it is made."""
    return boto3.session.Session()
