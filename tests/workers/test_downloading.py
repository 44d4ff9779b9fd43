"""A download writes what comes where it belongs, and knows again what is here."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.base import Control
from pipelines import localize
from schemas.errors import Cancelled, SourceChanged, SourceUnavailable, StoreUnavailable
from schemas.localized import FetchedFile, SourceFile, Validators
from workers.downloading import PART, RESUME, Download, Options, Throttle, boot_id

DATA = bytes(range(253)) * 12_000
VERSION = Validators(size=len(DATA), etag='"1"')


@dataclass
class Shelf:
    """A source in memory that counts what it gives; `hold` makes it silent from that byte on."""

    data: bytes = DATA
    validators: Validators = VERSION
    hold: int | None = None
    given: int = 0
    opened: int = 0
    closed: int = 0
    let_go: threading.Event = field(default_factory=threading.Event)

    def connect(self, _control: Control) -> Shelf:
        return self

    @contextmanager
    def open(self, offset: int, length: int | None) -> Iterator[Held]:
        self.opened += 1
        end = len(self.data) if length is None else offset + length
        yield Held(self, offset, end)

    def close(self) -> None:
        self.closed += 1
        self.let_go.set()


@dataclass
class Held:
    """A stretch of the shelf's bytes."""

    shelf: Shelf
    at: int
    end: int
    partial: bool = True

    @property
    def validators(self) -> Validators:
        return self.shelf.validators

    def readinto(self, buffer: memoryview, /) -> int:
        if self.shelf.hold is not None and self.at >= self.shelf.hold:
            self.shelf.let_go.wait(60)
            raise SourceUnavailable("hung up")
        data = self.shelf.data[self.at : min(self.end, self.at + len(buffer))]
        buffer[: len(data)] = data
        self.at += len(data)
        self.shelf.given += len(data)
        return len(data)


def download(
    shelf: Shelf, target: Path, version: Validators = VERSION, **options: object
) -> Download:
    source = SourceFile(file_id="x", name="x", validators=version)
    return Download(shelf.connect, source, target, Options(**options))  # type: ignore[arg-type]


def left_behind(target: Path, held: int, boot: str, text: str = "") -> None:
    """What an attempt that was killed leaves: a preallocated file and its resume file."""
    part = DATA[:held] + bytes(len(DATA) - held)
    target.with_name(target.name + PART).write_bytes(part)
    head = localize.resume_head(VERSION, boot) + localize.resume_line(0, held)
    target.with_name(target.name + RESUME).write_text(head + text)


def check(target: Path, fetched: FetchedFile) -> None:
    assert target.read_bytes() == DATA
    assert fetched.sha256 == hashlib.sha256(DATA).hexdigest()
    assert not target.with_name(target.name + PART).exists()


def test_a_whole_file_comes_with_its_hash(tmp_path: Path) -> None:
    shelf, target = Shelf(), tmp_path / "x"

    fetched = download(shelf, target).run()

    check(target, fetched)
    assert (fetched.size, fetched.resumed, shelf.given) == (len(DATA), 0, len(DATA))
    assert shelf.closed > 0


def test_what_is_here_is_not_asked_for_again(tmp_path: Path) -> None:
    shelf, target = Shelf(), tmp_path / "x"
    left_behind(target, 1_000_000, boot_id(), text="1000000 5")

    fetched = download(shelf, target).run()

    check(target, fetched)
    assert (fetched.resumed, shelf.given) == (1_000_000, len(DATA) - 1_000_000)


def test_a_whole_file_is_known_again_without_a_byte(tmp_path: Path) -> None:
    shelf, target = Shelf(), tmp_path / "x"
    download(shelf, target).run()
    before = shelf.given

    fetched = download(shelf, target).run()

    check(target, fetched)
    assert (fetched.resumed, shelf.given - before) == (len(DATA), 0)


def test_bytes_from_before_a_restart_of_the_machine_are_not_trusted(tmp_path: Path) -> None:
    shelf, target = Shelf(), tmp_path / "x"
    left_behind(target, 1_000_000, "another boot")

    fetched = download(shelf, target).run()

    check(target, fetched)
    assert (fetched.resumed, shelf.given) == (0, len(DATA))


def test_another_version_is_refused_and_what_is_here_stays(tmp_path: Path) -> None:
    shelf, target = Shelf(), tmp_path / "x"
    left_behind(target, 1_000_000, boot_id())

    with pytest.raises(SourceChanged):
        download(shelf, target, Validators(size=len(DATA), etag='"2"')).run()

    assert shelf.given == 0
    assert target.with_name(target.name + PART).exists()


def test_a_silent_source_does_not_hold_up_a_cancel(tmp_path: Path) -> None:
    shelf, target = Shelf(hold=1_000_000), tmp_path / "x"

    def cancel() -> None:
        if shelf.given >= 1_000_000:
            raise Cancelled("somebody cancelled")

    with pytest.raises(Cancelled):
        download(shelf, target, control=cancel).run()

    assert shelf.let_go.is_set()
    assert shelf.given < len(DATA)


def test_a_source_that_never_recovers_fails_with_its_own_error(tmp_path: Path) -> None:
    shelf, target = Shelf(hold=1_000_000), tmp_path / "x"
    shelf.let_go.set()

    with pytest.raises(SourceUnavailable, match="hung up"):
        download(shelf, target, first_pause_s=0.001).run()

    held = localize.resume_of(target.with_name(target.name + RESUME).read_text())
    assert held is not None
    assert sum(span.length for span in held.done) > 0


def test_a_shared_rate_is_asked_for_in_parts_and_waited_for() -> None:
    asked: list[int] = []

    def grant(count: int) -> float:
        asked.append(count)
        return 50.0 * len(asked)

    throttle = Throttle(100_000, grant)
    waits = [throttle.wait_s(4_000) for _ in range(5)]

    assert asked == [10_000, 10_000]
    assert waits == [pytest.approx(w, abs=1) for w in (50, 50, 100, 100, 100)]


def test_a_process_keeps_the_rate_alone_while_nobody_grants() -> None:
    def nobody(_count: int) -> float:
        raise StoreUnavailable("away")

    throttle = Throttle(1_000, nobody)

    waits = [throttle.wait_s(1_000) for _ in range(3)]

    assert waits == [pytest.approx(n, abs=0.5) for n in (1, 2, 3)]
