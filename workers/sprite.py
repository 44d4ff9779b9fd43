"""Posters and sprites: what to gather for each phase of `pipelines.sprite`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.base import playlist_of
from media.jail import Jail
from media.pace import pace
from media.probe import probe
from media.sprite import take_pictures
from media.workspace import metered
from pipelines import clip, sprite, variants
from pipelines.sprite import SpriteFacts
from schemas.commands import MakeThumbnails
from schemas.connectors import Published
from schemas.errors import InvalidCommand
from schemas.media import MultivariantPlaylist
from schemas.plans import Plan, Step, TakePictures
from schemas.thumbnails import Pictures
from workers import cutting
from workers.fetching import MAX_JOB_BYTES, arrived
from workers.phases import Phase, Work
from workers.playlists import Playlists
from workers.run import Run
from workers.world import world_of


def find(command: MakeThumbnails, facts: SpriteFacts, run: Run) -> SpriteFacts:
    """Read the playlist of a channel's smallest variant; of a file nothing need be known."""
    if command.range is None:
        return facts
    if not command.channel_id:
        raise InvalidCommand("a range needs a channel")
    live = world_of(run).live(command.connector)
    now_ms = run.clock()
    url = playlist_of(live, command.channel_id, command.range)
    playlists = Playlists(live, now_ms, run.check, command.range)
    top = playlists.read(url)
    if isinstance(top, MultivariantPlaylist):
        small = variants.smallest(top)
        top = playlists.read(small.uri, top.variables)
    known = {"playlist": clip.checked_media(top), "now_ms": now_ms}
    return facts.model_copy(update={**known, "sizes": arrived(run.workspace)})


def plan_read(command: MakeThumbnails, facts: SpriteFacts) -> Plan:
    """The file, or the segments that hold a wanted time."""
    if command.range is None:
        return sprite.read_plan(command)
    return sprite.fetch_plan(command, facts)


def look(command: MakeThumbnails, facts: SpriteFacts, run: Run) -> SpriteFacts:
    """Probe the file, or index the segments."""
    if command.range is not None:
        known = facts.model_copy(update={"sizes": arrived(run.workspace)})
        request = sprite.cut_request(command, known)
        return known.model_copy(update={"request": request, "index": cutting.index(request, run)})
    path, server = run.workspace / sprite.SOURCE, world_of(run).media
    jail = Jail(workspace=run.workspace)
    info = sprite.checked(probe(server, path, jail=jail, control=run.check))
    video = sprite.video_of(info)
    lasts_ms = info.duration_ms
    if lasts_ms is None:
        tracks = pace(server, path, jail=jail, control=run.check).tracks
        lasts_ms = max((t.length_us // 1000 for t in tracks if t.index == video.index), default=0)
    return facts.model_copy(update={"info": info, "lasts_ms": lasts_ms})


def keep_taken(command: MakeThumbnails, facts: SpriteFacts, run: Run) -> SpriteFacts:
    """What was taken."""
    (taken,) = run.outcomes("take")
    return facts.model_copy(update={"pictures": taken})


def result(command: MakeThumbnails, facts: SpriteFacts, run: Run) -> dict[str, Any]:
    """The result of the contract."""
    published = [o for o in run.outcomes("publish") if isinstance(o, Published)]
    made = sprite.result(command, facts, published)
    return made.model_dump(mode="json", by_alias=True)


def take_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[Pictures]:
    """Carry out the steps that take pictures; each answers what it took."""
    return [_taken(step, run, report) for step in steps if isinstance(step, TakePictures)]


def _taken(step: TakePictures, run: Run, report: Callable[[float], None]) -> Pictures:
    return take_pictures(
        world_of(run).media,
        run.workspace,
        step,
        on_progress=cutting.shares(report),
        control=metered(run.workspace, run.check, MAX_JOB_BYTES),
    )


WORK: Work[MakeThumbnails, SpriteFacts] = Work(
    command=MakeThumbnails,
    begin=lambda _command: SpriteFacts(),
    phases=(
        Phase("read", "fetching", 40, find, plan_read),
        Phase("take", "encoding", 50, look, sprite.take_plan),
        Phase("publish", "publishing", 10, keep_taken, sprite.publish_plan),
    ),
    result=result,
)
