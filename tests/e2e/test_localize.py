"""Files are localized whole, once, and found again, whatever their source does meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_origin import FileOrigin, file_origin
from tests.localizing import Bench, a_bench, a_movie, an_http_ref

SIZE = 3_000_000


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_movie(tmp_path_factory.mktemp("movie"), SIZE)


@pytest.fixture
def origin(movie: bytes) -> Iterator[FileOrigin]:
    with file_origin(**{"movie.mp4": movie}) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with a_bench(tmp_path) as made:
        yield made


def test_a_file_is_copied_whole_probed_and_recorded(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert job.state == "succeeded", job.error
    result = job.result or {}
    assert (bench.media / result["key"]).read_bytes() == movie
    assert result["sha256"] == hashlib.sha256(movie).hexdigest()
    assert (result["size"], result["reused"]) == (len(movie), False)
    assert [s["kind"] for s in result["media"]["streams"]] == ["video", "audio"]
    assert origin.sent < len(movie) + 100_000
