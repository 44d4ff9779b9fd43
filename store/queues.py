"""The queues: bells for idle workers, and how long work has been waiting."""

from __future__ import annotations

from typing import NamedTuple

from store import keys
from store.client import Store, connection, translated

SWEEP_AFTER_MS = 30_000
QUARANTINE_LENGTH = 1_000
QUARANTINE_BYTES = 4_096
MAX_WAIT_S = 4.0


class QueueStats(NamedTuple):
    """How many jobs are queued, and for how long the oldest has been."""

    depth: int
    oldest_age_ms: int


class Queues:
    """All queues, by name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sweep(self, queue: str, older_than_ms: int = SWEEP_AFTER_MS) -> int:
        """Ring again for jobs that have been queued for long and whose bell is lost."""
        return int(self._store.run("sweep", queue, older_than_ms))

    def stats(self, queue: str) -> QueueStats:
        """The depth and age of a queue."""
        depth, age = self._store.run("queue_stats", queue)
        return QueueStats(int(depth), int(age))

    def counts(self) -> dict[tuple[str, ...], int]:
        """Counters that survive every process: (name, kind[, outcome]) to number."""
        with translated():
            raw: dict[str, str] = self._store.client.hgetall(keys.COUNTS)  # type: ignore[assignment]  # redis-py types sync and async alike
        return {tuple(name.split("|")): int(number) for name, number in raw.items()}


class Bells:
    """The worker's end of a queue: messages as raw bytes, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._store = Store(connection(url, decode=False))

    def fetch(self, queue: str) -> bytes | None:
        """The next message, taken out; None where there is none."""
        answer: bytes | None = self._store.run("fetch", queue)
        return answer

    def wait(self, queue: str, timeout_s: float) -> bool:
        """Sleep until somebody rings, or the time is over; whether somebody rang."""
        with translated():
            rung = self._store.client.blpop([keys.wake(queue)], timeout=min(timeout_s, MAX_WAIT_S))
        return rung is not None

    def pass_on(self, queue: str) -> None:
        """Wake another in our place: what was rung for is still there, and we cannot answer."""
        with translated():
            self._store.client.rpush(keys.wake(queue), "1")

    def quarantine(self, queue: str, message: bytes, reason: str) -> None:
        """Keep a message that is not ours where an operator finds it."""
        with translated():
            self._store.client.xadd(
                keys.quarantine(queue),
                {"reason": reason, "message": message[:QUARANTINE_BYTES]},
                maxlen=QUARANTINE_LENGTH,
                approximate=True,
            )

    def close(self) -> None:
        """Let the connection go."""
        self._store.close()
