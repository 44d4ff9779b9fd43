"""A worker that stays up: clips asked for on stdin, a JSON object a line, made one after the other.

Everything is what a worker of the service has (works, handlers, lifecycle, fork server), but for
the ledger, which is the one of `cuttingroom clip`. Each answer is a line `{"cpu_s"}`: what this
process, its fork server and every child of it used for that clip.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import structlog

from connectors.local import Folder
from connectors.sealing import new_key
from schemas.commands import ClipFromStream
from schemas.connectors import ConnectorRef, Destination
from schemas.settings import Settings
from schemas.times import TimeRange
from workers import handlers
from workers.clip import WORK
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime

CHANNEL = "main"


def main() -> None:
    """Answer every line until stdin ends."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        Path(folder).chmod(0o711)
        runtime = _runtime(folder)
        media = runtime.world.media
        media.start()
        for line in sys.stdin:
            before = _cpu_s(media.pid)
            _clip(json.loads(line), runtime)
            print(json.dumps({"cpu_s": round(_cpu_s(media.pid) - before, 3)}), flush=True)
        media.close()


def _runtime(folder: str) -> Runtime:
    settings = Settings.model_validate(
        {
            "allow_cidrs": ["127.0.0.0/8"],
            "work_dir": folder,
            "data_dir": folder,
            "secret_keys": new_key(),
        }
    )
    made, world = handlers.build(settings)
    return Runtime(
        ledger=LocalLedger(),
        works={"clip": WORK},
        handlers=made,
        work_dir=Path(folder),
        owner="benchmark",
        world=world,
    )


def _clip(asked: dict[str, str], runtime: Runtime) -> None:
    out = Path(asked["out"])
    out.unlink(missing_ok=True)
    ledger = runtime.ledger = LocalLedger(allowance=1)
    runtime.world = replace(runtime.world, media_store=Folder(out.parent))
    job_id = ledger.submit(_command(asked, out.name)).id
    run_job("clip", runtime)
    job = ledger.job(job_id)
    if job.state != "succeeded":
        raise SystemExit(f"the clip {job.state}: {job.error}")


def _command(asked: dict[str, str], name: str) -> ClipFromStream:
    config = {"url": asked["url"]}
    return ClipFromStream(
        tenant_id="benchmark",
        requested_by="benchmark",
        request={},
        connector=ConnectorRef(id="c", tenant_id="benchmark", type="hls", config=config),
        channel_id=CHANNEL,
        range=TimeRange(start_ms=int(asked["start_ms"]), end_ms=int(asked["end_ms"])),
        clip_id="benchmark",
        file_id=f"{CHANNEL}/{name}",
        requested_file_id=f"{CHANNEL}/{name}",
        destination=Destination(key=name),
    )


def _cpu_s(server_pid: int | None) -> float:
    """CPU of this process, and of the fork server with all children it has buried."""
    own = os.times()
    fields = Path(f"/proc/{server_pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return own.user + own.system + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
