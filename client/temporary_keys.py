"""Uploads with temporary keys of an S3; the only part of the client that wants boto3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from client.errors import Unreachable
from client.grants import StsCredentials

_CONFIG = Config(
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
)


def put(credentials: StsCredentials, path: Path, on_bytes: Callable[[int], None]) -> None:
    """Send a file to the one key these may write."""
    client = boto3.client(
        "s3",
        endpoint_url=credentials.endpoint,
        region_name=credentials.region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=_CONFIG,
    )
    try:
        client.upload_file(str(path), credentials.bucket or "", credentials.key, Callback=on_bytes)
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise Unreachable(f"the upload broke off: {type(error).__name__}") from None
    finally:
        client.close()
