"""`cuttingroom export`: ranges of a stream joined into one file, in one process, with no server."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cli import moment
from cli.addresses import stream_type
from cli.clip import CHANNEL, TENANT, reaching, window_start_ms
from cli.inprocess import carried_out, failure
from cli.output import check_output, folder_of
from cli.render import recipes_of
from cli.show import show_result
from schemas.base import Value
from schemas.commands import ExportPart, ExportSegment, Sidecar
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.errors import Cancelled, InvalidCommand
from schemas.jobs import MAX_ATTEMPTS, Job
from schemas.profiles import Profile
from schemas.settings import Settings
from schemas.times import TimeRange
from workers import handlers
from workers.export import WORK
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime
from workers.world import World

QUEUE = "export"
_SUBTITLES = r"\.[A-Za-z0-9-]{1,40}(\.forced|\.sdh)?\.vtt"


class Asked(Value):
    """What somebody typed: each range as `FROM..TO`."""

    url: str
    ranges: tuple[str, ...]
    output: Path
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    audio: tuple[str, ...] | None = None
    metadata: dict[str, str] = {}
    sidecars: tuple[Sidecar, ...] = ()
    recipe: Profile | None = None
    force: bool = False


def run(asked: Asked, settings: Settings, err: Console, out: Console, *, as_json: bool) -> None:
    """Make the export and say what was delivered; raises what kept it from that."""
    job = make(asked, settings, err)
    if job.state == "cancelled":
        raise Cancelled("stopped; nothing was finished")
    if job.state != "succeeded" or job.result is None:
        raise failure(job, "the export")
    if as_json:
        out.print_json(data=job.result)
        return
    show_result(job.result, str(asked.output), out)
    for beside in job.result["sidecars"]:
        out.print(str(asked.output.parent / beside["key"]), markup=False)


def tags(typed: Sequence[str]) -> dict[str, str]:
    """What `NAME=TEXT` spells."""
    pairs = [text.partition("=") for text in typed]
    if any(not name or not mark for name, mark, _ in pairs):
        raise InvalidCommand("write a tag as NAME=TEXT")
    return {name: text for name, _, text in pairs}


def recipe_of(name: str | None) -> Profile | None:
    """The one recipe behind a name or a JSON file."""
    if name is None:
        return None
    (recipe, *others) = recipes_of([name])
    if others or recipe.packaging is not None:
        raise InvalidCommand("an export is one file: name a recipe without a ladder")
    return recipe


def make(asked: Asked, settings: Settings, err: Console, attempts: int = MAX_ATTEMPTS) -> Job:
    """The finished job of an export, whatever became of it."""
    _check_output(asked)
    with tempfile.TemporaryDirectory(prefix="cuttingroom-") as work:
        # Jailed children run under another uid: they must reach the workspace below.
        Path(work).chmod(0o711)
        made, world = handlers.build(reaching(settings, asked.url, work))
        world.media.start()
        world = replace(world, media_store=folder_of(asked.output, force=asked.force))
        command = _command(asked, world)
        if asked.force:
            _clear(asked)
        runtime = Runtime(
            ledger=LocalLedger(),
            works={QUEUE: WORK},
            handlers=made,
            world=world,
            work_dir=Path(work),
            owner="cli",
        )
        return carried_out(command, runtime, err, attempts)


def _clear(asked: Asked) -> None:
    """Remove what an earlier export left beside it; what is made anew replaces the old itself."""
    if "webvtt" in asked.sidecars:
        ours = re.compile(re.escape(asked.output.stem) + _SUBTITLES)
        for beside in asked.output.parent.glob("*.vtt"):
            if ours.fullmatch(beside.name):
                beside.unlink()


def _check_output(asked: Asked) -> None:
    check_output(asked.output, force=asked.force)
    if {"{", "}"} & set(asked.output.name):
        raise InvalidCommand("the name of the file holds a brace")


def _command(asked: Asked, world: World) -> ExportSegment:
    kind, config = stream_type(asked.url), {"url": asked.url}
    ref = ConnectorRef(id="cli", tenant_id=TENANT, type=kind, config=config)
    wanted = _ranges(asked.ranges, ref, world)
    return ExportSegment(
        tenant_id=TENANT,
        requested_by="cli",
        request={"url": asked.url, "ranges": list(asked.ranges)},
        connector=ref,
        channel_id=CHANNEL,
        parts=tuple(ExportPart(connector=ref, channel_id=CHANNEL, range=r) for r in wanted),
        mode=asked.mode,
        gaps=asked.gaps,
        on_future=asked.on_future,
        audio=asked.audio,
        metadata=asked.metadata,
        sidecars=asked.sidecars,
        title=asked.output.stem,
        recipe=asked.recipe,
        destination=Destination(key=asked.output.name),
    )


def _ranges(typed: Sequence[str], ref: ConnectorRef, world: World) -> list[TimeRange]:
    pairs = [_pair(text) for text in typed]
    if not pairs:
        raise InvalidCommand("name at least one --range FROM..TO")
    from_window = any(moment_.from_window_start for pair in pairs for moment_ in pair)
    start_ms = window_start_ms(ref, world) if from_window else 0
    return [moment.between(start, end, start_ms) for start, end in pairs]


def _pair(text: str) -> tuple[moment.Moment, moment.Moment]:
    start, dots, end = text.partition("..")
    if not dots:
        raise InvalidCommand(f"{text[:60]!r} is no range: write FROM..TO")
    return moment.parse(start.strip()), moment.parse(end.strip())
