"""Indexing that begins while segments are still being fetched."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from media.jail import hand_over
from media.process import ForkServer, shared
from schemas.cuts import CutRequest
from schemas.errors import UnsupportedMedia, WorkerInterrupted
from schemas.times import TimeRange
from tests.builders import a_clip_command
from tests.chaos.processes import until
from tests.cutting import held_tracks
from tests.media_builder import StreamSpec, build, segment
from workers.cutting import index, index_ahead
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal
from workers.turn import Stint, Turn


@dataclass(frozen=True)
class Media:
    """As much of the world as an index needs."""

    media: ForkServer


@dataclass(frozen=True)
class Bench:
    """A run whose segments are still elsewhere, and the word to stop it."""

    run: Run
    request: CutRequest
    elsewhere: Path
    stop: threading.Event
    turn: Turn
    stint: Stint

    def arrives(self, *but: str) -> None:
        """Let every segment arrive, but for some."""
        for file in self.elsewhere.iterdir():
            if file.name not in but:
                shutil.copy(file, self.run.workspace / f"{file.name}.part")
                (self.run.workspace / f"{file.name}.part").rename(self.run.workspace / file.name)

    def asked(self, **changes: Any) -> CutRequest:
        """The request as it is once segments have arrived: with their sizes."""
        track = self.request.tracks[0]
        segments = tuple(s.model_copy(update={"size": 7, **changes}) for s in track.segments)
        track = track.model_copy(update={"segments": segments})
        return self.request.model_copy(update={"tracks": (track,)})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Two segments that have not arrived."""
    elsewhere, here, stop = tmp_path / "elsewhere", tmp_path / "here", threading.Event()
    elsewhere.mkdir()
    here.mkdir()
    hand_over(here)
    tracks = held_tracks(segment(build(StreamSpec(seconds=4, size=(96, 64)))), elsewhere)
    request = CutRequest(wanted=TimeRange(start_ms=0, end_ms=1), tracks=tracks, output="x.mp4")
    ledger = LocalLedger()
    ledger.submit(a_clip_command())
    lease = ledger.claim("clip", "worker", "nonce")
    assert lease is not None
    turn = Turn(2)
    stint = turn.begin()
    assert stint is not None
    run = Run(lease, ledger, here, Signal(stop), lambda: 0, Media(shared()), stint)
    with run.at_end:
        yield Bench(run, request, elsewhere, stop, turn, stint)


def test_what_arrives_later_is_indexed_as_what_was_there(bench: Bench) -> None:
    index_ahead(bench.request, bench.run)
    bench.arrives()

    early = index(bench.asked(), bench.run)

    assert early == index(bench.asked(), bench.run)
    assert [len(s.pts) for run in early.runs for s in run.segments] == [50, 50]


def test_an_index_of_other_segments_is_not_used(bench: Bench) -> None:
    index_ahead(bench.request, bench.run)
    bench.arrives()

    found = index(bench.asked(pdt_us=1_000_000), bench.run)

    assert {anchor.wall_us for anchor in found.anchors} == {1_000_000}


def test_what_fails_early_is_told_of_the_usual_way(bench: Bench) -> None:
    index_ahead(bench.request, bench.run)
    for file in bench.elsewhere.iterdir():
        (bench.run.workspace / file.name).write_bytes(b"not media at all")

    with pytest.raises(UnsupportedMedia):
        index(bench.asked(), bench.run)


def test_the_wait_for_what_never_arrives_ends_with_the_attempt(bench: Bench) -> None:
    index_ahead(bench.request, bench.run)
    bench.arrives("t0-1")

    bench.run.at_end.close()

    assert not [t for t in threading.enumerate() if t.name.startswith("index")]


def test_a_worker_told_to_stop_does_not_wait_for_the_index(bench: Bench) -> None:
    index_ahead(bench.request, bench.run)

    bench.stop.set()

    with pytest.raises(WorkerInterrupted):
        index(bench.asked(), bench.run)


def test_one_clip_of_a_slot_is_indexed_without_having_the_turn(bench: Bench) -> None:
    bench.stint.pause()
    other = bench.turn.begin()
    assert other is not None
    other.pause()
    done = other.aside()
    assert done is not None

    index_ahead(bench.request, bench.run)
    refused = bench.run.ahead
    done()
    index_ahead(bench.request, bench.run)

    assert refused is None
    assert bench.run.ahead is not None
    assert other.aside() is None
    bench.arrives()
    assert index(bench.asked(), bench.run) == index(bench.asked(), bench.run)
    until(lambda: other.aside() is not None, "the end of the child")
