"""The two workers of the pick-up benchmark: ours, and dramatiq's own with its defaults."""

from __future__ import annotations

import sys
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from schemas.commands import ClipFromStream
from schemas.plans import Plan
from schemas.settings import Settings
from workers.main import Parts, serve
from workers.phases import Phase, Work
from workers.run import Run


def _gather(_command: ClipFromStream, facts: int, run: Run) -> int:
    run.world.rpush("picked-up", "1")
    return facts


WORK: Work[ClipFromStream, int] = Work(
    command=ClipFromStream,
    begin=lambda _command: 0,
    phases=(Phase("toil", "cutting", 1, _gather, lambda _command, _facts: Plan(steps=())),),
    result=lambda _command, _facts, _run: {},
)


def ours(url: str, folder: str) -> None:
    """Our worker; the job's first act is to say that it was picked up."""
    settings = Settings.model_validate({"redis_url": url, "data_dir": folder, "log_level": "error"})
    serve(settings, {"clip": 1}, lambda: Parts({"clip": WORK}, {}, redis.Redis.from_url(url)))


def stock_actor(url: str) -> Any:
    """The same act as a plain dramatiq actor."""
    broker = RedisBroker(url=url)  # type: ignore[no-untyped-call]
    client = redis.Redis.from_url(url)

    @dramatiq.actor(broker=broker, queue_name="stock")
    def picked_up() -> None:
        client.rpush("picked-up", "1")

    return picked_up


def stock(url: str) -> None:
    """A dramatiq worker as it comes, with one thread."""
    actor = stock_actor(url)
    worker = dramatiq.Worker(actor.broker, worker_threads=1)
    worker.start()
    sys.stdin.read()


if __name__ == "__main__":
    ours(*sys.argv[2:]) if sys.argv[1] == "ours" else stock(sys.argv[2])
