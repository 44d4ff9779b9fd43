"""Renditions of files: what to gather for each phase of `pipelines.rendition`."""

from __future__ import annotations

from typing import Any

from media.jail import Jail
from media.pace import pace
from media.probe import probe, recognised
from pipelines import delivery, rendition, tonemap
from pipelines.loudness import loudness
from pipelines.rendition import Produced, RenditionFacts, Source
from schemas.commands import CreateRenditions
from schemas.connectors import Published
from schemas.media import MediaInfo
from schemas.plans import Plan
from workers.encoding import Examined
from workers.fetching import arrived
from workers.phases import Phase, Work
from workers.run import Run
from workers.world import world_of

_HEADER_BYTES = 256 * 1024
_TEXT_BYTES = 64 * 1024 * 1024


def nothing_new(command: CreateRenditions, facts: RenditionFacts, run: Run) -> RenditionFacts:
    """All facts are known."""
    return facts


def look_inside(command: CreateRenditions, facts: RenditionFacts, run: Run) -> RenditionFacts:
    """Probe what came, and read through all of its packets."""
    path, server = run.workspace / rendition.SOURCE, world_of(run).media
    jail = Jail(workspace=run.workspace)
    info = probe(server, path, jail=jail, control=run.check)
    paced = pace(server, path, jail=jail, control=run.check)
    _, demuxer = recognised(path)
    source = Source(path=str(path.absolute()), demuxer=demuxer, info=info, pace=paced)
    return facts.model_copy(update={"source": source})


def hear(command: CreateRenditions, facts: RenditionFacts, run: Run) -> RenditionFacts:
    """Read what the first pass measured."""
    heard = tuple(loudness(str(said)) for said in run.outcomes("measure"))
    return facts.model_copy(update={"heard": heard})


def plan_encode(command: CreateRenditions, facts: RenditionFacts) -> Plan:
    """The one run, and the table its HDR is mapped with."""
    video = facts.known.video
    transfer = None if video is None else video.color_transfer
    cube = tonemap.cube(transfer) if transfer in ("smpte2084", "arib-std-b67") else None
    return rendition.encode_plan(command, facts, cube)


def see(command: CreateRenditions, facts: RenditionFacts, run: Run) -> RenditionFacts:
    """Look at what was made: sizes, playlists, headers."""
    sizes = arrived(run.workspace)
    texts = {n: _text(run, n) for n in sizes if n.endswith((".m3u8", ".mpd"))}
    headers = {n: _head(run, n) for n in sizes if n.endswith(("-init.mp4", "-init.m4s"))}
    return facts.model_copy(
        update={"produced": Produced(sizes=sizes, texts=texts, headers=headers)}
    )


def accept(command: CreateRenditions, facts: RenditionFacts, run: Run) -> RenditionFacts:
    """Nothing is published that is not what a recipe names."""
    delivery.check_depth(command, facts, _examined(run))
    return facts


def result(command: CreateRenditions, facts: RenditionFacts, run: Run) -> dict[str, Any]:
    """The result of the contract."""
    published = tuple(o for o in run.outcomes("publish") if isinstance(o, Published))
    made = delivery.result(command, facts, _examined(run), published)
    return made.model_dump(mode="json", by_alias=True)


def _examined(run: Run) -> dict[str, MediaInfo]:
    return {o.name: o.info for o in run.outcomes("check") if isinstance(o, Examined)}


def _text(run: Run, name: str) -> str:
    with (run.workspace / name).open("rb") as file:
        return file.read(_TEXT_BYTES).decode("utf-8", "replace")


def _head(run: Run, name: str) -> bytes:
    with (run.workspace / name).open("rb") as file:
        return file.read(_HEADER_BYTES)


WORK: Work[CreateRenditions, RenditionFacts] = Work(
    command=CreateRenditions,
    begin=lambda _command: RenditionFacts(),
    phases=(
        Phase("read", "fetching", 15, nothing_new, rendition.read_plan),
        Phase("measure", "probing", 8, look_inside, rendition.measure_plan),
        Phase("encode", "encoding", 62, hear, plan_encode),
        Phase("check", "verifying", 5, see, delivery.check_plan),
        Phase("publish", "publishing", 10, accept, delivery.publish_plan),
    ),
    result=result,
)
