"""boto3's clients for the `s3` connector, their connections under our judge; slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
from botocore import UNSIGNED
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from connectors.egress import Judge, Limits, held_to, judged_pools, ours_within

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sts.client import STSClient

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
    client: STSClient = boto3.session.Session().client(
        "sts",
        endpoint_url=endpoint,
        region_name=region or "us-east-1",
        **keys,
        config=botocore.config.Config(proxies={}, retries=_RETRIES),
    )
    client._endpoint.http_session = _JudgedSession(judge, limits)  # type: ignore[attr-defined]
    return client
