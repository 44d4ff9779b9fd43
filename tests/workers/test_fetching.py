"""Fetch steps: what is tried again, for how long, and what a failure does to the others."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    MissingSegments,
    SourceNotFound,
    SourceUnavailable,
)
from schemas.ledger import Lease
from schemas.plans import Fetch
from tests.builders import a_clip_command
from workers import fetching
from workers.fetching import ABSENT, SPARE_TRIES, SPARED, TRIES, Fetcher, fetch_all
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal


class Origin:
    """A connector that fails as told, each resource its own number of times."""

    def __init__(self, error: type[CuttingRoomError], failures: int) -> None:
        self.asked = Counter[str]()
        self._error, self._failures = error, failures

    def download(self, uri: str, target: Path, *, on_bytes: Any, **_limits: Any) -> None:
        """The resource's own address as its bytes."""
        self.asked[uri] += 1
        if self.asked[uri] <= self._failures:
            raise self._error("told to fail")
        target.write_text(uri)
        on_bytes(len(uri))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited between tries is not what these tests are about."""
    monkeypatch.setattr(fetching, "FIRST_PAUSE_S", 0.001)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A job under way."""
    ledger = LocalLedger()
    ledger.submit(a_clip_command())
    lease = ledger.claim("clip", "me", "nonce")
    assert isinstance(lease, Lease)
    return Run(lease, ledger, tmp_path, Signal(threading.Event()), lambda: 0)


def fetcher(origin: Origin, run: Run) -> Fetcher:
    return Fetcher(origin, run)  # type: ignore[arg-type]  # as much of a connector as is asked


def test_what_fails_a_few_times_arrives(run: Run) -> None:
    origin = Origin(SourceUnavailable, TRIES - 1)

    assert fetcher(origin, run).fetch(Fetch(uri="seg", name="s.ts")) == len("seg")

    assert (run.workspace / "s.ts").read_text() == "seg"
    assert not (run.workspace / "s.ts.part").exists()


def test_what_arrived_before_is_not_asked_for(run: Run) -> None:
    origin = Origin(SourceUnavailable, 0)
    (run.workspace / "s.ts").write_bytes(b"held")

    assert fetcher(origin, run).fetch(Fetch(uri="seg", name="s.ts")) == len(b"held")
    assert not origin.asked


def test_what_keeps_failing_is_given_up_as_a_segment(run: Run) -> None:
    origin = Origin(SourceUnavailable, TRIES)

    with pytest.raises(SourceUnavailable) as told:
        fetcher(origin, run).fetch(Fetch(uri="seg", name="s.ts"))

    assert (told.value.error_code, origin.asked["seg"]) == ("segment_missing", TRIES)


def test_what_is_not_there_fails_or_is_a_gap(run: Run) -> None:
    origin = Origin(SourceNotFound, 100)

    with pytest.raises(MissingSegments):
        fetcher(origin, run).fetch(Fetch(uri="seg", name="s.ts"))

    step = Fetch(uri="seg", name="s.ts", optional=True)
    assert fetcher(origin, run).fetch(step) == ABSENT


@pytest.mark.parametrize("spare", [True, False])
def test_at_a_live_edge_an_absence_is_waited_out(run: Run, spare: bool) -> None:
    origin = Origin(SourceNotFound, TRIES + 2)
    step = Fetch(uri="seg", name="s.ts", spare=spare, patience_ms=30_000)

    assert fetcher(origin, run).fetch(step) == len("seg")


def test_what_never_comes_to_a_live_edge_is_absent_once_patience_ends(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin(SourceNotFound, 1_000)
    step = Fetch(uri="seg", name="s.ts", spare=True, patience_ms=30_000)
    monkeypatch.setattr(
        fetching, "_since", lambda _began: 31 if origin.asked["seg"] > SPARE_TRIES + 4 else 0
    )

    assert fetcher(origin, run).fetch(step) == ABSENT
    assert origin.asked["seg"] == SPARE_TRIES + 5


def test_what_can_be_done_without_is_asked_for_no_more_once_much_is_missing(run: Run) -> None:
    origin = Origin(AccessDenied, 1_000)
    fetching_it = fetcher(origin, run)

    steps = [Fetch(uri=f"s{n}", name=f"s{n}.ts", spare=True) for n in range(SPARED + 3)]

    assert [fetching_it.fetch(step) for step in steps] == [ABSENT] * len(steps)
    assert len(origin.asked) == SPARED


def test_the_first_failure_ends_the_others(run: Run) -> None:
    origin = Origin(SourceNotFound, 1_000)
    steps = [Fetch(uri=f"s{n}", name=f"s{n}.ts", patience_ms=0 if n == 0 else 60_000)
             for n in range(3)]  # fmt: skip

    with pytest.raises(MissingSegments):
        fetch_all(steps, fetcher(origin, run), 3, run, lambda _done: None)
