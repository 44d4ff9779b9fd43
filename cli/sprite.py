"""`cuttingroom sprite` and `cuttingroom poster`: in one process, with no server at all."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console

from cli import moment
from cli.addresses import stream_type
from cli.clip import CHANNEL, TENANT, reaching, window_start_ms
from cli.inprocess import carried_out, failure
from cli.output import check_output, folder_of
from schemas.base import Value
from schemas.commands import MakeThumbnails
from schemas.connectors import ConnectorRef, Destination
from schemas.errors import Cancelled, InvalidCommand
from schemas.jobs import MAX_ATTEMPTS, Job
from schemas.settings import Settings
from schemas.thumbnails import PictureFormat, Seek, ThumbnailKind
from schemas.times import TimeRange
from workers import handlers
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime
from workers.sprite import WORK
from workers.world import World

QUEUE = "sprite"


class Asked(Value):
    """What somebody typed: a file or an address; a stream also needs `start` and `end`.

    `at` counts from the first moment, or is an instant of a stream's wall clock. A poster's
    `output` is a file, a sprite's a folder.
    """

    source: str
    type: ThumbnailKind
    output: Path
    at: str = "0"
    every_s: float | None = None
    count: int | None = None
    width: int | None = None
    format: PictureFormat = "jpg"
    times: Seek = "exact"
    start: str | None = None
    end: str | None = None
    force: bool = False


def run(asked: Asked, settings: Settings, err: Console, out: Console, *, as_json: bool) -> None:
    """Make the pictures and say what they are; raises what kept it from that."""
    job = make(asked, settings, err)
    if job.state == "cancelled":
        raise Cancelled("stopped; nothing was finished")
    if job.state != "succeeded" or job.result is None:
        raise failure(job, f"the {asked.type}")
    if as_json:
        out.print_json(data=job.result)
    else:
        show(job.result, str(asked.output), out)


def show(made: dict[str, object], place: str, out: Console) -> None:
    """What was made, for people."""
    what = "picture" if made["pictures"] == 1 else "pictures"
    out.print(
        f"[bold]{place}[/bold]  {made['pictures']} {what} of {made['width']}x{made['height']}"
    )
    files = made["files"]
    if isinstance(files, list) and len(files) > 1:
        out.print(f"  {', '.join(str(file['name']) for file in files)}", markup=False)
    out.print(f"  largest distance from a wanted time {made['largestErrorMs']} ms")
    notes = made["notes"]
    for note in notes if isinstance(notes, list) else ():
        out.print(f"  note: {note}", markup=False)


def make(asked: Asked, settings: Settings, err: Console, attempts: int = MAX_ATTEMPTS) -> Job:
    """The finished job, whatever became of it."""
    _check_output(asked)
    with tempfile.TemporaryDirectory(prefix="cuttingroom-") as work:
        # Jailed children run under another uid: they must reach the workspace below.
        Path(work).chmod(0o711)
        made, world = handlers.build(_reaching(settings, asked, work))
        world.media.start()
        place = folder_of(asked.output, force=asked.force and asked.type == "poster")
        world = replace(world, media_store=place)
        command = _command(asked, world)
        if asked.force and asked.type == "sprite":
            _remove(asked.output)
        runtime = Runtime(
            ledger=LocalLedger(),
            works={QUEUE: WORK},
            handlers=made,
            world=world,
            work_dir=Path(work),
            owner="cli",
        )
        return carried_out(command, runtime, err, attempts)


def _check_output(asked: Asked) -> None:
    output = asked.output
    if asked.type == "poster":
        check_output(output, force=asked.force)
        return
    if not output.parent.is_dir():
        raise InvalidCommand(f"there is no folder {output.parent}")
    if output.exists() and not output.is_dir():
        raise InvalidCommand(f"{output} is a file, not a folder")
    if output.is_dir() and any(output.iterdir()) and not asked.force:
        raise InvalidCommand(f"{output} is there already; --force replaces it")


def _remove(output: Path) -> None:
    """What an earlier run left, and nothing else."""
    for old in (*output.glob("sprite-[0-9]*.*"), *output.glob("sprite.*")):
        old.unlink()


def _reaching(settings: Settings, asked: Asked, work: str) -> Settings:
    if "://" in asked.source:
        return reaching(settings, asked.source, work)
    folders = (*settings.local_folders, str(Path(asked.source).absolute().parent))
    return reaching(settings, "https://localhost", work).model_copy(
        update={"local_folders": folders, "allow_cidrs": settings.allow_cidrs}
    )


def _command(asked: Asked, world: World) -> MakeThumbnails:
    ref, file_id = _source(asked)
    streamed = ref.type in {"dash", "hls"}
    wanted = _range(asked, ref, world) if streamed else None
    return MakeThumbnails(
        tenant_id=TENANT,
        requested_by="cli",
        request={"source": file_id, "type": asked.type},
        priority="background",
        connector=ref,
        file_id=file_id,
        channel_id=CHANNEL if wanted else "",
        range=wanted,
        type=asked.type,
        at_ms=0 if wanted else _at_ms(asked),
        every_ms=None if asked.every_s is None else round(asked.every_s * 1000),
        count=asked.count,
        width=asked.width,
        format=asked.format,
        times=asked.times,
        destination=Destination(key=asked.output.name),
    )


def _source(asked: Asked) -> tuple[ConnectorRef, str]:
    if "://" not in asked.source:
        path = Path(asked.source).absolute()
        if not path.is_file():
            raise InvalidCommand(f"there is no file {path}")
        config = {"folder": str(path.parent)}
        return ConnectorRef(id="cli", tenant_id=TENANT, type="local", config=config), path.name
    parts = urlsplit(asked.source)
    kind = stream_type(asked.source)
    streamed = kind == "dash" or parts.path.lower().endswith((".m3u8", ".m3u"))
    if streamed or asked.start or asked.end:
        config = {"url": asked.source}
        return ConnectorRef(id="cli", tenant_id=TENANT, type=kind, config=config), CHANNEL
    folder, _, name = parts.path.rpartition("/")
    if parts.query:
        raise InvalidCommand("a file's address with a query is not read here; fetch it first")
    config = {"base_url": f"{parts.scheme}://{parts.netloc}{folder}"}
    return ConnectorRef(id="cli", tenant_id=TENANT, type="http", config=config), unquote(name)


def _at_ms(asked: Asked) -> int:
    at = moment.parse(asked.at)
    if not at.from_window_start:
        raise InvalidCommand("a file has no wall clock: give seconds, or MM:SS")
    return at.ms


def _range(asked: Asked, ref: ConnectorRef, world: World) -> TimeRange:
    """The range typed; of a poster its one moment."""
    if asked.type == "poster":
        at = moment.parse(asked.at)
        at_ms = at.resolved(window_start_ms(ref, world) if at.from_window_start else 0)
        return TimeRange(start_ms=at_ms, end_ms=at_ms + 1)
    if asked.start is None or asked.end is None:
        raise InvalidCommand("of a stream, give --start and --end")
    start, end = moment.parse(asked.start), moment.parse(asked.end)
    begin = window_start_ms(ref, world) if start.from_window_start or end.from_window_start else 0
    return moment.between(start, end, begin)
