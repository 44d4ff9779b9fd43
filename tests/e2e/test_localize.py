"""Files are localized whole, once, and found again, whatever their source does meanwhile."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_origin import Fault, FileOrigin, file_origin
from tests.localizing import Bench, a_bench, a_copy, a_movie, an_http_ref
from workers.lifecycle import run_job

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
    assert result["media"]["durationMs"] == result["file"]["durationMs"]
    assert 1000 <= result["file"]["durationMs"] < 1030
    assert result["media"]["streams"][0]["pixelFormat"] == "yuv420p"
    assert result["validators"]["modifiedMs"] == 1_643_957_046_000
    assert origin.sent < len(movie) + 100_000


def test_a_second_job_finds_the_copy_and_moves_no_bytes(bench: Bench, origin: FileOrigin) -> None:
    first = bench.run(an_http_ref(origin.url), "movie.mp4")
    before = origin.sent

    second = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert (second.state, (second.result or {})["reused"]) == ("succeeded", True)
    assert (second.result or {})["key"] == (first.result or {})["key"]
    assert origin.sent - before < 100


def test_forced_it_is_fetched_again_and_the_newest_is_held(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    bench.run(an_http_ref(origin.url), "movie.mp4")
    origin.files["movie.mp4"], origin.etags["movie.mp4"] = movie + b"\0" * 8, '"2"'

    forced = bench.run(an_http_ref(origin.url), "movie.mp4", force=True)

    (doomed,) = bench.index.doomed()
    assert ((forced.result or {})["size"], doomed.record.size) == (len(movie) + 8, len(movie))


def test_a_source_that_changed_since_is_fetched_anew_unasked(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    bench.run(an_http_ref(origin.url), "movie.mp4")
    origin.etags["movie.mp4"] = '"2"'

    again = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert (again.state, (again.result or {})["reused"]) == ("succeeded", False)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", times=3, status=503),
        Fault("status", times=2, status=429, headers={"Retry-After": "0"}),
        Fault("drop", times=3, after=200_000),
        Fault("drop", times=2, after=0),
    ],
    ids=["503", "429", "broken off in the middle", "broken off at once"],
)
def test_faults_that_pass_are_outlasted(
    bench: Bench, origin: FileOrigin, movie: bytes, fault: Fault
) -> None:
    origin.faults.append(fault)

    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert job.state == "succeeded", job.error
    assert (bench.media / (job.result or {})["key"]).read_bytes() == movie
    # What had come before a connection broke is not asked for again.
    assert origin.sent < len(movie) + 600_000


def test_a_server_that_ignores_ranges_is_read_from_the_start_over_one_connection(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    origin.ranges = False

    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert (job.result or {})["sha256"] == hashlib.sha256(movie).hexdigest()
    assert (job.result or {})["connections"] == 1


def test_a_server_that_says_no_length_is_read_to_its_end(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    origin.ranges, origin.sized = False, False

    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert (job.result or {})["sha256"] == hashlib.sha256(movie).hexdigest()


def test_a_server_that_allows_two_connections_gets_two(bench: Bench, origin: FileOrigin) -> None:
    origin.most_connections = 2

    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert job.state == "succeeded", job.error


@pytest.mark.parametrize("proof", ["etag", "last modified", "size"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    bench: Bench, origin: FileOrigin, movie: bytes, proof: str
) -> None:
    if proof == "last modified":
        origin.etags.clear()

    def change(_path: str, at: int) -> None:
        if at > 600_000:
            origin.etags.update({"movie.mp4": '"2"'} if proof == "etag" else {})
            if proof == "last modified":
                origin.last_modified = "Sat, 05 Feb 2022 06:44:06 GMT"
            if proof == "size":
                origin.files["movie.mp4"] = movie[: SIZE // 2]

    origin.on_piece = change

    job = bench.run(an_http_ref(origin.url), "movie.mp4")

    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "source_changed"
    assert not list(bench.media.rglob("*.mp4"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "media_invalid"),
        (b"<!doctype html><html>please log in</html>", "media_invalid"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n/etc/passwd\n", "media_invalid"),
        (b"\0" * 5000, "media_invalid"),
        (b"text that is no media at all " * 50, "media_invalid"),
    ],
    ids=["empty", "a log-in page", "a playlist in disguise", "zeros", "text"],
)
def test_what_is_not_media_is_never_called_localized(
    bench: Bench, origin: FileOrigin, data: bytes, code: str
) -> None:
    origin.files["x.mp4"] = data

    job = bench.run(an_http_ref(origin.url), "x.mp4")

    assert (job.state, job.error and job.error.code) == ("failed", code)
    assert bench.index.total_bytes() == 0
    assert not list(bench.media.rglob("*.*"))


def test_a_truncated_movie_is_never_called_localized(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    origin.files["cut.mp4"] = movie[:3000]

    job = bench.run(an_http_ref(origin.url), "cut.mp4")

    assert (job.state, job.error and job.error.code) == ("failed", "media_invalid")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("none.mp4", 0, "source_not_found"), ("movie.mp4", 403, "access_denied")],
)
def test_what_cannot_be_had_fails_with_its_code(
    bench: Bench, origin: FileOrigin, name: str, status: int, code: str
) -> None:
    origin.refuse_all = status

    job = bench.run(an_http_ref(origin.url), name)

    assert (job.state, job.error and job.error.code) == ("failed", code)


def test_a_file_over_the_limit_is_refused_before_it_is_fetched(
    tmp_path: Path, origin: FileOrigin
) -> None:
    with a_bench(tmp_path, localize_max_bytes=1000) as small:
        job = small.run(an_http_ref(origin.url), "movie.mp4")

    assert (job.state, job.error and job.error.code) == ("failed", "too_large")
    assert origin.sent < 100


def test_an_interrupted_worker_goes_on_from_what_it_has(
    bench: Bench, origin: FileOrigin, movie: bytes
) -> None:
    job_id = bench.submit(an_http_ref(origin.url), "movie.mp4")

    def stop(_path: str, at: int) -> None:
        if at > SIZE // 2:
            bench.runtime.stop.set()
            origin.gate.wait(1)

    origin.on_piece = stop
    run_job("localize", bench.runtime)
    assert bench.ledger.job(job_id).state == "queued"
    origin.on_piece, before = None, origin.sent
    bench.runtime.stop.clear()
    run_job("localize", bench.runtime)

    job = bench.ledger.job(job_id)
    assert job.state == "succeeded", job.error
    result = job.result or {}
    assert result["sha256"] == hashlib.sha256(movie).hexdigest()
    assert result["resumedBytes"] > 500_000
    assert origin.sent - before <= len(movie) - result["resumedBytes"] + 100


def test_cancelling_stops_it_and_leaves_nothing(bench: Bench, origin: FileOrigin) -> None:
    job_id = bench.submit(an_http_ref(origin.url), "movie.mp4")

    def cancel(_path: str, at: int) -> None:
        if at > SIZE // 2:
            bench.ledger.cancel(job_id)
            origin.gate.wait(2)

    origin.on_piece = cancel

    run_job("localize", bench.runtime)

    assert bench.ledger.job(job_id).state == "cancelled"
    assert not list((bench.folder / "work").rglob("source*"))


def test_a_slow_connector_is_asked_slowly(bench: Bench, origin: FileOrigin) -> None:
    ref = an_http_ref(origin.url, maxBytesPerS=2_000_000)
    began = time.monotonic()

    job = bench.run(ref, "movie.mp4")

    assert job.state == "succeeded", job.error
    assert time.monotonic() - began > 0.7 * SIZE / 2_000_000
    assert origin.busiest <= 2


def test_progress_grows_and_is_told(bench: Bench, origin: FileOrigin) -> None:
    ref = an_http_ref(origin.url, maxBytesPerS=1_000_000)

    bench.run(ref, "movie.mp4")

    told = [job.progress for job in bench.seen if job.progress is not None]
    assert told == sorted(told)
    assert len({p for p in told if 0.05 < p < 0.8}) >= 2
    assert any(job.eta_seconds for job in bench.seen)


def test_other_jobs_get_the_copy_while_it_is_fresh_and_the_source_else(
    bench: Bench, origin: FileOrigin, movie: bytes, tmp_path: Path
) -> None:
    ref = an_http_ref(origin.url)
    bench.run(ref, "movie.mp4")
    before = origin.sent

    first = a_copy(bench, ref, "movie.mp4", tmp_path / "one")
    sent_for_first = origin.sent - before
    origin.refuse_all = 503
    second = a_copy(bench, ref, "movie.mp4", tmp_path / "two")
    origin.refuse_all = 0
    origin.files["movie.mp4"], origin.etags["movie.mp4"] = movie + b"\0" * 8, '"2"'
    third = a_copy(bench, ref, "movie.mp4", tmp_path / "three")

    assert first.read_bytes() == second.read_bytes() == movie
    assert third.read_bytes() == movie + b"\0" * 8
    assert sent_for_first < 100
    assert bench.index.evict(0) == 1


def test_a_damaged_copy_is_given_to_nobody(
    bench: Bench, origin: FileOrigin, movie: bytes, tmp_path: Path
) -> None:
    ref = an_http_ref(origin.url)
    job = bench.run(ref, "movie.mp4")
    path = bench.media / (job.result or {})["key"]
    path.write_bytes(movie[:-1] + b"\xff")

    copy = a_copy(bench, ref, "movie.mp4", tmp_path / "one")

    assert copy.read_bytes() == movie
    assert bench.index.total_bytes() == 0
