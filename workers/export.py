"""Exports of ranges of channels: what to gather for each phase of `pipelines.export`."""

from __future__ import annotations

import hashlib
from typing import Any

from pipelines import delivery, export, rendition
from pipelines.clip import ClipFacts, Source
from pipelines.export import ExportFacts
from pipelines.rendition import RenditionFacts
from pipelines.subtitles import Texts, files
from schemas.commands import CreateRenditions, ExportSegment
from schemas.connectors import Published
from schemas.cuts import CutReport
from schemas.plans import Plan
from workers import cutting, subtitles
from workers import rendition as rendering
from workers.clip import follow
from workers.fetching import arrived, fetch_through
from workers.own_time import follow_clip, follow_own_time
from workers.phases import Phase, Work
from workers.run import Run

NOTHING = Plan(steps=())


def read_playlists(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Read the playlists of every channel once more."""
    channels = export.channels(command)
    known = facts.channels or tuple(ClipFacts() for _ in channels)
    read = tuple(
        _look(command, channel, before, run)
        for channel, before in zip(channels, known, strict=True)
    )
    told = {"job_id": run.lease.job_id, "channels": read, "texts": _texts(command, facts, run)}
    return facts.model_copy(update=told)


def _texts(command: ExportSegment, facts: ExportFacts, run: Run) -> tuple[Texts, ...]:
    """Read the playlists of the subtitles once more, where they are wanted."""
    if "webvtt" not in command.sidecars:
        return ()
    channels = export.channels(command)
    known = facts.texts or tuple(Texts() for _ in channels)
    return tuple(
        # A file brings none that stand beside it.
        Texts(readings=()) if channel.file_id else subtitles.follow(channel, before, run)
        for channel, before in zip(channels, known, strict=True)
    )


def _look(
    command: ExportSegment, channel: export.Channel, before: ClipFacts, run: Run
) -> ClipFacts:
    """One more look at a channel; at a file, or at a stream as a whole, the only one."""

    def wanted(found: tuple[Source, ...]) -> tuple[Source, ...]:
        return export.wanted_sources(command, found)

    if channel.file_id is not None:
        return follow_own_time(channel, before, run, wanted)
    if channel.clip_file_id is not None and (held := follow_clip(channel, before, run)):
        return held
    ref, span = channel.connector, channel.span
    return follow(ref, channel.channel_id, before, run, span, channel.prefix, wanted)


def gather_index(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Index what has arrived of every part; what their first pictures lean on comes besides."""
    found = _arrived(facts, run)
    requests = export.cut_requests(command, found)
    indexes = tuple(cutting.index(request, run) for request in requests)
    known = found.model_copy(update={"requests": requests, "indexes": indexes})
    further = export.leaning(command, known)
    if further is not known:
        fetch_through(command.connector, export.fetch_plan(command, further).steps, run)
        if export.cut_requests(command, _arrived(further, run)) != requests:
            return gather_index(command, further, run)
    return known


def _arrived(facts: ExportFacts, run: Run) -> ExportFacts:
    """The facts with every file that is here."""
    sizes = arrived(run.workspace)
    channels = tuple(channel.model_copy(update={"sizes": sizes}) for channel in facts.channels)
    return facts.model_copy(update={"channels": channels})


def see_cut(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Take in what was cut."""
    alone = tuple(o for o in run.outcomes("cut") if isinstance(o, CutReport))
    if not alone:
        return facts  # a plan is printed: nothing was cut
    report = export.noted(export.merged(command, alone), facts)
    folder = str(run.workspace.absolute())
    return facts.model_copy(update={"alone": alone, "report": report, "folder": folder})


def look_inside(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Probe what the recipe is made of."""
    if command.recipe is None:
        return facts
    source = run.workspace / rendition.SOURCE
    source.unlink(missing_ok=True)
    source.hardlink_to(run.workspace / (export.ALIKE if len(facts.alone) > 1 else export.OUTPUT))
    return _seen(facts, rendering.look_inside(_rendition(command), facts.rendition, run))


def hear(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Read what the first pass over the sound measured."""
    if command.recipe is None:
        return facts
    return _seen(facts, rendering.hear(_rendition(command), facts.rendition, run))


def see(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Look at what the recipe made."""
    if command.recipe is None:
        return facts
    return _seen(facts, rendering.see(_rendition(command), facts.rendition, run))


def plan_measure(command: ExportSegment, facts: ExportFacts) -> Plan:
    """The first pass over the sound, where a recipe names a loudness."""
    if command.recipe is None:
        return NOTHING
    return rendition.measure_plan(_rendition(command), facts.rendition)


def plan_encode(command: ExportSegment, facts: ExportFacts) -> Plan:
    """The rendition, where a recipe is named."""
    if command.recipe is None:
        return NOTHING
    return rendering.plan_encode(_rendition(command), facts.rendition)


def plan_check(command: ExportSegment, facts: ExportFacts) -> Plan:
    """The rendition is probed at both ends."""
    if command.recipe is None:
        return NOTHING
    return delivery.check_plan(_rendition(command), facts.rendition)


def see_report(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Tell what was really made, measured and hashed."""
    if facts.report is None:
        return facts
    with (run.workspace / export.output_name(command, facts)).open("rb") as made:
        digest, size = hashlib.file_digest(made, "sha256"), made.tell()
    report = export.encoded(command, facts, facts.cut)
    if facts.texts:
        pieces = export.text_pieces(command, facts)
        written, notes = files(pieces, subtitles.documents(pieces, run))
        facts = facts.model_copy(update={"written": written})
        report = report.model_copy(update={"notes": (*report.notes, *notes)})
    told = {"report": report, "sha256": digest.hexdigest(), "size": size}
    return facts.model_copy(update=told)


def _seen(facts: ExportFacts, found: RenditionFacts) -> ExportFacts:
    return facts.model_copy(update={"rendition": found})


def _rendition(command: ExportSegment) -> CreateRenditions:
    return export.as_rendition(command)


def result(command: ExportSegment, facts: ExportFacts, run: Run) -> dict[str, Any]:
    """The result of the contract."""
    published = [o for o in run.outcomes("publish") if isinstance(o, Published)]
    answer = export.result(command, facts.cut, published)
    return answer.model_dump(mode="json", by_alias=True)


WORK: Work[ExportSegment, ExportFacts] = Work(
    command=ExportSegment,
    begin=lambda _command: ExportFacts(),
    phases=(
        Phase(
            "fetch",
            "fetching",
            45,
            read_playlists,
            export.fetch_plan,
            export.look_again_ms,
            beside=True,
        ),
        Phase("cut", "cutting", 35, gather_index, export.plan_cut),
        Phase("alike", "encoding", 2, see_cut, export.alike_plan),
        Phase("measure", "probing", 1, look_inside, plan_measure),
        Phase("encode", "encoding", 8, hear, plan_encode),
        Phase("check", "verifying", 1, see, plan_check),
        Phase("publish", "publishing", 8, see_report, export.publish_plan),
    ),
    result=result,
)
