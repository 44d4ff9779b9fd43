"""Numbers of this process for Prometheus, in base units and with bounded labels."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
    values,
)
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
REGISTRY = CollectorRegistry()
log = structlog.get_logger(__name__)
STAGE_SECONDS = Histogram(
    "cuttingroom_stage_duration_seconds",
    "How long each stage of a job took.",
    ("kind", "stage"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
BUSY_SECONDS = Counter(
    "cuttingroom_worker_busy_seconds",
    "Time spent at jobs, but for waits.",
    ("kind",),
    registry=REGISTRY,
)
WAITING_JOBS = Gauge(
    "cuttingroom_worker_waiting_jobs",
    "Jobs that wait for media in their slot while it works at others.",
    ("queue",),
    registry=REGISTRY,
    multiprocess_mode="sum",
)
FETCHED_BYTES = Counter(
    "cuttingroom_fetched_bytes", "Bytes fetched from sources.", ("kind",), registry=REGISTRY
)
PUBLISHED_BYTES = Counter(
    "cuttingroom_published_bytes", "Bytes published.", ("kind",), registry=REGISTRY
)


@contextmanager
def stage_timed(kind: str, stage: str) -> Iterator[None]:
    """Count the time of one stage."""
    began = time.monotonic()
    try:
        yield
    finally:
        STAGE_SECONDS.labels(kind, stage).observe(time.monotonic() - began)


class Busy:
    """Counts the time at one job, but for its pauses."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._began: float | None = None

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._began is not None:
            BUSY_SECONDS.labels(self._kind).inc(time.monotonic() - self._began)
            self._began = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what the job only waits for."""
        counting = self._began is not None
        self.__exit__()
        try:
            yield
        finally:
            if counting:
                self.__enter__()


def share(folder: Path, identity: str) -> None:
    """Keep this process's numbers in files, under a name its successor takes over.

    Process ids would leave a file for every process that ever ran; a slot's name goes on counting
    where the dead process stopped. Call it before anything is counted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: identity)  # type: ignore[no-untyped-call]


def tidy(folder: Path, identities: Collection[str]) -> None:
    """Drop what nobody can read any more, and what slots that are no more said of that moment.

    One file that a power cut left torn would silence `/metrics` and end its slot at every start.
    Call it before anything is shared.
    """
    for file in folder.glob("*.db"):
        kind, _, identity = file.stem.rpartition("_")
        if not _is_whole(file) or (kind.startswith("gauge") and identity not in identities):
            log.warning("numbers dropped", file=file.name)
            file.unlink()


def _is_whole(file: Path) -> bool:
    try:
        for key, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            json.loads(key)
    except (OSError, ValueError, RuntimeError, struct.error):
        return False
    return True


def serve(folder: Path, port: int, address: str = "127.0.0.1") -> None:
    """Answer `/metrics` with the sum of every process that shares the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    answer(registry, port, address)


def answer(registry: CollectorRegistry, port: int, address: str) -> bool:
    """Answer `/metrics` in a thread; where the port is taken, say so and go on without."""
    try:
        start_http_server(port, address, registry)
    except OSError as error:
        log.error("no metrics: the port cannot be had", port=port, reason=error.strerror)
        return False
    return True
