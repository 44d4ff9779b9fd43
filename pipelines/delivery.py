"""What a rendition run made: checked against the design, named, and told as the job's result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from pipelines import dash_reader, hls_writer, rates
from pipelines.codec_names import codec_names
from pipelines.ffargs import Output, Sound
from pipelines.hls_writer import LadderTrack, TextTrack
from pipelines.rendition import (
    MAX_TEXTS,
    Design,
    Produced,
    RenditionFacts,
    Rung,
    Source,
    design,
    sidecar_name,
)
from schemas.base import Value
from schemas.commands import CreateRenditions
from schemas.connectors import Destination, Published
from schemas.errors import CorruptMedia, DestinationRejected, UnsupportedMedia
from schemas.media import MediaInfo, StreamInfo
from schemas.plans import Plan, Probe, Publish, Step, WriteText
from schemas.renditions import MadeAudio, MadeRendition, MadeVideo, RenditionResult
from schemas.results import DeliveredFile

MASTER, MANIFEST = "master.m3u8", "manifest.mpd"
# A frame of sound before the start, one cut at the end, one of padding.
_SOUND_SLACK_US = 75_000
_TYPES = {
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".vtt": "text/vtt",
}
_SHALLOW = "this ffmpeg's encoder makes 8 bits only, so the picture has fewer than the source's"
_RANGES = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
_SIDECARS = frozenset(sidecar_name(number) for number in range(MAX_TEXTS))
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Item(Value):
    """One file to publish: where it lies, and under which key it shall."""

    name: str
    key: str
    is_manifest: bool = False
    is_part: bool = False


def check_plan(command: CreateRenditions, facts: RenditionFacts) -> Plan:
    """Every file is probed at both ends; every ladder is read by our own readers."""
    made, produced = design(command, facts), facts.made
    steps: list[Step] = []
    for number, output in enumerate(made.encoding.outputs):
        rungs = [rung for rung in made.rungs if rung.output == number]
        match output.form:
            case "file":
                steps.append(_probe_file(output, rungs[0], made, facts))
            case "hls":
                texts = _texts(produced, facts.known, _place(command, made)[1])
                steps += _hls_steps(output, made, rungs, facts, texts if output.pictures else [])
            case "dash":
                steps += _dash_steps(output, rungs, made, facts, produced)
    return Plan(steps=tuple(steps))


def check_depth(
    command: CreateRenditions, facts: RenditionFacts, examined: Mapping[str, MediaInfo]
) -> None:
    """Refuse fewer bits than a recipe names: an encoder built without them says nothing."""
    made = design(command, facts)
    for rung in made.rungs:
        wanted = rung.recipe.video
        if wanted is not None and wanted.bit_depth == 10 and _is_shallow(rung, made, examined):
            raise UnsupportedMedia(
                f"this ffmpeg's {wanted.codec} encoder makes 8 bits only; install a fuller build"
            )


def _is_shallow(rung: Rung, made: Design, examined: Mapping[str, MediaInfo]) -> bool:
    """Whether 10 bits were meant and 8 came out."""
    if rung.picture is None or made.encoding.pictures[rung.picture].pixel_format == "yuv420p":
        return False
    output = made.encoding.outputs[rung.output]
    name = output.name if output.form == "file" else _checked(output, rung.label)
    streams = [s for s in examined[name].streams if s.kind == "video"]
    return any("10" not in (stream.pixel_format or "") for stream in streams)


def publish_plan(command: CreateRenditions, facts: RenditionFacts) -> Plan:
    """Every file goes to its key, each manifest after everything it names.

    Encoders do not make the same bytes twice: a ladder is all of one attempt.
    """
    made = design(command, facts)
    return Plan(
        steps=tuple(
            Publish(
                name=item.name,
                to=Destination(
                    connector=command.destination.connector,
                    key=item.key,
                    content_type=_type_of(item.name),
                ),
                together=item.is_part or item.is_manifest,
            )
            for item in items(command, made, facts)
        )
    )


def items(command: CreateRenditions, made: Design, facts: RenditionFacts) -> tuple[Item, ...]:
    """What is published, in order."""
    produced, (folder, own_name) = facts.made, _place(command, made)
    texts = _texts(produced, facts.known, own_name)
    files: list[Item] = []
    manifests: list[Item] = []
    taken: set[str] = set()
    for number, output in enumerate(made.encoding.outputs):
        if output.form == "file":
            recipe = next(r.recipe for r in made.rungs if r.output == number)
            name = own_name or _unused(f"{_safe(recipe.name)}.{output.container}", taken)
            files.append(Item(name=output.name, key=_joined(folder, name)))
            continue
        parts = _parts(output, produced)
        files += [Item(name=part, key=_joined(folder, part), is_part=True) for part in parts]
        if output.form == "hls" and output.pictures:
            files += [_text_item(number, folder) for number in range(len(texts))]
        name = own_name or (MASTER if output.form == "hls" else MANIFEST)
        held = MASTER if output.form == "hls" else output.name
        manifests.append(Item(name=held, key=_joined(folder, name), is_manifest=True))
    beside = [Item(name=held, key=_joined(folder, name)) for held, name, _ in texts]
    return (*beside, *files, *manifests)


def _text_item(number: int, folder: str) -> Item:
    name = _text_playlist(number)
    return Item(name=name, key=_joined(folder, name), is_part=True)


def _texts(
    produced: Produced, source: Source, own_name: str | None
) -> list[tuple[str, str, StreamInfo]]:
    """Every file of subtitles: its name here, its name there, and the track it was made of."""
    stem = own_name.rpartition(".")[0] if own_name else "subtitles"
    there = [n for n in range(MAX_TEXTS) if sidecar_name(n) in produced.sizes]
    taken: set[str] = set()
    found = []
    for number, stream in zip(there, source.texts, strict=False):
        language = f".{_safe(stream.language)}" if len(there) > 1 and stream.language else ""
        name = _unused(f"{stem}{language}.vtt", taken)
        found.append((sidecar_name(number), name, stream))
    return found


def result(
    command: CreateRenditions,
    facts: RenditionFacts,
    examined: Mapping[str, MediaInfo],
    published: tuple[Published, ...],
) -> RenditionResult:
    """The answer: every recipe's outcome and every file as it was read back."""
    made = design(command, facts)
    listed = items(command, made, facts)
    by_name = {item.name: (item, done) for item, done in zip(listed, published, strict=True)}
    _check_names(by_name)
    return RenditionResult(
        requested=requested(command),
        renditions=tuple(_outcome(rung, made, facts, examined, by_name) for rung in made.rungs),
        manifests=tuple(
            _delivered(done, made.duration_ms)
            for item, done in by_name.values()
            if item.is_manifest
        ),
        files=len(published),
        bytes=sum(done.size for done in published),
        loudness=_loudness(facts),
        sidecars=tuple(
            _delivered(done, made.duration_ms)
            for item, done in by_name.values()
            if item.name in _SIDECARS
        ),
        notes=made.notes,
    )


def requested(command: CreateRenditions) -> dict[str, object]:
    """What was asked, as it is echoed in the result."""
    return {
        "fileId": command.file_id,
        "renditionIds": list(command.rendition_ids),
        "recipes": [recipe.name for recipe in command.recipes],
    }


def _probe_file(output: Output, rung: Rung, made: Design, facts: RenditionFacts) -> Probe:
    return Probe(
        name=output.name,
        expect_ms=round(rung.expect_us / 1000),
        tolerance_ms=-(-_slack_us(rung, made, facts) // 1000),
    )


def _slack_us(rung: Rung, made: Design, facts: RenditionFacts) -> int:
    """A frame of the source and one of what was made; sound is a few packets off by nature."""
    video = facts.known.video
    if rung.picture is None or video is None:
        return _SOUND_SLACK_US
    rate = made.encoding.pictures[rung.picture].base.fps
    step = facts.known.track(video).step_us
    return step + (1_000_000 // rate if rate else 0) + 1_000


def _hls_steps(
    output: Output,
    made: Design,
    rungs: list[Rung],
    facts: RenditionFacts,
    texts: list[tuple[str, str, StreamInfo]],
) -> list[Step]:
    produced = facts.made
    playlists = {
        label: hls_writer.media(produced.text(_playlist(output, label)), _playlist(output, label))
        for label in output.labels
    }
    pictures = output.labels[: len(output.pictures)]
    hls_writer.check_aligned(tuple(playlists[label] for label in pictures))
    for rung in rungs:
        lengths = [hls_writer.length_us(playlists[n]) for n in (rung.label, *pictures[:1])]
        _hold(rung, lengths[0], made, facts)
    for label, playlist in playlists.items():
        _all_there((_header(output, label), *hls_writer.names(playlist)), produced)
    shown = tuple(
        TextTrack(
            label=f"{stream.language or 'subtitles'} {number + 1}",
            uri=_text_playlist(number),
            language=stream.language,
        )
        for number, (_, _, stream) in enumerate(texts)
    )
    text = _master(output, made, facts, produced, shown)
    hls_writer.check_master(text, max(1, len(output.pictures)), len(shown))
    steps: list[Step] = [WriteText(name=MASTER, text=text)]
    steps += [
        WriteText(
            name=_text_playlist(number), text=hls_writer.text_playlist(name, made.duration_ms)
        )
        for number, (_, name, _) in enumerate(texts)
    ]
    for label, playlist in playlists.items():
        segments = hls_writer.names(playlist)
        steps.append(_probe_parts(_checked(output, label), _header(output, label), segments))
    return steps


def _dash_steps(
    output: Output, rungs: list[Rung], made: Design, facts: RenditionFacts, produced: Produced
) -> list[Step]:
    text = produced.text(output.name)
    tracks = dash_reader.representations(text)
    if len(tracks) != len(output.pictures) + len(output.sounds):
        raise CorruptMedia("the manifest does not list every track")
    grids = [t.boundaries_us for t in tracks[: len(output.pictures)]]
    if any(grid[:-1] != grids[0][:-1] for grid in grids):
        raise CorruptMedia("the rungs of the ladder do not share their segment boundaries")
    by_label = dict(zip(output.labels, tracks, strict=True))
    for rung in rungs:
        _hold(rung, by_label[rung.label].length_us, made, facts)
    for track in tracks:
        _all_there((track.init, *track.segments), produced)
    return [
        WriteText(name=output.name, text=dash_reader.exact(text, _measured(tracks, produced))),
        *(
            _probe_parts(_checked(output, label), track.init, track.segments)
            for label, track in by_label.items()
        ),
    ]


def _measured(
    tracks: tuple[dash_reader.Representation, ...], produced: Produced
) -> tuple[dash_reader.Representation, ...]:
    """The tracks, each with what it takes at most."""
    measured = []
    for track in tracks:
        lengths = [b - a for a, b in pairwise((0, *track.boundaries_us))]
        peak_bps = rates.peak_bps([produced.sizes[name] for name in track.segments], lengths)
        measured.append(track.model_copy(update={"bandwidth_bps": peak_bps}))
    return tuple(measured)


def _hold(rung: Rung, length_us: int, made: Design, facts: RenditionFacts) -> None:
    slack = max(_slack_us(rung, made, facts), _SOUND_SLACK_US if rung.sounds else 0)
    if abs(length_us - rung.expect_us) > slack:
        raise CorruptMedia(
            f"{rung.recipe.name} lasts {length_us // 1000} ms, not {rung.expect_us // 1000}: the "
            "source does not decode to its end"
        )


def _all_there(names: tuple[str, ...], produced: Produced) -> None:
    for name in names:
        if not produced.sizes.get(name):
            raise CorruptMedia(f"{name} is listed and not there")


def _probe_parts(name: str, header: str, segments: tuple[str, ...]) -> Probe:
    edges = segments if len(segments) <= 2 else (segments[0], segments[-1])
    return Probe(name=name, parts=(header, *edges))


def _master(
    output: Output,
    made: Design,
    facts: RenditionFacts,
    produced: Produced,
    texts: tuple[TextTrack, ...],
) -> str:
    count = len(output.pictures)
    tracks = [
        _track(output, label, made, facts, produced, number)
        for number, label in enumerate(output.labels)
    ]
    return hls_writer.master(tuple(tracks[:count]), tuple(tracks[count:]), texts)


def _track(
    output: Output,
    label: str,
    made: Design,
    facts: RenditionFacts,
    produced: Produced,
    number: int,
) -> LadderTrack:
    name = _playlist(output, label)
    playlist = hls_writer.media(produced.text(name), name)
    sizes = [produced.sizes[segment] for segment in hls_writer.names(playlist)]
    lengths = [segment.duration_us for segment in playlist.segments]
    picture = number < len(output.pictures)
    header = produced.headers[_header(output, label)]
    return LadderTrack(
        label=label,
        uri=name,
        codec=codec_names(header)[0],
        peak_bps=rates.peak_bps(sizes, lengths),
        average_bps=rates.average_bps(sizes, lengths),
        **(
            _seen(made, output.pictures[number], facts)
            if picture
            else _heard(made, output.sounds[number - len(output.pictures)], facts)
        ),
    )


def _seen(made: Design, number: int, facts: RenditionFacts) -> dict[str, object]:
    picture, video = made.encoding.pictures[number], facts.known.video
    if video is None:
        return {}
    width, height = made.sizes[number]
    return {
        "width": width,
        "height": height,
        "frame_rate": picture.base.fps or video.frame_rate,
        "hdr": None if picture.base.tone_map else _RANGES.get(video.color_transfer or ""),
    }


def _heard(made: Design, number: int, facts: RenditionFacts) -> dict[str, object]:
    sound = made.encoding.sounds[number]
    stream = next((s for s in facts.known.sounds if s.index == sound.stream), None)
    return {
        "channels": sound.channels,
        "language": None if stream is None else stream.language,
    }


def _outcome(
    rung: Rung,
    made: Design,
    facts: RenditionFacts,
    examined: Mapping[str, MediaInfo],
    by_name: Mapping[str, tuple[Item, Published]],
) -> MadeRendition:
    output = made.encoding.outputs[rung.output]
    packaged = output.form != "file"
    info = examined[_checked(output, rung.label) if packaged else output.name]
    sounds = [made.encoding.sounds[number] for number in rung.sounds]
    heard = (
        [s for n in range(len(output.sounds)) for s in _of_kind(examined, output, n)]
        if packaged
        else [s for s in info.streams if s.kind == "audio"]
    )
    held = MASTER if output.form == "hls" else output.name
    return MadeRendition(
        name=rung.recipe.name,
        packaging=rung.recipe.packaging,
        video=_video(rung, made, info),
        audio=tuple(_audio(s, sound) for s, sound in zip(heard, sounds, strict=False)),
        duration_ms=round(rung.expect_us / 1000),
        manifest=by_name[held][1].key if packaged else None,
        file=None if packaged else _delivered(by_name[output.name][1], info.duration_ms or 0),
        notes=(*rung.notes, _SHALLOW) if _is_shallow(rung, made, examined) else rung.notes,
    )


def _of_kind(examined: Mapping[str, MediaInfo], output: Output, number: int) -> list[StreamInfo]:
    label = output.labels[len(output.pictures) + number]
    return [s for s in examined[_checked(output, label)].streams if s.kind == "audio"]


def _video(rung: Rung, made: Design, info: MediaInfo) -> MadeVideo | None:
    stream = next((s for s in info.streams if s.kind == "video"), None)
    if rung.picture is None or stream is None:
        return None
    return MadeVideo(
        codec=stream.codec,
        width=stream.width or 0,
        height=stream.height or 0,
        frame_rate=stream.frame_rate,
        bitrate=stream.bitrate_bps,
        copied=made.encoding.pictures[rung.picture].copied,
    )


def _audio(stream: StreamInfo, sound: Sound) -> MadeAudio:
    return MadeAudio(
        codec=stream.codec,
        channels=stream.channels or 0,
        sample_rate_hz=stream.sample_rate_hz,
        language=stream.language or sound.language,
        copied=sound.copied,
    )


def _loudness(facts: RenditionFacts) -> dict[str, float] | None:
    heard = next((h for h in facts.heard if h is not None), None)
    if heard is None:
        return None
    return {
        "measuredLufs": heard.integrated_lufs,
        "measuredTruePeakDbtp": heard.true_peak_dbtp,
        "measuredRangeLu": heard.range_lu,
    }


def _delivered(done: Published, duration_ms: int) -> DeliveredFile:
    return DeliveredFile(
        destination=done.destination,
        key=done.key,
        url=done.url,
        size=done.size,
        sha256=done.sha256,
        duration_ms=duration_ms,
    )


def _check_names(by_name: Mapping[str, tuple[Item, Published]]) -> None:
    if not any(item.is_manifest for item, _ in by_name.values()):
        return
    for item, done in by_name.values():
        if done.key != item.key:
            raise DestinationRejected(
                "this destination cannot refuse to overwrite, so its keys are made unique, and "
                "the playlists of a ladder name their segments by key"
            )


def _parts(output: Output, produced: Produced) -> tuple[str, ...]:
    """The files of a ladder beside its manifest, headers and segments before playlists."""
    if output.form == "dash":
        tracks = dash_reader.representations(produced.text(output.name))
        return tuple(name for track in tracks for name in (track.init, *track.segments))
    files: list[str] = []
    for label in output.labels:
        name = _playlist(output, label)
        playlist = hls_writer.media(produced.text(name), name)
        files += [_header(output, label), *hls_writer.names(playlist), name]
    return tuple(files)


def _place(command: CreateRenditions, made: Design) -> tuple[str, str | None]:
    """The folder everything goes to, and the one file's or manifest's own name, if it has one."""
    key, outputs = command.destination.key, made.encoding.outputs
    if len(outputs) == 1:
        suffix = {"hls": "m3u8", "dash": "mpd"}.get(outputs[0].form, outputs[0].container)
        if key.endswith(f".{suffix}"):
            folder, _, name = key.rpartition("/")
            return folder, name
    return key, None


def _text_playlist(number: int) -> str:
    return f"hls-text{number or ''}.m3u8"


def _playlist(output: Output, label: str) -> str:
    return f"{output.name}-{label}.m3u8"


def _header(output: Output, label: str) -> str:
    return f"{output.name}-{label}-init.mp4"


def _checked(output: Output, label: str) -> str:
    return f"check-{output.form}-{label}.mp4"


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name).strip("-.")[:80] or "rendition"


def _unused(name: str, taken: set[str]) -> str:
    stem, _, suffix = name.rpartition(".")
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{stem}-{number}.{suffix}"
    taken.add(found)
    return found


def _type_of(name: str) -> str:
    return _TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
