"""Carries out fetch steps: several at a time, each whole or not there, resumed by name."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from connectors.base import Live
from media.decrypt import decrypt_file
from media.workspace import check_room, metered
from schemas.connectors import ConnectorRef
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    Encrypted,
    MissingSegments,
    RateLimited,
    RetryableError,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
)
from schemas.plans import Fetch, Step
from workers import history, metrics
from workers.run import Run
from workers.world import world_of

KEY_BYTES = 16
# Six hours of the best broadcast streams, held and cut.
MAX_JOB_BYTES = 64 * 2**30
USUAL_SEGMENT_BYTES = 2 * 2**20
TRIES = 4
# What a job can do without is tried less, and no more once so much of it could not be had.
SPARE_TRIES = 2
SPARED = 8
SPARE_FAILURES = (SourceUnavailable, RateLimited, Stalled, AccessDenied, TooLarge, CorruptMedia,
                  Encrypted)  # fmt: skip
FIRST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 5.0
EDGE_PAUSE_S = 1.0
TICK_S = 0.2
PART, ABSENT = ".part", 0


class Fetcher:
    """Fetches through one connector into one workspace; keys are fetched once."""

    def __init__(self, live: Live, run: Run) -> None:
        self._live = live
        self._run = run
        self._keys: dict[str, bytes] = {}
        self._check = metered(run.workspace, run.check, MAX_JOB_BYTES)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._spared = 0

    def stop(self) -> None:
        """Make every fetch under way end at its next chunk."""
        self._over.set()

    def fetch(self, step: Fetch) -> int:
        """Bring one resource here; its size, or ABSENT where it is optional and not there."""
        target = self._run.workspace / step.name
        if target.exists():
            return target.stat().st_size
        if step.spare:
            return self._spare(step, target)
        try:
            self._insist(lambda: self._bring(step, target), step.patience_ms / 1000)
        except SourceNotFound:
            if step.optional:
                return ABSENT
            raise MissingSegments(
                f"the origin lists {step.name} but does not hold it", gaps=()
            ) from None
        return target.stat().st_size

    def _spare(self, step: Fetch, target: Path) -> int:
        """Bring what the job can do without; an origin that keeps failing is asked no more."""
        if self._spared >= SPARED:
            return ABSENT
        try:
            self._insist(lambda: self._bring(step, target), step.patience_ms / 1000, SPARE_TRIES)
        except SourceNotFound:
            return ABSENT
        except SPARE_FAILURES:
            self._spared += 1
            return ABSENT
        return target.stat().st_size

    def _bring(self, step: Fetch, target: Path) -> None:
        part = target.with_name(target.name + PART)
        self._live.download(
            step.uri,
            part,
            max_bytes=step.max_bytes,
            byte_range=step.byte_range,
            on_bytes=self._count,
            control=self._control,
        )
        if step.key is None:
            part.replace(target)
            return
        opened = target.with_name(target.name + ".open")
        decrypt_file(part, opened, key=self._key(step.key.uri), iv_hex=step.key.iv_hex)
        part.unlink()
        opened.replace(target)

    def _key(self, uri: str) -> bytes:
        with self._lock:
            if uri not in self._keys:
                self._keys[uri] = self._fetched_key(uri)
            return self._keys[uri]

    def _fetched_key(self, uri: str) -> bytes:
        try:
            key = self._live.fetch(uri, max_bytes=KEY_BYTES + 1, control=self._control).data
        except CuttingRoomError as error:
            if isinstance(error, RetryableError):
                raise
            raise Encrypted(f"the key of the range cannot be had: {error.message}") from None
        if len(key) != KEY_BYTES:
            raise Encrypted(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        return key

    def _insist(self, call: Callable[[], None], patience_s: float, tries: int = TRIES) -> None:
        """Try a few times, and longer at a live edge: what is listed may not be there yet."""
        began = time.monotonic()
        for tried in itertools.count(1):
            try:
                return call()
            except (RetryableError, SourceNotFound) as error:
                early = isinstance(error, SourceNotFound) and _since(began) < patience_s
                if self._run.stopping() or self._over.is_set() or (tried >= tries and not early):
                    raise _of_segment(error) from error
                pause_s = _pause_s(error, tried)
                self._over.wait(min(pause_s, EDGE_PAUSE_S) if early else pause_s)
                self._control()
        return None

    def _count(self, count: int) -> None:
        metrics.FETCHED_BYTES.labels(self._run.lease.kind).inc(count)

    def _control(self) -> None:
        self._check()
        if self._over.is_set():
            raise SourceUnavailable("another fetch of the range failed", code="segment_missing")


def fetch_all(
    steps: Sequence[Fetch],
    fetcher: Fetcher,
    connections: int,
    run: Run,
    report: Callable[[float], None],
) -> list[int]:
    """Every step's size, several fetched at a time; the first failure ends the others."""
    check_room(run.workspace, estimate_bytes(steps, arrived(run.workspace)))
    with ThreadPoolExecutor(max_workers=connections, thread_name_prefix="fetch") as pool:
        futures = [pool.submit(fetcher.fetch, step) for step in steps]
        try:
            _await(futures, run, report)
        except BaseException:
            fetcher.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def fetch_through(
    own: ConnectorRef,
    steps: Iterable[Step],
    run: Run,
    report: Callable[[float], None] = lambda _share: None,
) -> list[int]:
    """The size of every fetch, each through the connector it names or the job's own."""
    world, wanted, found = world_of(run), fetches(steps), dict[str, int]()
    for ref in _connectors(own, wanted):
        mine = [step for step in wanted if (step.connector or own) == ref]
        share, before = len(mine) / len(wanted), len(found) / len(wanted)
        sizes = fetch_all(
            mine,
            Fetcher(world.live(ref), run),
            world.settings.fetch_connections,
            run,
            lambda done, share=share, before=before: report(before + done * share),  # type: ignore[misc]
        )
        found.update(zip((step.name for step in mine), sizes, strict=True))
    return [found[step.name] for step in wanted]


def _connectors(own: ConnectorRef, steps: Sequence[Fetch]) -> list[ConnectorRef]:
    """Every connector the steps go through, once, in order."""
    found: list[ConnectorRef] = []
    for step in steps:
        ref = step.connector or own
        if ref not in found:
            found.append(ref)
    return found


def _await(futures: Sequence[Future[int]], run: Run, report: Callable[[float], None]) -> None:
    pending = set(futures)
    while pending:
        run.check()
        done, pending = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        report(1 - len(pending) / len(futures))


def estimate_bytes(steps: Sequence[Fetch], sizes: Mapping[str, int]) -> int:
    """About how much the steps will bring: as much each as what is here already."""
    usual = sum(sizes.values()) // len(sizes) if sizes else USUAL_SEGMENT_BYTES
    return sum(step.byte_range.length if step.byte_range else usual for step in steps)


def fetches(steps: Iterable[Step]) -> list[Fetch]:
    """The steps as fetches."""
    return [step for step in steps if isinstance(step, Fetch)]


def arrived(workspace: Path) -> dict[str, int]:
    """Every whole file of a workspace with its size."""
    return {
        entry.name: entry.stat().st_size
        for entry in workspace.iterdir()
        if entry.is_file() and not entry.name.endswith((PART, ".open", history.NAME))
    }


def _since(began: float) -> float:
    return time.monotonic() - began


def _pause_s(error: CuttingRoomError, tried: int) -> float:
    asked = error.retry_after_s if isinstance(error, RateLimited) else None
    return min(asked or FIRST_PAUSE_S * 2 ** (tried - 1), LONGEST_PAUSE_S)


def _of_segment(error: CuttingRoomError) -> CuttingRoomError:
    """The failure as one of a segment, where the class speaks of playlists."""
    if type(error) is SourceUnavailable:
        return SourceUnavailable(error.message, code="segment_missing")
    return error
