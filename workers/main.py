"""The composition root of workers: `python -m workers.main --queue clip --queue epg`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from schemas.errors import StoreUnavailable
from schemas.settings import Settings
from store.client import Store
from store.jobs import RedisLedger
from store.leases import Leases
from store.localized import Localized
from store.queues import Bells, Queues
from workers import handlers, logs, metrics, registry
from workers.addresses import addressed
from workers.patience import PatientLedger
from workers.phases import Handlers, Works
from workers.runtime import Runtime
from workers.slot import Slot
from workers.supervisor import Supervisor

METRICS = "metrics"
log = structlog.get_logger(__name__)


class Parts(NamedTuple):
    """What a worker is made of besides its settings; `warm_up` runs before the first job."""

    works: Works
    handlers: Handlers
    world: object = None
    warm_up: Callable[[], object] = lambda: None


def main(argv: Sequence[str] | None = None) -> int:
    """Supervise the slots of some queues until told to stop; the exit status."""
    given = _arguments(argv)
    settings = Settings.from_env(os.environ)
    works = registry.works()
    registry.check_complete(works)

    def parts() -> Parts:
        store = Store.from_url(settings.redis_url.get_secret_value())
        made, world = handlers.build(settings, Localized(store))
        return Parts(works, made, world, world.media.start)

    slots = {name: count or given.slots for name, count in given.queue}
    return serve(settings, slots, parts, given.metrics_port)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.main", description=__doc__)
    parser.add_argument(
        "--queue",
        required=True,
        action="append",
        type=_queue,
        help="a queue to work on, or queue:slots; may be given again",
    )
    parser.add_argument("--slots", type=int, default=1, help="how many jobs at a time")
    parser.add_argument("--metrics-port", type=int, help="answer /metrics there")
    return parser.parse_args(argv)


def _queue(text: str) -> tuple[str, int | None]:
    name, _, slots = text.partition(":")
    return name, int(slots) if slots else None


def serve(
    settings: Settings,
    slots: Mapping[str, int],
    parts: Callable[[], Parts],
    metrics_port: int | None = None,
) -> int:
    """Run so many slots of each queue as supervised processes until SIGTERM or SIGINT.

    `parts` is called in each slot's own process: what it opens is shared with no other.
    """
    logs.set_up(settings.log_level)
    port = settings.worker_metrics_port if metrics_port is None else metrics_port
    folder = metrics_folder(settings, tuple(slots))
    queue_of = {f"{queue}-{i}": queue for queue, count in slots.items() for i in range(count)}
    metrics.tidy(folder, queue_of)

    def body(name: str, pid: int) -> None:
        if name == METRICS:
            _serve_metrics(settings, folder, port or 0)
        else:
            metrics.share(folder, name)
            _run_slot(settings, queue_of[name], parts(), name, pid)

    def bury(name: str, pid: int) -> None:
        if name != METRICS:
            _release(settings, queue_of[name], owner_name(name, pid))

    extra = (METRICS,) if port is not None else ()
    return Supervisor((*queue_of, *extra), body, bury).run()


def owner_name(slot: str, pid: int) -> str:
    """What a slot's process is called in leases: unique among all machines."""
    return f"{socket.gethostname()}/{slot}/{pid}"


def metrics_folder(settings: Settings, queues: Sequence[str]) -> Path:
    """Where the slots of these queues keep their numbers."""
    base = Path(settings.metrics_dir or Path(settings.data_dir) / "metrics")
    return base / f"worker-{'-'.join(queues)}"


def work_folder(settings: Settings) -> Path:
    """Where jobs have their workspaces on this machine."""
    return Path(settings.work_dir or Path(settings.data_dir) / "work").absolute()


def _run_slot(settings: Settings, queue: str, parts: Parts, name: str, pid: int) -> None:
    told = told_to_stop()
    url = settings.redis_url.get_secret_value()
    store = Store.from_url(url)
    runtime = Runtime(
        ledger=RedisLedger(store),
        works=parts.works,
        handlers=parts.handlers,
        world=parts.world,
        work_dir=work_folder(settings),
        owner=owner_name(name, pid),
        addressed=addressed(settings),
    )
    runtime.ledger = PatientLedger(runtime.ledger, runtime.stop)
    parts.warm_up()
    slot = Slot(queue, runtime, Bells(url), Queues(store), Leases(store))
    slot.start()
    log.info("slot started", slot=name, queue=queue)
    told()
    slot.drain()


def told_to_stop() -> Callable[[], None]:
    """A wait for SIGTERM or SIGINT that a handler may end safely at any moment."""
    reader, writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"."))

    def wait() -> None:
        os.read(reader, 1)

    return wait


def _serve_metrics(settings: Settings, folder: Path, port: int) -> None:
    told = told_to_stop()
    metrics.serve(folder, port, settings.host)
    told()


def _release(settings: Settings, queue: str, owner: str) -> None:
    store = Store.from_url(settings.redis_url.get_secret_value())
    with suppress(StoreUnavailable):  # then its leases lapse by themselves
        Leases(store).release(owner)
        Queues(store).sweep(queue, older_than_ms=-1)
    store.close()


if __name__ == "__main__":
    sys.exit(main())
