"""The same file is localized from every kind of source, and found again there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.connectors import ConnectorRef
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.connectors.peer import Peer
from tests.connectors.test_ftp import _ftp_server
from tests.connectors.test_sftp import _ssh_server
from tests.localizing import TENANT, Bench, a_bench, a_movie

SIZE = 6_000_000
NAME = "clips/movie.mp4"


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_movie(tmp_path_factory.mktemp("movie"), SIZE)


@contextmanager
def a_folder(folder: Path, movie: bytes) -> Iterator[tuple[str, Peer]]:
    root = folder / "files"
    (root / "clips").mkdir(parents=True)
    (root / NAME).write_bytes(movie)
    yield "local", Peer(config={"folder": str(root)})


@contextmanager
def a_bucket(folder: Path, movie: bytes) -> Iterator[tuple[str, Peer]]:
    with moto_server() as endpoint:
        client_for(endpoint).put_object(Bucket=BUCKET, Key=NAME, Body=movie)
        auth = {
            "accessKeyId": KEYS["access_key_id"],
            "secretAccessKey": KEYS["secret_access_key"],
        }
        yield "s3", Peer(config={"bucket": BUCKET, "endpoint": endpoint}, auth=auth)


@contextmanager
def an_ssh_server(folder: Path, movie: bytes) -> Iterator[tuple[str, Peer]]:
    with _ssh_server(folder, by_key=True) as peer:
        (folder / "served" / NAME).write_bytes(movie)
        yield "sftp", peer


@contextmanager
def an_ftp_server(folder: Path, movie: bytes) -> Iterator[tuple[str, Peer]]:
    with _ftp_server(folder) as peer:
        (folder / "served" / NAME).write_bytes(movie)
        yield "ftp", peer


Source = Callable[[Path, bytes], AbstractContextManager[tuple[str, Peer]]]


def ref_of(bench: Bench, kind: str, peer: Peer) -> ConnectorRef:
    """The connector as a command carries it, its secrets sealed."""
    auth = bench.world.registry.get(kind).parse_auth(peer.auth)
    sealed = bench.world.sealer.seal_auth(TENANT, "con_1", auth)
    values: dict[str, Any] = {"id": "con_1", "tenant_id": TENANT, "type": kind}
    return ConnectorRef(**values, config=peer.config, sealed_auth=sealed)


@pytest.mark.parametrize("source", [a_folder, a_bucket, an_ssh_server, an_ftp_server])
def test_a_file_is_localized_from_every_kind_of_source(
    source: Source, tmp_path: Path, movie: bytes
) -> None:
    with source(tmp_path, movie) as (kind, peer), a_bench(tmp_path / "bench") as bench:
        settings = bench.world.settings.model_copy(update={"local_folders": (str(tmp_path),)})
        env = replace(bench.world.env, settings=settings)
        bench.runtime.world = bench.world = replace(bench.world, env=env)
        ref = ref_of(bench, kind, peer)

        first = bench.run(ref, NAME)
        second = bench.run(ref, NAME)

        assert first.state == "succeeded", first.error
        assert (first.result or {})["sha256"] == hashlib.sha256(movie).hexdigest()
        assert (bench.media / (first.result or {})["key"]).read_bytes() == movie
        assert (second.result or {})["reused"] is True
        missing = bench.run(ref, "clips/none.mp4")
        assert missing.error is not None
        assert missing.error.code == "source_not_found"
