"""Posters and sprites: which pictures to take of what, how they lie, and what is said of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import floor

from pipelines import locate, webvtt, window
from pipelines.localize import file_digest
from pipelines.pictures import Pictures as RunPictures
from pipelines.pictures import pictures_of
from pipelines.shapes import shown_size
from schemas.base import Value
from schemas.commands import MakeThumbnails
from schemas.connectors import Destination, Published
from schemas.cuts import CutRequest, MediaIndex
from schemas.errors import (
    CorruptMedia,
    InFuture,
    InvalidCommand,
    MissingSegments,
    TooLarge,
    UnsupportedMedia,
)
from schemas.media import MediaInfo, MediaPlaylist, Segment, StreamInfo
from schemas.plans import Plan, Publish, ReadFile, Step, TakePictures, WriteText
from schemas.thumbnails import (
    MAX_PICTURES,
    MAX_SPRITE_WIDTH,
    Cue,
    Grid,
    Pictures,
    PictureSource,
    PublishedPicture,
    Storyboard,
    ThumbnailResult,
    Wanted,
)
from schemas.times import TimeRange

SOURCE, POSTER, SPRITE = "source", "poster", "sprite"
DEFAULT_WIDTH, MOST_POSTER_SIDE = 160, 4096
DEFAULT_PICTURES, LEAST_STEP_MS = 100, 1_000
# A sheet stays below what phones decode well, and below a hundred pictures.
MOST_SHEET_SIDE, MOST_COLUMNS = 4096, 10
POSTER_QUALITY, SPRITE_QUALITY = 85, 75
# Media that lasts longer than its container says ends with its last picture.
END_SLACK_MS = 1_000
CONTENT_TYPES = {
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "vtt": "text/vtt",
    "json": "application/json",
}


class Base(Value):
    """Where zero of a source lies on the timeline of the storyboard."""

    number: int
    base_us: int


class SpriteFacts(Value):
    """What is known so far; `playlist` only of a live range, `info` only of a file."""

    playlist: MediaPlaylist | None = None
    now_ms: int = 0
    sizes: dict[str, int] = {}
    info: MediaInfo | None = None
    lasts_ms: int | None = None
    request: CutRequest | None = None
    index: MediaIndex | None = None
    pictures: Pictures | None = None


def folder(tenant_id: str, fingerprint: str, file_id: str) -> str:
    """The folder of all pictures of one file in the media store."""
    return f"thumbs/{tenant_id}/{fingerprint}/{file_digest(file_id)}"


# --- which times


def times(command: MakeThumbnails, duration_ms: int) -> tuple[int, ...]:
    """The wanted times in milliseconds from the first moment, in order."""
    if command.type == "poster":
        if command.at_ms > duration_ms + END_SLACK_MS:
            raise InvalidCommand(f"there are {duration_ms} ms of it; none at {command.at_ms}")
        return (command.at_ms,)
    if command.count is not None:
        return tuple(dict.fromkeys(n * duration_ms // command.count for n in range(command.count)))
    every_ms = command.every_ms or max(LEAST_STEP_MS, -(-duration_ms // DEFAULT_PICTURES))
    if duration_ms // every_ms >= MAX_PICTURES:
        raise TooLarge(f"a picture every {every_ms} ms makes over {MAX_PICTURES} pictures")
    return tuple(range(0, max(1, duration_ms), every_ms))


def grid(command: MakeThumbnails, size: tuple[Fraction, Fraction], pictures: int) -> Grid:
    """How the pictures lie: as many columns as rows, within what every decoder takes."""
    width, height = _tile(command, size)
    if command.type == "poster":
        return Grid(columns=1, rows=1, width=width, height=height)
    columns = max(1, min(MOST_COLUMNS, MOST_SHEET_SIDE // width, pictures))
    rows = max(1, min(MOST_COLUMNS, MOST_SHEET_SIDE // height))
    return Grid(columns=columns, rows=rows, width=width, height=height)


def _tile(command: MakeThumbnails, size: tuple[Fraction, Fraction]) -> tuple[int, int]:
    across, down = size
    if command.type == "sprite":
        width = Fraction(min(command.width or DEFAULT_WIDTH, MAX_SPRITE_WIDTH))
    else:
        width = Fraction(command.width or across)
    factor = min(width / across, MOST_POSTER_SIDE / across, MOST_POSTER_SIDE / down)
    return max(2, round(across * factor)), max(2, round(down * factor))


# --- of files


def read_plan(command: MakeThumbnails) -> Plan:
    """The file comes into the workspace."""
    step = ReadFile(file_id=command.file_id, name=SOURCE, stored_key=command.stored_key)
    return Plan(steps=(step,))


def video_of(info: MediaInfo) -> StreamInfo:
    """The stream pictures are taken of; refused where there is none."""
    videos = [s for s in info.streams if s.kind == "video" and s.width and s.height]
    if not videos:
        raise UnsupportedMedia("it holds no video, so there is no picture to take")
    return max(videos, key=lambda s: (s.default, -s.index))


def checked(info: MediaInfo) -> MediaInfo:
    """What the file holds; refused where it was cut off."""
    if info.lacking_bytes:
        raise CorruptMedia(f"the file is cut off: {info.lacking_bytes} bytes are not there")
    return info


def duration_ms(command: MakeThumbnails, facts: SpriteFacts) -> int:
    """How long the media is: the range, or what the file says, or was found reading it."""
    if command.range is not None:
        return command.range.length_ms
    if facts.lasts_ms is None:
        raise InvalidCommand("pictures are planned before anything was looked at")
    return facts.lasts_ms


# --- of channels


def fetch_plan(command: MakeThumbnails, facts: SpriteFacts) -> Plan:
    """The segments that hold a wanted time and are not here yet."""
    located = _located(command, facts)
    fetches = tuple(f for f in located.fetches if f.name not in facts.sizes)
    return Plan(steps=fetches)


def cut_request(command: MakeThumbnails, facts: SpriteFacts) -> CutRequest:
    """What to index; raises MissingSegments where nothing of the range arrived."""
    track = locate.held(_located(command, facts), facts.sizes)
    wanted = _range(command)
    if not any(segment.name for segment in track.segments):
        whole = (wanted.start_ms, wanted.end_ms)
        raise MissingSegments("no media of the wanted times could be fetched", gaps=(whole,))
    return CutRequest(wanted=wanted, gaps="skip", tracks=(track,), output="none.mp4")


def _range(command: MakeThumbnails) -> TimeRange:
    if command.range is None:
        raise InvalidCommand("only pictures of a channel have a range")
    return command.range


def _located(command: MakeThumbnails, facts: SpriteFacts) -> locate.Located:
    if facts.playlist is None:
        raise InvalidCommand("segments are chosen before the playlist was read")
    wanted = _range(command)
    selection = window.select(facts.playlist, wanted, facts.now_ms * 1000)
    if selection.pending_from_ms is not None:
        raise InFuture(
            f"the range ends at {wanted.end_ms}; broadcast so far up to {selection.pending_from_ms}"
        )
    at_ms = times(command, wanted.length_ms)
    return locate.located(
        holding(selection, [1000 * (wanted.start_ms + at) for at in at_ms]), gaps="skip"
    )


def holding(selection: window.Selection, at_us: Sequence[int]) -> window.Selection:
    """The part of a selection whose segments hold one of the times, in wall clock.

    An open GOP may store the pictures of a segment's last moments in the segment after it.
    """
    lead_us = window.VIDEO.tail_us
    segments = tuple(s for s in selection.segments if _holds(s, at_us, lead_us))
    extras = tuple(s for s in selection.extras if _holds(s, at_us, lead_us))
    kept = {id(s) for s in (*segments, *extras)}
    dated = {s.discontinuity_sequence for s in segments if s.pdt_us is not None and not s.gap}
    anchors = {s.discontinuity_sequence: s for s in selection.anchors}
    for one in selection.segments:
        region = one.discontinuity_sequence
        if one.pdt_us is not None and not one.gap and region not in dated and id(one) not in kept:
            anchors.setdefault(region, one)
    used = {s.discontinuity_sequence for s in segments}
    return selection.model_copy(
        update={
            "segments": segments,
            "extras": extras,
            "anchors": tuple(anchors[region] for region in sorted(used & set(anchors))),
        }
    )


def _holds(segment: Segment, at_us: Sequence[int], lead_us: int) -> bool:
    after = bisect_left(at_us, segment.start_us - lead_us)
    return after < len(at_us) and at_us[after] < segment.end_us + window.FRAME_US


def _live_runs(facts: SpriteFacts) -> list[RunPictures]:
    index = facts.index
    if index is None:
        raise InvalidCommand("pictures are planned before anything was indexed")
    found = [
        pictures_of(number, run, index)
        for number, run in enumerate(index.runs)
        if run.pictures is not None
    ]
    shown = [pictures for pictures in found if pictures.shown]
    if not shown:
        raise UnsupportedMedia("the range holds no video, so there is no picture to take")
    return shown


def _live_sources(
    command: MakeThumbnails, facts: SpriteFacts
) -> tuple[tuple[PictureSource, ...], tuple[Base, ...]]:
    """Each wanted time's segments, and where their own zero lies on the range's timeline."""
    start_us = _range(command).start_ms * 1000
    runs = _live_runs(facts)
    grouped: dict[tuple[str, ...], list[Wanted]] = {}
    bases: list[Base] = []
    for number, at_ms in enumerate(times(command, _range(command).length_ms)):
        wall_us = start_us + at_ms * 1000
        run = next((r for r in runs if _on_screen(r, wall_us)), None)
        if run is None:
            continue
        names, base_pts, pts = _place(run, wall_us)
        timebase = run.clock.timebase
        at_us = round((pts - base_pts) * timebase * 1_000_000)
        grouped.setdefault(names, []).append(Wanted(number=number, at_us=at_us))
        base_us = round(run.clock.at(pts)) - at_us - start_us
        bases.append(Base(number=number, base_us=base_us))
    if not bases:
        raise MissingSegments("no media is held at the wanted times", gaps=())
    sources = (
        PictureSource(names=names, joined=True, wanted=tuple(wanted))
        for names, wanted in grouped.items()
    )
    return tuple(sources), tuple(bases)


def _on_screen(run: RunPictures, wall_us: int) -> bool:
    last = run.clock.at(run.end_of(run.shown[-1]))
    return run.clock.at(run.shown[0]) <= wall_us + window.INSTANT_US and wall_us < last


def _place(run: RunPictures, wall_us: int) -> tuple[tuple[str, ...], int, int]:
    """The files to open for a time, the PTS of their first keyframe, and that of the picture."""
    latest_s = run.clock.seconds_at(Fraction(wall_us + window.INSTANT_US))
    shown = bisect_right(run.shown, floor(latest_s / run.clock.timebase))
    pts = run.shown[max(0, shown - 1)]
    packet = run.pts.index(pts)
    last = run.place(packet).segment
    key = max(k for k in run.keys if k <= packet and run.pts[k] <= pts)
    first = run.place(key).segment
    segments = run.run.segments
    inits = [segments[first].init_name] if segments[first].init_name else []
    names = (*inits, *(segment.name for segment in segments[first : last + 1]))
    entry = segments[first]
    return tuple(n for n in names if n), entry.pts[entry.keys[0]], pts


# --- the step


def take_plan(command: MakeThumbnails, facts: SpriteFacts) -> Plan:
    """The one step that takes all pictures."""
    lasts_ms = duration_ms(command, facts)
    at_ms = times(command, lasts_ms)
    is_poster = command.type == "poster"
    return Plan(
        steps=(
            TakePictures(
                sources=_sources(command, facts, at_ms),
                seek=command.times,
                grid=grid(command, _shown(command, facts), len(at_ms)),
                format=command.format,
                quality=POSTER_QUALITY if is_poster else SPRITE_QUALITY,
                sheets=POSTER if is_poster else SPRITE + "-{number:03d}",
                span_ms=lasts_ms,
            ),
        )
    )


def _sources(
    command: MakeThumbnails, facts: SpriteFacts, at_ms: Sequence[int]
) -> tuple[PictureSource, ...]:
    if command.range is not None:
        return _live_sources(command, facts)[0]
    wanted = tuple(Wanted(number=n, at_us=at * 1000) for n, at in enumerate(at_ms))
    return (PictureSource(names=(SOURCE,), wanted=wanted),)


def _shown(command: MakeThumbnails, facts: SpriteFacts) -> tuple[Fraction, Fraction]:
    if command.range is None:
        if facts.info is None:
            raise InvalidCommand("pictures are planned before anything was looked at")
        return shown_size(video_of(facts.info), turned=True)
    found = _live_runs(facts)[0].run.pictures
    if found is None:
        raise UnsupportedMedia("the range holds no video, so there is no picture to take")
    return Fraction(found.width) * (found.aspect or 1), Fraction(found.height)


# --- what came out


def storyboard(command: MakeThumbnails, facts: SpriteFacts) -> Storyboard:
    """The cues of what was taken: each lasts until the next, the first from zero, the last to
    the end."""
    pictures, lasts_ms = _taken(facts), duration_ms(command, facts)
    wanted = times(command, lasts_ms)
    tiles = grid(command, _shown(command, facts), len(wanted))
    at_ms = true_times(command, facts)
    exact = command.times == "exact"
    starts = [
        0 if number == 0 else wanted[shot.number] if exact else max(0, at_ms[number])
        for number, shot in enumerate(pictures.shots)
    ]
    cues = tuple(
        _cue(tiles, number, (start, end), at)
        for number, (start, end, at) in enumerate(
            zip(starts, (*starts[1:], max(lasts_ms, starts[-1] + 1)), at_ms, strict=True)
        )
    )
    return Storyboard(
        duration_ms=lasts_ms,
        start_ms=None if command.range is None else command.range.start_ms,
        times=command.times,
        tile_width=tiles.width,
        tile_height=tiles.height,
        columns=tiles.columns,
        rows=tiles.rows,
        sheets=pictures.sheets,
        cues=cues,
    )


def true_times(command: MakeThumbnails, facts: SpriteFacts) -> tuple[int, ...]:
    """The own time of every picture, on the timeline of the storyboard, in milliseconds."""
    bases = (
        {base.number: base.base_us for base in _live_sources(command, facts)[1]}
        if command.range is not None
        else {}
    )
    return tuple(
        round(Fraction(shot.at_us + bases.get(shot.number, 0), 1000))
        for shot in _taken(facts).shots
    )


def _taken(facts: SpriteFacts) -> Pictures:
    if facts.pictures is None or not facts.pictures.shots:
        raise InvalidCommand("nothing was taken yet")
    return facts.pictures


def _cue(tiles: Grid, number: int, span: tuple[int, int], at_ms: int) -> Cue:
    sheet, x, y = tiles.place(number)
    return Cue(
        start_ms=span[0],
        end_ms=span[1],
        at_ms=at_ms,
        sheet=sheet,
        x=x,
        y=y,
        w=tiles.width,
        h=tiles.height,
    )


def publish_plan(command: MakeThumbnails, facts: SpriteFacts) -> Plan:
    """Everything goes to its destination; of a sprite, what names the sheets comes last."""
    sheets = _taken(facts).sheets
    if command.type == "poster":
        return Plan(steps=(_publish(command, sheets[0], command.destination.key),))
    board = storyboard(command, facts)
    texts = (
        WriteText(name=f"{SPRITE}.vtt", text=webvtt.storyboard(board, lambda n: sheets[n])),
        WriteText(name=f"{SPRITE}.json", text=board.model_dump_json(by_alias=True)),
    )
    names = (*sheets, *(text.name for text in texts))
    key = command.destination.key.rstrip("/")
    files = (_publish(command, name, f"{key}/{name}") for name in names)
    steps: list[Step] = [*texts, *(f.model_copy(update={"together": True}) for f in files)]
    return Plan(steps=tuple(steps))


def _publish(command: MakeThumbnails, name: str, key: str) -> Publish:
    to = Destination(
        connector=command.destination.connector,
        key=key,
        content_type=CONTENT_TYPES[name.rpartition(".")[2]],
    )
    return Publish(name=name, to=to)


def result(
    command: MakeThumbnails, facts: SpriteFacts, published: Sequence[Published]
) -> ThumbnailResult:
    """The answer of the contract."""
    lasts_ms, at_ms = duration_ms(command, facts), true_times(command, facts)
    wanted = times(command, lasts_ms)
    shots = _taken(facts).shots
    tiles = grid(command, _shown(command, facts), len(wanted))
    missing = len(wanted) - len(shots) if command.times == "exact" else 0
    return ThumbnailResult(
        type=command.type,
        destination=published[0].destination,
        files=tuple(
            PublishedPicture(
                name=p.key.rpartition("/")[2], key=p.key, url=p.url, size=p.size, sha256=p.sha256
            )
            for p in published
        ),
        duration_ms=lasts_ms,
        pictures=len(shots),
        width=tiles.width,
        height=tiles.height,
        at_ms=at_ms[0] if command.type == "poster" else None,
        largest_error_ms=max(
            abs(at - wanted[shot.number]) for at, shot in zip(at_ms, shots, strict=True)
        ),
        notes=(f"{missing} of the wanted times hold no picture",) if missing else (),
    )
