"""The world a worker runs in, put together once by a composition root."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.ledger import Lease, Ledger
from workers.phases import Handlers, Works


def epoch_ms() -> int:
    """The time it is."""
    return time.time_ns() // 1_000_000


@dataclass
class Runtime:
    """Clock, ledger, pipelines, step handlers and workspace of one worker process.

    `world` is what gathers and handlers need beyond that (connectors, media tools, settings);
    they find it as `run.world`. `stop` is set when the process is told to end; `current` are the
    leases it holds, by the nonces of their claims: one is worked on, the others wait for media.
    `addressed` puts addresses clients can use into the result of a job.
    """

    ledger: Ledger
    works: Works
    handlers: Handlers
    work_dir: Path
    owner: str
    world: Any = None
    clock: Callable[[], int] = epoch_ms
    addressed: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _job_id, result: result
    jitter: Callable[[], float] = random.random
    stop: threading.Event = field(default_factory=threading.Event)
    current: dict[str, Lease] = field(default_factory=dict)
    # Media this near is waited for in place: a lease given back costs up to a second.
    hold_ms: int = 10_000
    early_ms: int = 1_500
