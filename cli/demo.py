"""`cuttingroom demo`: a live channel is made up, and a moment of it is clipped while it runs."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cli.jobs import follow
from cli.show import show_result
from cli.stack import Stack
from client import Client, Job
from media.process import Service, spawn_service
from schemas.base import Value
from schemas.errors import PermanentError, StoreUnavailable
from schemas.file_id import ClipFileId
from schemas.settings import Settings
from schemas.times import TimeRange, parse_rfc3339, rfc3339

CHANNEL_WITHIN_S = 60.0
CLIP_WITHIN_S = 90.0
BEHIND_MS = 2_480
HELLO_POLL_S = 0.05
LOOPBACK = ("127.0.0.0/8",)
CLIP_NAME = "cuttingroom-demo.mp4"


class Hello(Value):
    """What the synthetic channel says when it can be played."""

    url: str
    startMs: int  # noqa: N815
    edgeMs: int  # noqa: N815
    segmentMs: int  # noqa: N815
    fps: float


class DemoFailed(PermanentError):
    """The demo did not end with a clip; the message says what to look at."""


def run(settings: Settings, console: Console, keep: Path | None, seconds: int) -> None:
    """Start everything, clip the channel across its live edge, show the result, stop it all."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        _run_in(keep.absolute(), settings, console, seconds)
        return
    with tempfile.TemporaryDirectory(prefix="cuttingroom-demo-") as folder:
        Path(folder).chmod(0o711)
        _run_in(Path(folder), settings, console, seconds)


def _run_in(folder: Path, settings: Settings, console: Console, seconds: int) -> None:
    began_s, saved = time.monotonic(), Path(CLIP_NAME).absolute()
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    own |= {"data_dir": str(folder / "data"), "port": _free_port(), "allow_cidrs": LOOPBACK}
    given = Settings.model_validate(own)
    stack = Stack(given, lambda text: console.print(text, style="yellow"))
    with _channel(folder / "channel", console) as hello, stack:
        console.print(f"  service    {stack.url} (Redis, catalogue, gateway, keeper, workers)")
        console.print(f"  ready in   {time.monotonic() - began_s:.1f} s\n")
        job = _clip(stack, hello, console, seconds)
        _report(job, stack, saved, console)
    _farewell(console)


@contextmanager
def _channel(folder: Path, console: Console) -> Iterator[Hello]:
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / "hello.json"
    with said.open("wb") as output:
        argv = [sys.executable, "-m", "cli.synthetic", "--dir", str(folder / "media")]
        paths = ":".join(entry for entry in sys.path if entry)
        service = spawn_service("channel", argv, env={"PYTHONPATH": paths}, output=output)
    try:
        hello = _hello(said, service)
        console.print("[bold]A live channel was made up[/bold], with a clock in its picture")
        console.print(f"  channel    {hello.url}")
        yield hello
    finally:
        service.stop()


def _hello(said: Path, service: Service) -> Hello:
    deadline = time.monotonic() + CHANNEL_WITHIN_S
    while time.monotonic() < deadline:
        text = said.read_text(encoding="utf-8", errors="replace")
        if text.endswith("\n") and text.startswith("{"):
            return Hello.model_validate(json.loads(text.splitlines()[0]))
        if service.poll() is not None:
            raise DemoFailed(f"the synthetic channel ended: {text.strip()[-400:]}")
        time.sleep(HELLO_POLL_S)
    raise StoreUnavailable("the synthetic channel did not start in time")


def _clip(stack: Stack, hello: Hello, console: Console, seconds: int) -> Job:
    credentials = stack.credentials()
    with Client(stack.url, api_key=credentials.api_key) as client:
        return _clip_with(client, hello, console, seconds)


def _clip_with(client: Client, hello: Hello, console: Console, seconds: int) -> Job:
    connector = client.connectors.create("hls", "Arena 1", {"url": hello.url})
    wanted = _wanted(seconds)
    file_id = ClipFileId(channel_id="main", range=wanted, clip_id="goal").canonical
    in_s = (wanted.end_ms - time.time_ns() // 10**6) / 1000
    console.print(f"[bold]Asked for[/bold] {rfc3339(wanted.start_ms)} to {rfc3339(wanted.end_ms)}")
    console.print(f"  fileId     {file_id}\n  the end lies {in_s:.1f} s in the future\n")
    job = client.clips.create(connector.id, file_id, mode="exact", metadata={"title": "The goal"})
    return follow(client, job.id, console, CLIP_WITHIN_S)


def _wanted(seconds: int) -> TimeRange:
    """A range that began a moment ago and ends in the future, off any keyframe."""
    start_ms = time.time_ns() // 10**6 - BEHIND_MS
    return TimeRange(start_ms=start_ms, end_ms=start_ms + seconds * 1000 + 480)


def _report(job: Job, stack: Stack, saved: Path, console: Console) -> None:
    if job.state != "succeeded" or job.result is None or job.finished_at is None:
        why = f"{job.error.code}: {job.error.message}" if job.error else job.state
        raise DemoFailed(f"the clip was not made: {why} (logs: {stack.data / 'logs'})")
    file = job.result["file"]
    place = stack.data / "media" / file["key"]
    if not place.is_file() or place.stat().st_size != file["size"]:
        raise DemoFailed(f"{place} is not the file that was reported")
    shutil.copyfile(place, saved)
    console.print()
    show_result(job.result, str(saved), console)
    late_ms = parse_rfc3339(job.finished_at) - int(job.result["requested"]["endMs"])
    console.print(f"  ready      {late_ms / 1000:.1f} s after the range had ended\n")


def _farewell(console: Console) -> None:
    console.print("[bold]Everything was stopped again.[/bold] Next:")
    console.print("  your stream   cuttingroom clip URL --start T --end T -o OUT.mp4")
    console.print("  the service   cuttingroom up --data DIR --port 8080")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
