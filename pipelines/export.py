"""An export: ranges of one or several channels, joined into one file with what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import accumulate

from pipelines import clip, ffargs, interchange, joins, naming, sounds, spans, subtitles
from pipelines.clip import ClipFacts, Source
from pipelines.ffargs import Joint, LocalInput
from pipelines.interchange import Described, Part
from pipelines.joins import Planned
from pipelines.pauses import pause
from pipelines.rendition import RenditionFacts, design
from pipelines.subtitles import Texts, Written
from pipelines.xmp import xmp
from schemas.base import Value
from schemas.commands import CreateRenditions, ExportPart, ExportSegment
from schemas.connectors import ConnectorRef, Published
from schemas.cuts import (
    CutPlan,
    CutReport,
    CutRequest,
    DeliveredPart,
    FuturePolicy,
    GapPolicy,
    MediaIndex,
    Mode,
)
from schemas.errors import FormatChange, InvalidCommand
from schemas.media import MediaPlaylist
from schemas.plans import Cut, Fetch, Plan, Publish, RunFfmpeg, Step, WriteText
from schemas.results import ClipResult, Delivered, DeliveredFile, clip_result
from schemas.times import TimeRange, rfc3339

OUTPUT, ALIKE, MADE = "export.mp4", "alike.mkv", "rendition"


_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "mkv": "video/x-matroska"}


class Channel(Value):
    """A channel that parts are taken from, all within `span`; `prefix` begins its files' names.

    With a `file_id` it is a file, or a whole stream: `span` is of its own time. A `clip_file_id` is
    the clip it may be taken from.
    """

    connector: ConnectorRef
    channel_id: str
    prefix: str
    span: TimeRange
    file_id: str | None = None
    clip_file_id: str | None = None


class Wanted(Value):
    """One part as the gathering of its media sees it."""

    range: TimeRange
    mode: Mode
    gaps: GapPolicy
    on_future: FuturePolicy


class ExportFacts(Value):
    """What is known so far: of each channel, and of each part once everything is here.

    `alone` are the reports of what was cut: one, or one a part where the parts differ. `folder` is
    the workspace, which ffmpeg is told in full. `texts` are each channel's subtitles, where they
    are wanted, and `written` what was made of them.
    """

    job_id: str = ""
    channels: tuple[ClipFacts, ...] = ()
    requests: tuple[CutRequest, ...] = ()
    indexes: tuple[MediaIndex, ...] = ()
    report: CutReport | None = None
    alone: tuple[CutReport, ...] = ()
    folder: str = ""
    size: int = 0
    sha256: str = ""
    rendition: RenditionFacts = RenditionFacts()
    texts: tuple[Texts, ...] = ()
    written: tuple[Written, ...] = ()

    @property
    def cut(self) -> CutReport:
        """What was cut; only there once it was."""
        if self.report is None:
            raise InvalidCommand("the export is described before it was cut")
        return self.report


def channels(command: ExportSegment) -> tuple[Channel, ...]:
    """Every channel once, in the order in which the parts name them."""
    found: dict[str, Channel] = {}
    for part in command.parts:
        key = _key(part)
        if key in found:
            span = _spanned(found[key].span, part.range)
            found[key] = found[key].model_copy(update={"span": span})
            continue
        found[key] = Channel(
            connector=part.connector,
            channel_id=part.channel_id,
            prefix=f"c{len(found)}",
            span=part.range,
            file_id=part.file_id,
            clip_file_id=part.clip_file_id,
        )
    return tuple(found.values())


def _spanned(one: TimeRange, other: TimeRange) -> TimeRange:
    """From the start of the earlier range to the end of the later one."""
    return TimeRange(
        start_ms=min(one.start_ms, other.start_ms), end_ms=max(one.end_ms, other.end_ms)
    )


def _key(part: ExportPart | Channel) -> str:
    named = (part.channel_id, part.file_id or "", part.clip_file_id or "")
    return "\n".join((part.connector.model_dump_json(), *named))


def _of(command: ExportSegment) -> list[int]:
    """The number of each part's channel."""
    numbers = {_key(channel): number for number, channel in enumerate(channels(command))}
    return [numbers[_key(part)] for part in command.parts]


def wanted(command: ExportSegment) -> tuple[Wanted, ...]:
    """Every part as a range to fetch."""
    return tuple(
        Wanted(
            range=part.range,
            mode=_cut_mode(command),
            gaps=command.gaps,
            on_future=command.on_future,
        )
        for part in command.parts
    )


def wanted_sources(command: ExportSegment, found: Sequence[Source]) -> tuple[Source, ...]:
    """The playlists that hold sound which is wanted; the variant always."""
    languages = command.audio
    if languages is None:
        return tuple(found)
    return tuple(
        source
        for source in found
        if source.rendition is None or any(_is_called(source, language) for language in languages)
    )


def _is_called(source: Source, wanted: str) -> bool:
    rendition = source.rendition
    if rendition is None:
        return False
    return rendition.name.casefold() == wanted.casefold() or joins.same_language(
        rendition.language, wanted
    )


def fetch_plan(command: ExportSegment, facts: ExportFacts) -> Plan:
    """What is listed of any part and not here yet, each thing once."""
    steps: dict[str, Fetch] = {}
    of, known = _of(command), channels(command)
    for part, number in zip(wanted(command), of, strict=True):
        ref = known[number].connector
        for step in clip.fetch_plan(part, facts.channels[number]).steps:
            if isinstance(step, Fetch):
                through = None if ref == command.connector else ref
                before = steps.get(step.name)
                # What one part can do without another may not.
                optional = step.optional and (before is None or before.optional)
                steps[step.name] = step.model_copy(
                    update={"connector": through, "optional": optional}
                )
    return Plan(steps=(*steps.values(), *_text_fetches(command, facts)))


def _text_fetches(command: ExportSegment, facts: ExportFacts) -> tuple[Fetch, ...]:
    """What is listed of the subtitles of any part and not here yet."""
    known, steps = channels(command), dict[str, Fetch]()
    for part, number in _with_texts(command, facts):
        held, ref = facts.channels[number], known[number].connector
        for step in subtitles.fetches(facts.texts[number], part.range, _main(held), held.now_ms):
            through = None if ref == command.connector else ref
            if step.name not in held.sizes:
                steps[step.name] = step.model_copy(update={"connector": through})
    return tuple(steps.values())


def _with_texts(command: ExportSegment, facts: ExportFacts) -> list[tuple[ExportPart, int]]:
    """Every part with the number of its channel, where subtitles are wanted."""
    if not facts.texts:
        return []
    return list(zip(command.parts, _of(command), strict=True))


def _main(facts: ClipFacts) -> MediaPlaylist:
    return facts.readings[0].playlist


def look_again_ms(command: ExportSegment, facts: ExportFacts) -> int | None:
    """When to read the playlists again; None once all of every part is listed."""
    times = [
        clip.look_again_ms(part, facts.channels[number])
        for part, number in zip(wanted(command), _of(command), strict=True)
    ]
    if not any(time is not None for time in times):
        times = [
            subtitles.look_again_ms(
                facts.texts[number], part.range, _main(held := facts.channels[number]), held.now_ms
            )
            for part, number in _with_texts(command, facts)
        ]
    return min((time for time in times if time is not None), default=None)


def cut_requests(command: ExportSegment, facts: ExportFacts) -> tuple[CutRequest, ...]:
    """What to cut of each channel, one request a part."""
    return tuple(
        CutRequest(
            wanted=part.range,
            span_us=asked.span_us,
            mode=_cut_mode(command),
            gaps=command.gaps,
            tracks=clip.held_tracks(part, facts.channels[number]),
            output=OUTPUT,
        )
        for asked, part, number in zip(command.parts, wanted(command), _of(command), strict=True)
    )


def leaning(command: ExportSegment, facts: ExportFacts) -> ExportFacts:
    """The facts with one segment more before the parts of each channel that lean on one."""
    found = list(facts.channels)
    asked = zip(_of(command), facts.requests, facts.indexes, strict=True)
    for number, request, index in asked:
        if found[number] is facts.channels[number]:
            found[number] = clip.leaning(request, index, found[number])
    if all(one is before for one, before in zip(found, facts.channels, strict=True)):
        return facts
    return facts.model_copy(update={"channels": tuple(found)})


def _cut_mode(command: ExportSegment) -> Mode:
    """How the media is cut: where a recipe encodes all of it anyway, it is not encoded before."""
    return "exact" if command.recipe and command.mode == "encode" else command.mode


def cut_plan(command: ExportSegment, facts: ExportFacts) -> CutPlan:
    """All parts as one cut; where one must be re-encoded as a whole, all are."""
    planned = _agreed(command, facts)[1]
    whole = [each for number in range(len(planned)) for each in _paused(command, planned, number)]
    plan = joins.joined(whole, OUTPUT, tags(command))
    return sounds.as_aac(plan) if _cut_mode(command) == "encode" else plan


def _paused(command: ExportSegment, planned: Sequence[Planned], number: int) -> list[Planned]:
    """A part behind the pause before it, where there is one."""
    part, pause_us = planned[number], command.parts[number].pause_us
    if not pause_us:
        return [part]
    made = pause(pause_us, planned[number - 1] if number else None, part, command.gaps)
    return [part] if made is None else [made, part]


def _agreed(
    command: ExportSegment, facts: ExportFacts
) -> tuple[Sequence[CutRequest], list[Planned]]:
    """The requests as they are carried out when all parts become one cut, and their plans."""
    planned = _planned(command, facts.requests, facts.indexes)
    modes = {part.plan.mode for part in planned}
    if len(modes) == 1 or "encode" not in modes:
        return facts.requests, planned
    again = [r.model_copy(update={"mode": "encode"}) for r in facts.requests]
    return again, _planned(command, again, facts.indexes)


def _planned(
    command: ExportSegment, requests: Iterable[CutRequest], indexes: Iterable[MediaIndex]
) -> list[Planned]:
    return [
        Planned(
            joins.with_languages(spans.plan(request, index), command.audio),
            index,
            part.channel_id,
        )
        for part, request, index in zip(command.parts, requests, indexes, strict=True)
    ]


def plan_cut(command: ExportSegment, facts: ExportFacts) -> Plan:
    """The cut of what was indexed; parts that differ are cut one by one where a recipe follows."""
    if command.recipe is None or not differ(command, facts):
        return Plan(steps=(Cut(plan=cut_plan(command, facts)),))
    return Plan(steps=tuple(Cut(plan=plan) for plan in single_plans(command, facts)))


def single_plans(command: ExportSegment, facts: ExportFacts) -> tuple[CutPlan, ...]:
    """Every part as a cut of its own."""
    planned = _planned(command, facts.requests, facts.indexes)
    return tuple(
        joins.joined(_alone(command, part, number), part_name(number), {})
        for number, part in enumerate(planned)
    )


def _alone(command: ExportSegment, part: Planned, number: int) -> list[Planned]:
    """A part and the pause before it, which can hold none of another part's frames."""
    pause_us = command.parts[number].pause_us
    made = pause(pause_us, None, part, command.gaps) if pause_us else None
    return [part] if made is None else [made, part]


def part_name(number: int) -> str:
    """The file of a part that is cut alone."""
    return f"part-{number:03}.mp4"


def differ(command: ExportSegment, facts: ExportFacts) -> bool:
    """Whether the parts cannot be joined as they are."""
    try:
        cut_plan(command, facts)
    except FormatChange:
        return True
    return False


def tags(command: ExportSegment) -> dict[str, str]:
    """What is written into the file itself and told beside it: what the request says before what
    was known of its channels."""
    titled = {"title": command.title} if command.title else {}
    return command.carried.metadata | titled | command.metadata


# --- where it goes


def key(command: ExportSegment, job_id: str) -> str:
    """Where the file goes: the destination's template, filled in."""
    first, last = command.parts[0].range, command.parts[-1].range
    begin = datetime.fromtimestamp(first.start_ms / 1000, UTC)
    return naming.filled(
        command.destination.key,
        {
            "channel": command.channel_id,
            "date": begin.strftime("%Y-%m-%d"),
            "time": begin.strftime("%H%M%S"),
            "start": str(first.start_ms),
            "end": str(last.end_ms),
            "title": tags(command).get("title") or command.channel_id,
            "programme": command.programme_id or "none",
            "id": job_id,
        },
    )


# --- by a recipe


def as_rendition(command: ExportSegment) -> CreateRenditions:
    """The command that makes the rendition of the joined file."""
    if command.recipe is None:
        raise InvalidCommand("the export names no recipe")
    return CreateRenditions(
        tenant_id=command.tenant_id,
        requested_by=command.requested_by,
        connector=command.connector,
        file_id=OUTPUT,
        recipes=(command.recipe,),
        destination=command.destination,
    )


def alike_plan(command: ExportSegment, facts: ExportFacts) -> Plan:
    """Parts that were cut one by one become one file of one format, nothing lost."""
    if command.recipe is None or len(facts.alone) < 2:
        return Plan(steps=())
    joint = _joint(command, facts)
    sources = tuple(
        (
            LocalInput(path=f"{facts.folder}/{part_name(number)}", demuxer="mov"),
            report.duration_ms,
            any(track.kind == "audio" for track in report.tracks),
        )
        for number, report in enumerate(facts.alone)
    )
    if any(not report.frame_rate for report in facts.alone):
        raise FormatChange("ranges without pictures cannot be joined with others")
    argv = ffargs.joined(sources, ALIKE, joint)
    length_ms = sum(report.duration_ms for report in facts.alone)
    return Plan(steps=(RunFfmpeg(argv=argv, duration_ms=length_ms, encoders=("libx264", "flac")),))


def _joint(command: ExportSegment, facts: ExportFacts) -> Joint:
    """The largest picture among the parts, at the rate of the first."""
    found = [r.pictures for index in facts.indexes for r in index.runs if r.pictures]
    largest = max(found, key=lambda pictures: pictures.width * pictures.height)
    rate = facts.alone[0].frame_rate or Fraction(25)
    even = [
        side + side % 2 for side in (round(largest.width * (largest.aspect or 1)), largest.height)
    ]
    return Joint(width=even[0], height=even[1], rate=rate)


def merged(command: ExportSegment, alone: Sequence[CutReport]) -> CutReport:
    """The report of all parts, whether they were joined by the cut or after it."""
    if len(alone) == 1:
        return alone[0]
    first, last = alone[0], alone[-1]
    frames = list(accumulate((report.frames for report in alone), initial=0))
    wanted_ms = [part.range.length_ms for part in command.parts]
    covered = sum(r.coverage * ms for r, ms in zip(alone, wanted_ms, strict=True))
    return first.model_copy(
        update={
            "end_ms": last.end_ms,
            "last_pts": last.last_pts,
            "frames": frames[-1],
            "duration_ms": sum(report.duration_ms for report in alone),
            "clock": "estimated" if any(r.clock == "estimated" for r in alone) else "pdt",
            "coverage": round(covered / sum(wanted_ms), 6),
            "gaps": tuple(gap for report in alone for gap in report.gaps),
            "notes": tuple(dict.fromkeys(note for report in alone for note in report.notes)),
            "parts": tuple(
                part.model_copy(
                    update={"first_frame": at + part.first_frame, "channel_id": asked.channel_id}
                )
                for report, at, asked in zip(alone, frames, command.parts, strict=False)
                for part in report.parts
            ),
        }
    )


def noted(report: CutReport, facts: ExportFacts) -> CutReport:
    """The report with what was noted while the media came."""
    notes = dict.fromkeys(note for channel in facts.channels for note in channel.notes)
    return report.model_copy(update={"notes": (*notes, *report.notes)}) if notes else report


def encoded(command: ExportSegment, facts: ExportFacts, report: CutReport) -> CutReport:
    """The report of the rendition that was made of what was cut."""
    if command.recipe is None:
        return report
    note = f"encoded by the recipe {command.recipe.name!r}"
    made = design(as_rendition(command), facts.rendition)
    video = command.recipe.video
    tracks = tuple(
        track.model_copy(
            update={
                "codec": video.codec if track.kind == "video" and video else _sound_codec(command),
                "copied": False,
            }
        )
        for track in report.tracks
        if (video if track.kind == "video" else command.recipe.audio) is not None
    )
    rate = made.encoding.pictures[0].base.fps if made.encoding.pictures else None
    changed = rate is not None and rate != report.frame_rate
    frames = round(report.duration_ms * rate / 1000) if changed and rate else report.frames
    return report.model_copy(
        update={
            "mode": "encode",
            "reencoded_ms": report.duration_ms,
            "encoded_frames": frames,
            "copied_frames": 0,
            "frames": frames,
            "frame_rate": rate if changed else report.frame_rate,
            "tracks": tracks,
            "notes": (*report.notes, note, *made.notes, *made.rungs[0].notes),
        }
    )


def _sound_codec(command: ExportSegment) -> str:
    return command.recipe.audio.codec if command.recipe and command.recipe.audio else ""


def output_name(command: ExportSegment, facts: ExportFacts) -> str:
    """The file that is delivered, by its name in the workspace."""
    if command.recipe is None:
        return OUTPUT
    return design(as_rendition(command), facts.rendition).encoding.outputs[0].name


# --- what is published


def text_pieces(command: ExportSegment, facts: ExportFacts) -> tuple[subtitles.Piece, ...]:
    """Every range as its subtitles see it: what of it is shown, and where in the file."""
    found: list[subtitles.Piece] = []
    alone = facts.alone if len(facts.alone) > 1 else ()
    requests = facts.requests if alone else _agreed(command, facts)[0]
    begin = Fraction(0)
    for at, (part, number) in enumerate(_with_texts(command, facts)):
        shown, length = spans.shown(requests[at], facts.indexes[at])
        held, pause_s = facts.channels[number], Fraction(part.pause_us, 1_000_000)
        found.append(
            subtitles.Piece(shown, begin + pause_s, part.range, _main(held), facts.texts[number])
        )
        begin += Fraction(alone[at].duration_ms, 1000) if alone else pause_s + length
    return tuple(found)


def publish_plan(command: ExportSegment, facts: ExportFacts) -> Plan:
    """What stands beside the file is written and published, then the file itself.

    So whoever sees the file finds its sidecars there, and they tell of this very file.
    """
    name = output_name(command, facts)
    main = command.destination.model_copy(
        update={
            "key": key(command, facts.job_id),
            "content_type": _TYPES[name.rpartition(".")[2]],
        }
    )
    found = sidecars(command, facts)
    writes: list[Step] = [WriteText(name=each.name, text=each.text) for each in found]
    beside: list[Step] = [
        Publish(
            name=each.name,
            to=main.model_copy(
                update={"key": f"{_stem(main.key)}{each.ending}", "content_type": each.content_type}
            ),
            together=True,
        )
        for each in found
    ]
    last = Publish(name=name, to=main, together=bool(beside))
    return Plan(steps=(*writes, *beside, last))


def _stem(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot and "/" not in ending else name


# --- what stands beside it


class Beside(Value):
    """A sidecar: its name in the workspace, what it says, and how its key ends."""

    name: str
    text: str
    ending: str
    content_type: str


_WRITERS: dict[str, tuple[Callable[[Described], str], str]] = {
    "json": (interchange.as_json, "application/json"),
    "xmp": (xmp, "application/rdf+xml"),
    "otio": (interchange.otio, "application/json"),
    "edl": (interchange.edl, "text/plain"),
    "fcpxml": (interchange.fcpxml, "application/xml"),
}


def sidecars(command: ExportSegment, facts: ExportFacts) -> tuple[Beside, ...]:
    """Every sidecar that is wanted; none while nothing is cut that it could tell of."""
    if facts.report is None:
        return ()
    told = described(command, facts)
    found = []
    for kind in command.sidecars:
        if kind == "webvtt":
            found += _subtitles(facts)
        else:
            write, content_type = _WRITERS[kind]
            found.append(
                Beside(
                    name=f"sidecar.{kind}",
                    text=write(told),
                    ending=f".{kind}",
                    content_type=content_type,
                )
            )
    return tuple(found)


def _subtitles(facts: ExportFacts) -> list[Beside]:
    """One file a language."""
    return [
        Beside(
            name=f"sidecar.{number}.vtt",
            text=each.text,
            ending=each.ending,
            content_type="text/vtt",
        )
        for number, each in enumerate(facts.written)
    ]


def described(command: ExportSegment, facts: ExportFacts) -> Described:
    """The finished file, as its sidecars tell of it."""
    report, words = facts.cut, tags(command)
    # The title of a programme or project is told as the title alone.
    told = {**command.carried.metadata, **command.metadata}
    pictures = next((r.pictures for i in facts.indexes for r in i.runs if r.pictures), None)
    sound = next((r.sounds[0] for i in facts.indexes for r in i.runs if r.sounds), None)
    found = Described(
        title=words.get("title") or command.channel_id,
        file_name=key(command, facts.job_id).rpartition("/")[2],
        sha256=facts.sha256,
        size=facts.size,
        duration_ms=report.duration_ms,
        rate=report.frame_rate,
        frames=report.frames if report.frame_rate else report.duration_ms,
        width=pictures.width if pictures else None,
        height=pictures.height if pictures else None,
        sample_rate_hz=sound.sample_rate_hz if sound else None,
        start_timecode=report.start_timecode,
        parts=_parts(report),
        tracks=report.tracks,
        gaps=report.gaps,
        metadata={name: text for name, text in words.items() if name in told},
    )
    marked = interchange.marked(found, command.carried.markers)
    return found.model_copy(update={"markers": marked})


def _parts(report: CutReport) -> tuple[Part, ...]:
    """Every part in the file's own count: frames, or milliseconds of sound alone."""
    found, at = [], 0
    for part in report.parts:
        at = part.first_frame if report.frame_rate else at
        length = part.frames if report.frame_rate else part.end_ms - part.start_ms
        found.append(
            Part(
                channel=part.channel_id,
                first_frame=at,
                frames=length,
                start_ms=part.start_ms,
                end_ms=part.end_ms,
            )
        )
        at += length
    return tuple(found)


# --- the answer


def result(command: ExportSegment, report: CutReport, published: Sequence[Published]) -> ClipResult:
    """The answer of the contract."""
    *beside, main = published
    answer = clip_result(requested(command), report, main)
    return answer.model_copy(
        update={
            "delivered": _around(answer.delivered, report.parts),
            "parts": report.parts,
            "sidecars": tuple(_delivered(each) for each in beside),
            "notes": (*command.notes, *answer.notes),
        }
    )


def _around(delivered: Delivered, parts: Sequence[DeliveredPart]) -> Delivered:
    """Ranges come in the order they were asked for; their bounds are the earliest and latest."""
    if not parts:
        return delivered
    bounds = {
        "start_ms": min(part.start_ms for part in parts),
        "end_ms": max(part.end_ms for part in parts),
    }
    return delivered.model_copy(update=bounds)


def _delivered(published: Published) -> DeliveredFile:
    return DeliveredFile(
        destination=published.destination,
        key=published.key,
        url=published.url,
        size=published.size,
        sha256=published.sha256,
        duration_ms=0,
    )


def requested(command: ExportSegment) -> dict[str, object]:
    """What was asked, as it is echoed in the result."""
    return {
        "ranges": [_spoken(part) for part in command.parts],
        "mode": command.mode,
        "gaps": command.gaps,
        "onFuture": command.on_future,
        "programmeId": command.programme_id,
        "renditionId": command.rendition_id,
    }


def _spoken(part: ExportPart) -> Mapping[str, object]:
    if part.file_id is not None:
        return {
            "connectorId": part.connector.id,
            "fileId": part.file_id,
            "startMs": part.range.start_ms,
            "endMs": part.range.end_ms,
        }
    return {
        "connectorId": part.connector.id,
        "channelId": part.channel_id,
        "startMs": part.range.start_ms,
        "endMs": part.range.end_ms,
        "start": rfc3339(part.range.start_ms),
        "end": rfc3339(part.range.end_ms),
    }
