"""`cuttingroom clip`: the same engine in one process, with no server at all."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cli import moment
from cli.addresses import own_addresses, stream_type
from cli.inprocess import carried_out, failure
from cli.output import check_output, folder_of
from cli.show import show_result
from connectors.sealing import new_key
from pipelines import clip as pipeline
from schemas.base import Value
from schemas.commands import ClipFromStream
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.errors import Cancelled, InvalidCommand
from schemas.file_id import ClipFileId
from schemas.jobs import MAX_ATTEMPTS, Job
from schemas.media import MediaPlaylist
from schemas.settings import Settings
from schemas.times import TimeRange
from workers import handlers
from workers.clip import WORK
from workers.local_ledger import LocalLedger
from workers.playlists import Playlists
from workers.runtime import Runtime, epoch_ms
from workers.world import World

TENANT, QUEUE, CHANNEL = "local", "clip", "main"


class Asked(Value):
    """What somebody typed."""

    url: str
    start: str
    end: str
    output: Path
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    force: bool = False


def run(asked: Asked, settings: Settings, err: Console, out: Console, *, as_json: bool) -> None:
    """Make the clip and say what was delivered; raises what kept it from that."""
    job = make(asked, settings, err)
    if job.state == "cancelled":
        raise Cancelled("stopped; nothing was written")
    if job.state != "succeeded" or job.result is None:
        raise failure(job, "the clip")
    if as_json:
        out.print_json(data=job.result)
    else:
        show_result(job.result, str(asked.output), out)


def make(asked: Asked, settings: Settings, err: Console, attempts: int = MAX_ATTEMPTS) -> Job:
    """The finished job of a clip, whatever became of it."""
    check_output(asked.output, force=asked.force)
    with tempfile.TemporaryDirectory(prefix="cuttingroom-") as work:
        # Jailed children run under another uid: they must reach the workspace below.
        Path(work).chmod(0o711)
        made, world = handlers.build(reaching(settings, asked.url, work))
        world.media.start()
        world = replace(world, media_store=folder_of(asked.output, force=asked.force))
        command = _command(asked, world)
        runtime = Runtime(
            ledger=LocalLedger(),
            works={QUEUE: WORK},
            handlers=made,
            world=world,
            work_dir=Path(work),
            owner="cli",
        )
        return carried_out(command, runtime, err, attempts)


def reaching(settings: Settings, url: str, work: str) -> Settings:
    """The settings, with the typed host allowed: whoever types an address means it.

    What a playlist from elsewhere names is still judged.
    """
    own = own_addresses(url)
    update = {"allow_cidrs": (*settings.allow_cidrs, *own), "work_dir": work, "data_dir": work}
    # Nothing is sealed here, but a ring must have a key.
    return settings.model_copy(update=update | {"secret_keys": new_key()})


def _command(asked: Asked, world: World) -> ClipFromStream:
    kind, config = stream_type(asked.url), {"url": asked.url}
    ref = ConnectorRef(id="cli", tenant_id=TENANT, type=kind, config=config)
    wanted = _range(asked, ref, world)
    request = {"url": asked.url, "start": asked.start, "end": asked.end}
    name = asked.output.name
    clip_id = re.sub(r"[^A-Za-z0-9_-]", "-", asked.output.stem)[:64] or "clip"
    file_id = ClipFileId(channel_id=CHANNEL, range=wanted, clip_id=clip_id).canonical
    return ClipFromStream(
        tenant_id=TENANT,
        requested_by="cli",
        request=request,
        connector=ref,
        channel_id=CHANNEL,
        range=wanted,
        clip_id=clip_id,
        file_id=file_id,
        requested_file_id=file_id,
        mode=asked.mode,
        gaps=asked.gaps,
        on_future=asked.on_future,
        destination=Destination(key=name),
    )


def _range(asked: Asked, ref: ConnectorRef, world: World) -> TimeRange:
    start, end = moment.parse(asked.start), moment.parse(asked.end)
    if not (start.from_window_start or end.from_window_start):
        return moment.between(start, end, 0)
    return moment.between(start, end, window_start_ms(ref, world))


def window_start_ms(ref: ConnectorRef, world: World) -> int:
    """Where the held window of a typed address begins."""
    live = world.live(ref)
    # Where it begins is asked, not what it lists.
    anywhere = TimeRange(start_ms=0, end_ms=1)
    playlists = Playlists(live, epoch_ms(), lambda: None, anywhere)
    top = playlists.read(live.playlist_url(CHANNEL))
    if not isinstance(top, MediaPlaylist):
        source = pipeline.sources(top)[0]
        top = pipeline.checked_media(playlists.read(source.uri, source.variables))
    if top.held is None:
        raise InvalidCommand("the playlist lists no media yet, so it has no window to count from")
    return top.held.start_ms
