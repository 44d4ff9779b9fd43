"""The keeper: puts back what lapsed, rings lost bells, takes the intake in, tells the numbers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.media_store import open_media_store
from media.workspace import sweep as sweep_workspaces
from pipelines.registry import queues as all_queues
from schemas.errors import StoreUnavailable
from schemas.settings import Settings
from store.client import Store
from store.epg import Guides, dedup_key
from store.inbox import Inbox
from store.jobs import Jobs
from store.leases import Leases
from store.localized import Localized
from store.queues import Queues
from store.thumbs import Thumbs
from workers import metrics
from workers.localized_upkeep import Upkeep
from workers.main import told_to_stop, work_folder
from workers.runtime import epoch_ms
from workers.slot import every
from workers.thumbs_upkeep import ThumbsUpkeep
from workers.upload_upkeep import Places, UploadUpkeep

REAP_S = 1.0
SWEEP_S = 10.0
INTAKE_S = 0.25
RECOVER_S = 30.0
JANITOR_S = 60.0
GUIDES_S = 20.0
UPLOADS_S = 15.0
STALE_S = 600.0
KEEP_JOBS_MS = 30 * 24 * 3600 * 1000
KEEP_WORKSPACES_S = 24 * 3600
log = structlog.get_logger(__name__)


class Chore(NamedTuple):
    """Something done at an interval."""

    name: str
    interval_s: float
    act: Callable[[], object]


class Part(NamedTuple):
    """What another part of the service has the keeper do; `close` ends what it has under way."""

    chores: tuple[Chore, ...]
    collectors: tuple[Collector, ...] = ()
    close: Callable[[], object] = lambda: None


class LedgerCollector(Collector):
    """What Redis knows of all jobs, right across every process and restart."""

    def __init__(self, queues: Queues, names: Sequence[str]) -> None:
        self._queues = queues
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """The metric families; none but `cuttingroom_redis_up` while Redis is away."""
        up = GaugeMetricFamily("cuttingroom_redis_up", "Whether Redis answers.")
        try:
            families = [*self._counters(), *self._gauges()]
        except StoreUnavailable:
            families = []
        up.add_metric([], 1.0 if families else 0.0)
        yield up
        yield from families

    def _counters(self) -> list[Metric]:
        texts = {
            "accepted": "Jobs accepted.",
            "finished": "Jobs ended, by outcome.",
            "retried": "Attempts that will be made again.",
            "lapsed": "Leases whose worker was gone.",
        }
        families = {
            name: CounterMetricFamily(
                f"cuttingroom_jobs_{name}",
                text,
                labels=["kind", "outcome"] if name == "finished" else ["kind"],
            )
            for name, text in texts.items()
        }
        for (name, *labels), number in self._queues.counts().items():
            if name in families:
                families[name].add_metric(labels, number)
        return list(families.values())

    def _gauges(self) -> list[Metric]:
        depth = GaugeMetricFamily("cuttingroom_queue_depth", "Jobs queued.", labels=["queue"])
        age = GaugeMetricFamily(
            "cuttingroom_queue_oldest_age_seconds", "Age of the oldest one.", labels=["queue"]
        )
        for name in self._names:
            stats = self._queues.stats(name)
            depth.add_metric([name], stats.depth)
            age.add_metric([name], stats.oldest_age_ms / 1000)
        return [depth, age]


class Keeper:
    """All chores, each in its own time."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = tuple(chores)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin every chore; a slow one delays no other."""
        for chore in self._chores:
            thread = threading.Thread(
                target=every,
                args=(chore.interval_s, chore.act, self._stop),
                name=chore.name,
                daemon=True,
            )
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_s: float = 4.0) -> None:
        """End every chore."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def chores(settings: Settings, store: Store, extra: Sequence[Chore] = ()) -> tuple[Chore, ...]:
    """Every chore of a keeper; `extra` are those of other parts (webhooks, projector)."""
    jobs = Jobs(store, queue_cap=settings.queue_cap)
    inbox = Inbox(store, jobs, consumer=f"{socket.gethostname()}-{os.getpid()}")
    localized = Upkeep(
        Localized(store),
        lambda: open_media_store(settings),
        settings.localized_quota_bytes,
        epoch_ms,
    )
    pictures = ThumbsUpkeep(
        Thumbs(store), lambda: open_media_store(settings), settings.thumbnails_quota_bytes
    )
    uploads = UploadUpkeep(store, Places(settings, epoch_ms), epoch_ms)
    return (
        Chore("reap", REAP_S, Leases(store).reap),
        Chore("sweep", SWEEP_S, lambda: sweep(Queues(store))),
        Chore("intake", INTAKE_S, inbox.take),
        Chore("intake again", RECOVER_S, inbox.recover),
        Chore("forget", JANITOR_S, lambda: jobs.forget(KEEP_JOBS_MS)),
        Chore("localized quota", JANITOR_S, localized.keep_quota),
        Chore("localized index", RECOVER_S, localized.look_again),
        Chore("pictures quota", JANITOR_S, pictures.keep_quota),
        Chore("pictures index", RECOVER_S, pictures.look_again),
        Chore("workspaces", JANITOR_S, lambda: tidy(work_folder(settings))),
        Chore("uploads", UPLOADS_S, uploads.clean),
        Chore("unfinished files", STALE_S, uploads.sweep),
        Chore("guides", GUIDES_S, lambda: refresh_guides(Guides(store), jobs, epoch_ms())),
        *extra,
    )


def refresh_guides(guides: Guides, jobs: Jobs, now_ms: int) -> int:
    """Accept a refresh of every watched guide whose time has come."""
    count = 0
    for command in guides.due(now_ms):
        jobs.accept(command.model_copy(update={"dedup_key": dedup_key(command, now_ms)}))
        count += 1
    return count


def sweep(queues: Queues) -> int:
    """Ring again in every queue for what waits in silence."""
    return sum(queues.sweep(name) for name in all_queues())


def tidy(folder: Path) -> int:
    """Remove the workspaces nobody came back for."""
    return sweep_workspaces(folder, time.time() - KEEP_WORKSPACES_S)


def keep(
    settings: Settings, store: Store, parts: Sequence[Part] = (), metrics_port: int | None = None
) -> None:
    """Run the chores, and those of the parts, until SIGTERM or SIGINT."""
    told = told_to_stop()
    keeper = Keeper(chores(settings, store, [chore for part in parts for chore in part.chores]))
    keeper.start()
    if metrics_port is not None:
        registry = CollectorRegistry()
        registry.register(LedgerCollector(Queues(store), all_queues()))
        for collector in (one for part in parts for one in part.collectors):
            registry.register(collector)
        metrics.answer(registry, metrics_port, settings.host)
    log.info("keeper started")
    told()
    for part in parts:
        part.close()
    keeper.stop()
