"""Files that belong together appear together: of one attempt, or not at all."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.base import CheckFence, Intent
from connectors.local import Folder
from schemas.connectors import Destination, Published
from schemas.errors import Cancelled, DestinationRejected, DestinationUnavailable
from schemas.jobs import JobError
from schemas.plans import Publish
from tests.builders import a_clip_command
from workers.local_ledger import LocalLedger
from workers.publishing import publish_all
from workers.run import Run, Signal

NAMES = ("one.json", "two.vtt", "main.mp4")


class Breaking(Folder):
    """A folder that fails when a file of that name is to become visible."""

    breaks = ""

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """As the folder's, or a failure that may pass."""
        if intent["key"] == self.breaks:
            raise DestinationUnavailable("away")
        return super().finish(intent, check_fence)


@dataclass
class OneStore:
    """A world with nothing in it but a place to publish to."""

    store: Folder

    def writes(self, to: Destination) -> Folder:
        """Where everything goes."""
        return self.store


class Bench:
    """A job whose attempts publish the same three files with other bytes each."""

    def __init__(self, folder: Path, allowance: int = 3) -> None:
        self.folder = folder
        (folder / "store").mkdir()
        self.store = Breaking(folder / "store")
        self.ledger = LocalLedger(allowance=allowance)
        self.job_id = self.ledger.submit(a_clip_command()).id
        self.shares: list[float] = []

    def attempt(self, *, together: bool = True, cancel: bool = False) -> list[Published]:
        """One attempt, its files saying which."""
        lease = self.ledger.claim("clip", "w", f"n{len(list(self.folder.iterdir()))}")
        assert lease is not None
        work = self.folder / f"attempt-{lease.attempt}"
        work.mkdir()
        for name in NAMES:
            (work / name).write_text(f"{name} of {lease.attempt}")
        signal = Signal(threading.Event())
        run = Run(lease, self.ledger, work, signal, lambda: 0, OneStore(self.store))
        steps = tuple(
            Publish(name=name, to=Destination(key=f"out/{name}"), together=together)
            for name in NAMES
        )

        def told(share: float) -> None:
            self.shares.append(share)
            if cancel and share > 0.4:
                signal.give("cancelled")

        try:
            return [o for o in publish_all(steps, run, told) if isinstance(o, Published)]
        finally:
            gone = JobError(code="interrupted", message="the worker is gone", retryable=True)
            self.ledger.retry(lease, gone, 0, counted=True)

    def held(self) -> dict[str, str]:
        """Everything in the store, leftovers too."""
        files = (self.folder / "store").rglob("*")
        return {path.name: path.read_text() for path in files if path.is_file()}


def test_a_set_is_of_one_attempt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.store.breaks = "out/main.mp4"
    with pytest.raises(DestinationUnavailable):
        bench.attempt()
    assert set(bench.held()) >= {"one.json", "two.vtt"}

    bench.store.breaks = ""
    bench.attempt()

    assert bench.held() == {name: f"{name} of 2" for name in NAMES}


def test_a_set_that_was_whole_stays_as_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.attempt()

    again = bench.attempt()

    assert [each.sha256 for each in again] == [each.sha256 for each in first]
    assert bench.held() == {name: f"{name} of 1" for name in NAMES}


def test_a_conflict_takes_back_what_was_published_before_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "store/out").mkdir()
    (tmp_path / "store/out/main.mp4").write_text("somebody else's")

    with pytest.raises(DestinationRejected):
        bench.attempt()

    assert bench.held() == {"main.mp4": "somebody else's"}


def test_a_cancel_takes_back_what_was_published_before_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    with pytest.raises(Cancelled):
        bench.attempt(cancel=True)

    assert bench.held() == {}


def test_the_last_attempt_takes_back_what_it_published(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allowance=1)
    bench.store.breaks = "out/main.mp4"

    with pytest.raises(DestinationUnavailable):
        bench.attempt()

    assert {"one.json", "two.vtt"} & set(bench.held()) == set()


def test_files_on_their_own_are_kept_of_an_earlier_attempt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.store.breaks = "out/main.mp4"
    with pytest.raises(DestinationUnavailable):
        bench.attempt(together=False)

    bench.store.breaks = ""
    bench.attempt(together=False)

    assert bench.held() == {
        "one.json": "one.json of 1",
        "two.vtt": "two.vtt of 1",
        "main.mp4": "main.mp4 of 2",
    }


def test_progress_is_that_of_all_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    bench.attempt()

    assert bench.shares == sorted(bench.shares)
    assert bench.shares[0] < 0.5
    assert bench.shares[-1] == 1
