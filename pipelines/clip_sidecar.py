"""What stands beside a clip of which something is known: an XMP packet with words and markers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pipelines import clip, interchange, joins, spans
from pipelines.clip import ClipFacts, CutFile
from pipelines.interchange import Described, Part
from pipelines.xmp import xmp
from schemas.commands import ClipFromStream
from schemas.connectors import Published
from schemas.cuts import CutReport
from schemas.errors import InvalidCommand
from schemas.metadata import NOTHING_CARRIED
from schemas.plans import Plan, Publish, WriteText
from schemas.results import ClipResult, DeliveredFile

SIDECAR = "clip.xmp"
CONTENT_TYPE = "application/rdf+xml"


def is_wanted(command: ClipFromStream) -> bool:
    """Whether anything was known of the clip or its channel when it was accepted."""
    return command.carried != NOTHING_CARRIED


def publish_plan(command: ClipFromStream, facts: ClipFacts) -> Plan:
    """The clip goes to its destination, after its packet where it has one."""
    made = facts.made
    if made is None:
        return clip.publish_plan(command)
    to = command.destination
    stem, dot, ending = to.key.rpartition(".")
    key = f"{stem if dot and '/' not in ending else to.key}.xmp"
    beside = to.model_copy(update={"key": key, "content_type": CONTENT_TYPE})
    return Plan(
        steps=(
            WriteText(name=SIDECAR, text=xmp(described(command, facts, made))),
            Publish(name=SIDECAR, to=beside, together=True),
            Publish(name=clip.OUTPUT, to=to, together=True),
        )
    )


def described(command: ClipFromStream, facts: ClipFacts, made: CutFile) -> Described:
    """The finished clip, as its packet tells of it."""
    report, words = made.report, command.carried.metadata | command.metadata
    runs = () if facts.index is None else facts.index.runs
    pictures = next((run.pictures for run in runs if run.pictures), None)
    sound = next((run.sounds[0] for run in runs if run.sounds), None)
    rate = report.frame_rate or _rate(facts)
    frames = report.frames if rate else report.duration_ms
    part = Part(
        channel=command.channel_id,
        first_frame=0,
        frames=frames,
        start_ms=report.start_ms,
        end_ms=report.end_ms,
    )
    found = Described(
        title=words.get("title") or command.clip_id,
        file_name=command.destination.key.rpartition("/")[2],
        sha256=made.sha256,
        size=made.size,
        duration_ms=report.duration_ms,
        rate=rate,
        frames=frames,
        width=pictures.width if pictures else None,
        height=pictures.height if pictures else None,
        sample_rate_hz=sound.sample_rate_hz if sound else None,
        start_timecode=report.start_timecode,
        parts=(part,),
        tracks=report.tracks,
        gaps=report.gaps,
        metadata=words,
    )
    marked = interchange.marked(found, command.carried.markers)
    return found.model_copy(update={"markers": marked})


def _rate(facts: ClipFacts) -> Fraction | None:
    """The usual distance of the pictures that were cut; None for sound alone."""
    if facts.request is None or facts.index is None:
        return None
    return joins.frame_rate(spans.plan(facts.request, facts.index))


def result(
    command: ClipFromStream, report: CutReport, published: Sequence[Published]
) -> ClipResult:
    """The answer of the contract; the clip was published last."""
    if not published:
        raise InvalidCommand("the clip is told of before it was published")
    *beside, main = published
    answer = clip.result(command, report, main)
    return answer.model_copy(update={"sidecars": tuple(_delivered(each) for each in beside)})


def _delivered(published: Published) -> DeliveredFile:
    return DeliveredFile(
        destination=published.destination,
        key=published.key,
        url=published.url,
        size=published.size,
        sha256=published.sha256,
        duration_ms=0,
    )
