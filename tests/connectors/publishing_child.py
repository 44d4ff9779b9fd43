"""A worker that publishes one file and is killed with -9 at a named moment.

Arguments: a JSON object {type, config, auth, folders, file, key, record, die}. The record file
stands for the job record: the intent is written to it before any byte moves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from connectors.base import Intent
from connectors.publishing import artifact_of, publish_once
from schemas.settings import Settings
from tests.connectors.peer import Peer, opened


def _die_at(moment: str, wanted: str) -> None:
    if moment == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


def main(job: dict[str, Any]) -> None:
    """Publish, or die trying."""
    moments: list[int] = []

    def remember(intent: Intent) -> None:
        _die_at("begun", job["die"])
        Path(job["record"]).write_text(json.dumps(intent))
        _die_at("remembered", job["die"])

    def on_bytes(count: int) -> None:
        moments.append(count)
        _die_at("moving", job["die"])

    settings = Settings(local_folders=tuple(job["folders"]))
    target: Any = opened(job["type"], Peer(job["config"], job["auth"], settings=settings))
    publish_once(
        target,
        artifact_of(Path(job["file"]), key=job["key"], job_id="job-1"),
        earlier=None,
        remember=remember,
        check_fence=lambda: _die_at("checked", job["die"]),
        on_bytes=on_bytes,
    )
    _die_at("published", job["die"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
