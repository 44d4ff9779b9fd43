"""ffmpeg command lines: recipes and local inputs in, argument lists out; nothing is run here."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import ffmpeg
from pydantic import Field

from schemas.base import Value
from schemas.media import Mastering
from schemas.profiles import AudioRecipe, Container, Profile, VideoRecipe
from schemas.renditions import Loudness

PROTOCOLS = "file,pipe"
MAX_PIXELS = 8192 * 4320
MAX_STREAMS = 64
_VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
_AUDIO_ENCODERS = {"aac": "aac", "opus": "libopus"}
_MUXERS = {"mp4": "mp4", "webm": "webm", "mkv": "matroska"}
_TAGS = {"h264": "avc1", "hevc": "hvc1", "av1": "av01", "vp9": "vp09"}
_PRESETS: dict[str, dict[str, str | int]] = {
    "h264": {"fast": "veryfast", "balanced": "faster", "slow": "slow"},
    "hevc": {"fast": "superfast", "balanced": "veryfast", "slow": "slow"},
    "av1": {"fast": 11, "balanced": 9, "slow": 5},
    "vp9": {"fast": 8, "balanced": 5, "slow": 2},
}
_DEFAULT_CRF = {"h264": 21, "hevc": 24, "av1": 32, "vp9": 33}
# 1000 ticks a second, the muxer's default, rounds edits by up to 0.3 ms.
_MOVIE_TIMESCALE = 90000
_SAMPLE_RATE_HZ = 48000
# What ffmpeg itself takes for so many channels.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_UNTIL_NEXT = r"if(eq(NEXT_DTS\,NOPTS)\,DURATION\,NEXT_DTS-DTS)"
# The first pass needs a goal as well, though it only measures.
_LOUDNESS_RANGE_LU = 7.0
_MOST_RANGE_LU = 50.0


class LocalInput(Value):
    """A file of ours to read: its absolute path, the demuxer our own sniff chose, and a trim."""

    path: str = Field(pattern=r"^/")
    demuxer: str = Field(pattern=r"^[a-z0-9_,]+$")
    start_ms: int | None = Field(default=None, ge=0)
    length_ms: int | None = Field(default=None, gt=0)


class Grid(Value):
    """Where keyframes stand: every so many frames, or by time where frames come irregularly."""

    frames: int = Field(ge=1)
    every: Fraction | None = None


class Base(Value):
    """What several pictures share before they are scaled."""

    deinterlace: bool = False
    tone_map: bool = False
    fps: Fraction | None = None
    burn_in: Literal["text", "bitmap"] | None = None


class Picture(Value):
    """One picture to make: scaled, then cropped or padded, then encoded; or copied.

    `beneath` is the picture it is scaled from instead of the source. `tick_s` is what its times are
    counted in where the steps of its rate would move them. `mastering` and `light_levels` are told
    of an HDR picture again, because older ffmpegs forget them.
    """

    recipe: VideoRecipe
    copied: bool = False
    base: Base = Base()
    scaled: tuple[int, int] | None = None
    cropped: tuple[int, int] | None = None
    padded: tuple[int, int] | None = None
    pixel_format: Literal["yuv420p", "yuv420p10le"] = "yuv420p"
    sample_aspect: Fraction = Fraction(1)
    grid: Grid | None = None
    tick_s: Fraction | None = None
    mastering: Mastering | None = None
    light_levels: tuple[int, int] | None = None
    beneath: int | None = None


class Sound(Value):
    """One sound to make of a stream of the source, or to copy.

    Where `mixed` the source has more channels, and is levelled once they are mixed.
    """

    stream: int
    recipe: AudioRecipe
    copied: bool = False
    channels: int = 2
    mixed: bool = False
    loudness: Loudness | None = None
    language: str | None = None


class Output(Value):
    """What is written: a file, or a ladder's segments; pictures and sounds by their number.

    `shapes` tells for each picture which others have its aspect: DASH switches only among those.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$")
    form: Literal["file", "hls", "dash"] = "file"
    container: Container = "mp4"
    pictures: tuple[int, ...] = ()
    sounds: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    shapes: tuple[int, ...] = ()
    segment_us: int = 0


class Encoding(Value):
    """Everything one ffmpeg run makes of one decode of its source."""

    source: LocalInput
    video: int | None = None
    keep_rotation: bool = False
    picture_us: int = 0
    subtitles: int | None = None
    cube: str | None = None
    pictures: tuple[Picture, ...] = ()
    sounds: tuple[Sound, ...] = ()
    outputs: tuple[Output, ...]


def encode(source: LocalInput, output: str, recipe: Profile) -> tuple[str, ...]:
    """The arguments that encode a local file, trimmed, into one file by a recipe."""
    opened = ffmpeg.input(f"file:{source.path}", **_input_options(source))
    streams = _streams(opened, recipe)
    made = ffmpeg.output(*streams, f"file:{output}", **_output_options(recipe))
    return tuple(str(argument) for argument in made.get_args())


def ladder(wanted: Encoding) -> tuple[str, ...]:
    """The arguments of one run that decodes once and makes every output."""
    opened = ffmpeg.input(f"file:{wanted.source.path}", **_opening(wanted))
    feeds = _Feeds(wanted, opened)
    made = [
        _together(group, wanted, feeds) if len(group) > 1 else _alone(group[0], wanted, feeds)
        for group in _groups(wanted)
    ]
    merged = made[0] if len(made) == 1 else ffmpeg.merge_outputs(*made)
    return tuple(str(argument) for argument in merged.get_args())


def without_chapters(wanted: Encoding) -> frozenset[int]:
    """The outputs that hold no chapters: ladders, and files that one encoder writes together."""
    groups = _groups(wanted)
    kept = {g[0].name for g in groups if len(g) == 1 and g[0].form == "file"}
    return frozenset(n for n, output in enumerate(wanted.outputs) if output.name not in kept)


def loudness_pass(source: LocalInput, sound: Sound) -> tuple[str, ...]:
    """The arguments of the first pass of EBU R128: it decodes, measures, and says so as JSON."""
    opened = ffmpeg.input(f"file:{source.path}", **_input_options(source))
    mixed = _mixed(opened[str(sound.stream)], sound)
    heard = mixed.filter("loudnorm", **_goal(sound.recipe), print_format="json")
    measured = ffmpeg.output(heard, "-", f="null", loglevel="info")
    return tuple(str(argument) for argument in measured.get_args())


def sidecar(source: LocalInput, stream: int, output: str) -> tuple[str, ...]:
    """The arguments that write a text track as WebVTT."""
    opened = ffmpeg.input(f"file:{source.path}", **_input_options(source))
    made = ffmpeg.output(opened[str(stream)], f"file:{output}", f="webvtt", **{"c:s": "webvtt"})
    return tuple(str(argument) for argument in made.get_args())


def segmented(
    source: LocalInput,
    playlist: str,
    prefix: str,
    *,
    pictures: tuple[int, bool] | None,
    sounds: tuple[tuple[int, str | None], ...],
) -> tuple[str, ...]:
    """The arguments that split a file into segments of fragmented MP4, its packets as they are.

    Streams come by their number in the file. Pictures with False are encoded anew, and sound
    without the codec it is copied as.
    """
    opened = ffmpeg.input(f"file:{source.path}", **_input_options(source))
    options: dict[str, Any] = {"c": "copy", **_SPLIT}
    streams = []
    if pictures is not None:
        streams.append(opened[str(pictures[0])])
        options |= {} if pictures[1] else _PLAIN_PICTURES
    for at, (number, codec) in enumerate(sounds):
        streams.append(opened[str(number)])
        options |= {} if codec else {f"c:a:{at}": "aac", f"b:a:{at}": "256k"}
        # A transport stream's frames carry headers that MP4 keeps in one place.
        options |= {f"bsf:a:{at}": "aac_adtstoasc"} if codec == "aac" else {}
    names = {
        "hls_fmp4_init_filename": f"{prefix}-file-init.mp4",
        "hls_segment_filename": f"{prefix}-file-%06d.m4s",
    }
    made = ffmpeg.output(*streams, f"file:{playlist}", **options, **names)
    return tuple(str(argument) for argument in made.get_args())


# Only what the source itself says is copied: no chapters, no tags of strangers.
_SPLIT: dict[str, Any] = {
    "map_metadata": -1,
    "map_chapters": -1,
    "f": "hls",
    "hls_time": 4,
    "hls_list_size": 0,
    "hls_playlist_type": "vod",
    "hls_segment_type": "fmp4",
    "hls_flags": "independent_segments",
}
_PLAIN_PICTURES: dict[str, Any] = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 14,
    "pix_fmt": "yuv420p",
    "fps_mode": "passthrough",
}


class Joint(Value):
    """What files of different formats become before they follow each other in one."""

    width: int
    height: int
    rate: Fraction
    channels: int = 2


def joined(
    sources: tuple[tuple[LocalInput, int, bool], ...], output: str, joint: Joint
) -> tuple[str, ...]:
    """The arguments that join files, given with their length in ms and whether they have sound.

    Nothing is lost but what scaling takes: the pictures stay losslessly coded, the sound too.
    """
    opened = [ffmpeg.input(f"file:{s.path}", **_input_options(s)) for s, _, _ in sources]
    sounds = _sounds_alike(opened, sources, joint)
    fed: list[Any] = []
    for number, each in enumerate(opened):
        fed += [_made_alike(each.video, joint), *sounds[number : number + 1]]
    both = ffmpeg.concat(*fed, v=1, a=int(bool(sounds)), n=len(sources)).node
    kept = {"c:v": "libx264", "qp": 0, "preset": "ultrafast", "c:a": "flac", "f": "matroska"}
    streams = [both[number] for number in range(1 + bool(sounds))]
    made = ffmpeg.output(*streams, f"file:{output}", **kept)
    return tuple(str(argument) for argument in made.get_args())


def _sounds_alike(
    opened: list[Any], sources: tuple[tuple[LocalInput, int, bool], ...], joint: Joint
) -> list[Any]:
    """One sound a file; where a file has none, that of another, unheard. None where no file has."""
    first = next((n for n, (_, _, has_sound) in enumerate(sources) if has_sound), None)
    if first is None:
        return []
    silent = sum(not has_sound for _, _, has_sound in sources)
    spare = _copies(opened[first].audio, 1 + silent, "asplit")
    found = []
    for number, (_, length_ms, has_sound) in enumerate(sources):
        sound = spare.pop() if number == first or not has_sound else opened[number].audio
        sound = sound if has_sound else sound.filter("volume", 0)
        found.append(_heard_alike(sound, length_ms, joint))
    return found


def _made_alike(video: Any, joint: Joint) -> Any:
    inside = {"force_original_aspect_ratio": "decrease", "force_divisible_by": 2}
    return (
        video.filter("scale", "iw*sar", "ih")
        .filter("scale", joint.width, joint.height, **inside)
        .filter("pad", joint.width, joint.height, -1, -1)
        .filter("setsar", 1)
        .filter("fps", _ratio(joint.rate))
        .filter("format", "yuv420p")
    )


def _heard_alike(sound: Any, length_ms: int, joint: Joint) -> Any:
    layout, length = "mono" if joint.channels == 1 else "stereo", _seconds(length_ms)
    return (
        sound.filter("aresample", _SAMPLE_RATE_HZ)
        .filter("aformat", channel_layouts=layout)
        .filter("apad", whole_dur=length)
        .filter("atrim", end=length)
    )


def encoders(recipe: Profile) -> tuple[str, ...]:
    """The names of the encoders a recipe needs."""
    video = () if recipe.video is None else (_VIDEO_ENCODERS[recipe.video.codec],)
    audio = () if recipe.audio is None else (_AUDIO_ENCODERS[recipe.audio.codec],)
    return (*video, *audio)


def encoders_of(wanted: Encoding) -> tuple[str, ...]:
    """The names of the encoders a run needs."""
    video = (_VIDEO_ENCODERS[p.recipe.codec] for p in wanted.pictures if not p.copied)
    audio = (_AUDIO_ENCODERS[s.recipe.codec] for s in wanted.sounds if not s.copied)
    return tuple(dict.fromkeys((*video, *audio)))


def filters_of(wanted: Encoding) -> tuple[str, ...]:
    """The names of the filters a run needs that a small build may lack."""
    bases = [p.base for p in wanted.pictures if not p.copied]
    needed = {
        "bwdif": any(base.deinterlace for base in bases),
        "lut3d": any(base.tone_map for base in bases),
        "sidedata": any(base.tone_map for base in bases),
        "subtitles": any(base.burn_in == "text" for base in bases),
        "overlay": any(base.burn_in == "bitmap" for base in bases),
        "loudnorm": any(s.loudness for s in wanted.sounds if not s.copied),
    }
    return tuple(name for name, is_needed in needed.items() if is_needed)


class _Feeds:
    """Filtered streams, each handed out as often as it was asked for beforehand."""

    def __init__(self, wanted: Encoding, opened: Any) -> None:
        self._wanted = wanted
        self._opened = opened
        self._sources = self._split_source()
        self._bases: dict[Base, list[Any]] = {}
        self._ready: dict[int, list[Any]] = {}
        self._sounds: dict[int, list[Any]] = {}

    def picture(self, number: int) -> Any:
        """The stream of a picture for one more output."""
        picture = self._wanted.pictures[number]
        if picture.copied:
            return self._opened[str(self._wanted.video)]
        return self._shaped(number)

    def sound(self, number: int, uses: int) -> Any:
        """The stream of a sound for one of so many encoders."""
        sound = self._wanted.sounds[number]
        if sound.copied or sound.loudness is None:
            return self._opened[str(sound.stream)]
        if number not in self._sounds:
            levelled = _levelled(self._opened[str(sound.stream)], sound)
            self._sounds[number] = _copies(levelled, uses, "asplit")
        return self._sounds[number].pop()

    def _shaped(self, number: int) -> Any:
        if number not in self._ready:
            self._ready[number] = _copies(self._made(number), self._uses(number), "split")
        return self._ready[number].pop()

    def _made(self, number: int) -> Any:
        picture = self._wanted.pictures[number]
        beneath = picture.beneath
        stream = self._base(picture.base) if beneath is None else self._shaped(beneath)
        return _formed(stream, picture)

    def _uses(self, number: int) -> int:
        outputs = sum(output.pictures.count(number) for output in self._wanted.outputs)
        return outputs + sum(p.beneath == number for p in self._wanted.pictures if not p.copied)

    def _base(self, base: Base) -> Any:
        if base not in self._bases:
            uses = [p for p in self._from_source() if p.base == base]
            prepared = _prepared(self._sources.pop(), base, self._wanted, self._opened)
            self._bases[base] = _copies(prepared, len(uses), "split")
        return self._bases[base].pop()

    def _split_source(self) -> list[Any]:
        bases = {picture.base for picture in self._from_source()}
        if not bases:
            return []
        return _copies(self._opened[str(self._wanted.video)], len(bases), "split")

    def _from_source(self) -> list[Picture]:
        return [p for p in self._wanted.pictures if not p.copied and p.beneath is None]


def _copies(stream: Any, uses: int, splitter: str) -> list[Any]:
    if uses <= 1:
        return [stream]
    split = stream.filter_multi_output(splitter, uses)
    return [split.stream(number) for number in reversed(range(uses))]


def _prepared(stream: Any, base: Base, wanted: Encoding, opened: Any) -> Any:
    if base.deinterlace:
        stream = stream.filter("bwdif", mode="send_frame", parity="auto", deint="all")
    if base.burn_in == "bitmap":
        stream = stream.overlay(opened[str(wanted.subtitles)])
        # The last subtitle is shown for as long as it likes, and the last picture with it.
        stream = stream.filter("trim", duration=_precise(wanted.picture_us))
    if base.burn_in == "text":
        # The child works in the job's folder, so a bare name of ours is enough and needs no escape.
        name = wanted.source.path.rpartition("/")[2]
        stream = stream.filter("subtitles", filename=name, stream_index=0)
    if base.fps is not None:
        stream = stream.filter("fps", fps=_ratio(base.fps))
    if base.tone_map:
        stream = _tone_mapped(stream, wanted.cube or "")
    return stream


def _tone_mapped(stream: Any, cube: str) -> Any:
    looked_up = stream.filter("format", "gbrp16le").filter("lut3d", file=cube, interp="tetrahedral")
    back = looked_up.filter("scale", out_color_matrix="bt709", out_range="tv")
    named = back.filter("format", "yuv420p10le")
    for told in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        named = named.filter("sidedata", mode="delete", type=told)
    return named.filter(
        "setparams", color_primaries="bt709", color_trc="bt709", colorspace="bt709", range="tv"
    )


def _formed(stream: Any, picture: Picture) -> Any:
    if picture.scaled is not None:
        stream = stream.filter("scale", *picture.scaled)
    if picture.cropped is not None:
        stream = stream.filter("crop", *picture.cropped)
    if picture.padded is not None:
        stream = stream.filter("pad", *picture.padded, "(ow-iw)/2", "(oh-ih)/2")
    # Without the maximum, the filter rounds an aspect to two digits.
    squared = stream.filter("setsar", sar=_ratio(picture.sample_aspect), max=65535)
    return squared.filter("format", picture.pixel_format)


def _levelled(stream: Any, sound: Sound) -> Any:
    found = sound.loudness
    if found is None:
        return stream
    goal = _goal(sound.recipe)
    goal["LRA"] = min(_MOST_RANGE_LU, max(_LOUDNESS_RANGE_LU, found.range_lu))
    levelled = _mixed(stream, sound).filter(
        "loudnorm",
        **goal,
        measured_I=found.integrated_lufs,
        measured_LRA=found.range_lu,
        measured_TP=found.true_peak_dbtp,
        measured_thresh=found.threshold_lufs,
        offset=found.offset_lu,
        linear="true",
    )
    return levelled.filter("aresample", _SAMPLE_RATE_HZ)


def _mixed(stream: Any, sound: Sound) -> Any:
    if not sound.mixed:
        return stream
    return stream.filter("aformat", channel_layouts=_LAYOUTS[sound.channels])


def _goal(recipe: AudioRecipe) -> dict[str, Any]:
    return {
        "I": recipe.loudness_lufs,
        "TP": recipe.true_peak_dbtp,
        "LRA": _LOUDNESS_RANGE_LU,
    }


def _groups(wanted: Encoding) -> list[list[Output]]:
    """Outputs whose sound is one encoder's work go together; everything else stands alone."""
    groups: dict[object, list[Output]] = {}
    for number, output in enumerate(wanted.outputs):
        shared = output.form == "file" and any(not wanted.sounds[s].copied for s in output.sounds)
        groups.setdefault(output.sounds if shared else number, []).append(output)
    return list(groups.values())


def _alone(output: Output, wanted: Encoding, feeds: _Feeds) -> Any:
    options: dict[str, Any] = {}
    streams = _mapped([output], wanted, feeds, options)
    match output.form:
        case "file":
            options |= _file_options(output.container)
            target = f"file:{output.name}"
        case "hls":
            options |= _hls_options(output) | _lengths(output, wanted)
            target = _hls_playlist(output)
        case "dash":
            options |= _dash_options(output)
            target = output.name
    return ffmpeg.output(*streams, target, **options)


def _together(outputs: list[Output], wanted: Encoding, feeds: _Feeds) -> Any:
    options: dict[str, Any] = {"f": "tee", "flags": "+global_header"}
    streams = _mapped(outputs, wanted, feeds, options)
    slaves, at = [], 0
    for output in outputs:
        chosen = [f"v:{at + n}" for n in range(len(output.pictures))]
        at += len(output.pictures)
        chosen += [f"a:{n}" for n in range(len(output.sounds))]
        slaves.append(_slave(output, chosen))
    return ffmpeg.output(*streams, "|".join(slaves), **options)


def _slave(output: Output, chosen: list[str]) -> str:
    options = {"select": f"\\'{','.join(chosen)}\\'", **_file_options(output.container)}
    return f"[{':'.join(f'{k}={v}' for k, v in options.items())}]file:{output.name}"


def _mapped(
    outputs: list[Output], wanted: Encoding, feeds: _Feeds, options: dict[str, Any]
) -> list[Any]:
    """The streams of some outputs, pictures first; their options are added by stream number."""
    streams = []
    numbers = [(number, output.container) for output in outputs for number in output.pictures]
    for at, (number, container) in enumerate(numbers):
        streams.append(feeds.picture(number))
        options |= _picture_options(wanted.pictures[number], at, container)
    for at, number in enumerate(outputs[0].sounds):
        uses = sum(number in group[0].sounds for group in _groups(wanted))
        streams.append(feeds.sound(number, uses))
        options |= _sound_options(wanted.sounds[number], at)
        options |= _language(wanted.sounds[number], at)
    if any(not wanted.pictures[number].copied for number, _ in numbers):
        # Frames keep their own times: nothing is doubled or dropped to please a container.
        options["fps_mode"] = "passthrough"
    return streams


def _picture_options(picture: Picture, at: int, container: Container) -> dict[str, Any]:
    name = _TAGS.get(picture.recipe.codec) if container == "mp4" else None
    # A copied stream would keep the tag of its own container, an encoded one gets this or none.
    tag = {f"tag:v:{at}": name} if name and (picture.copied or name == "hvc1") else {}
    if picture.copied:
        return {f"c:v:{at}": "copy"} | tag
    recipe, codec = picture.recipe, picture.recipe.codec
    options: dict[str, Any] = {f"c:v:{at}": _VIDEO_ENCODERS[codec]}
    options |= {f"{k}:v:{at}": v for k, v in _rate_options(recipe).items()}
    options |= {f"{k}:v:{at}": v for k, v in _speed_options(recipe).items()}
    if picture.tick_s is not None:
        options[f"enc_time_base:v:{at}"] = _ratio(picture.tick_s).replace("/", ":")
    if picture.grid is not None:
        grid = _grid_options(codec, picture.grid)
        for name in grid.keys() & _LIT.keys():
            grid[name] = ":".join((grid[name], *_light(picture, _LIT[name])))
        options |= {f"{k}:v:{at}": v for k, v in grid.items()}
    return options | tag


def _is_hvc1(codec: str, container: Container) -> bool:
    # Safari plays HEVC in MP4 only under this tag.
    return codec == "hevc" and container == "mp4"


def _rate_options(recipe: VideoRecipe) -> dict[str, Any]:
    rate = recipe.bitrate
    if rate is None:
        crf = _DEFAULT_CRF[recipe.codec] if recipe.crf is None else recipe.crf
        return {"crf": crf} | ({"b": 0} if recipe.codec == "vp9" else {})
    if recipe.codec == "av1":
        # SVT-AV1 takes a ceiling only together with a crf.
        return {"b": rate}
    return {"b": rate, "maxrate": rate, "bufsize": 2 * rate}


def _speed_options(recipe: VideoRecipe) -> dict[str, Any]:
    preset = _PRESETS[recipe.codec][recipe.speed]
    if recipe.codec != "vp9":
        return {"preset": preset}
    deadline = "realtime" if recipe.speed == "fast" else "good"
    return {"deadline": deadline, "cpu-used": preset, "row-mt": 1}


def _grid_options(codec: str, grid: Grid) -> dict[str, Any]:
    least = 1 if grid.every is not None else grid.frames
    options: dict[str, Any] = {"g": grid.frames}
    match codec:
        case "h264":
            options |= {"keyint_min": least, "sc_threshold": 0}
        case "hevc":
            options["x265-params"] = (
                f"keyint={grid.frames}:min-keyint={least}:scenecut=0:open-gop=0:log-level=error"
            )
        case "av1":
            options["svtav1-params"] = "scd=0"
        case "vp9":
            options["keyint_min"] = least
    if grid.every is not None:
        options["force_key_frames"] = f"expr:gte(t,n_forced*{_ratio(grid.every)})"
        options |= {"forced-idr": 1} if codec in {"h264", "hevc"} else {}
    return options


class _Words(Value):
    """How an encoder spells light: names, and what its numbers are counted in."""

    display: str
    levels: str
    per_colour: int = 1
    per_nit: int = 1


_LIT = {
    "x265-params": _Words(
        display="master-display", levels="max-cll", per_colour=50_000, per_nit=10_000
    ),
    "svtav1-params": _Words(display="mastering-display", levels="content-light"),
}


def _light(picture: Picture, words: _Words) -> list[str]:
    told = []
    if picture.mastering is not None:
        red, green, blue, white = (
            ",".join(_number(part, words.per_colour) for part in pair)
            for pair in zip(*[iter(picture.mastering.colours)] * 2, strict=True)
        )
        most, least = (
            _number(nits, words.per_nit)
            for nits in (picture.mastering.most_nits, picture.mastering.least_nits)
        )
        told.append(f"{words.display}=G({green})B({blue})R({red})WP({white})L({most},{least})")
    if picture.light_levels is not None:
        told.append(f"{words.levels}={picture.light_levels[0]},{picture.light_levels[1]}")
    return told


def _number(value: Fraction, per: int) -> str:
    return str(round(value * per)) if per > 1 else f"{float(value):.6f}"


def _sound_options(sound: Sound, at: int) -> dict[str, Any]:
    if sound.copied:
        return {f"c:a:{at}": "copy"}
    return {
        f"c:a:{at}": _AUDIO_ENCODERS[sound.recipe.codec],
        f"b:a:{at}": sound.recipe.bitrate,
        f"ac:a:{at}": sound.channels,
        f"ar:a:{at}": _SAMPLE_RATE_HZ,
    }


def _language(sound: Sound, at: int) -> dict[str, Any]:
    """What a filter forgets of its source: the language."""
    if sound.language is None or sound.loudness is None:
        return {}
    return {f"metadata:s:a:{at}": f"language={sound.language}"}


def _file_options(container: Container) -> dict[str, Any]:
    options: dict[str, Any] = {"f": _MUXERS[container]}
    if container == "mp4":
        options |= {"movflags": "+faststart", "movie_timescale": _MOVIE_TIMESCALE}
    return options


def _lengths(output: Output, wanted: Encoding) -> dict[str, Any]:
    """How long frames that come irregularly last: the muxer adds up the last segment of them."""
    pictures = [wanted.pictures[number] for number in output.pictures]
    return {
        f"bsf:v:{at}": f"setts=duration={_UNTIL_NEXT}"
        for at, picture in enumerate(pictures)
        if picture.grid is not None and picture.grid.every is not None and not picture.copied
    }


def _hls_playlist(output: Output) -> str:
    # Named bare: what stands before the name would be written into the playlists too.
    return f"{output.name}-%v.m3u8"


def _hls_options(output: Output) -> dict[str, Any]:
    # Of a header's name the muxer fills in the variant only where there are several.
    which = output.labels[0] if len(output.labels) == 1 else "%v"
    return {
        "f": "hls",
        "hls_time": _precise(output.segment_us),
        "hls_playlist_type": "vod",
        "hls_flags": "independent_segments",
        "hls_segment_type": "fmp4",
        "hls_fmp4_init_filename": f"{output.name}-{which}-init.mp4",
        "hls_segment_filename": f"{output.name}-%v-%05d.m4s",
        "var_stream_map": _stream_map(output),
    }


def _stream_map(output: Output) -> str:
    group = ",agroup:sound" if output.pictures and output.sounds else ""
    names = iter(output.labels)
    videos = [f"v:{n}{group},name:{next(names)}" for n in range(len(output.pictures))]
    audios = [f"a:{n}{group},name:{next(names)}" for n in range(len(output.sounds))]
    return " ".join((*videos, *audios))


def _dash_options(output: Output) -> dict[str, Any]:
    stem = output.name.rpartition(".")[0]
    shapes = output.shapes or (0,) * len(output.pictures)
    sets = [
        ",".join(str(at) for at, found in enumerate(shapes) if found == one)
        for one in dict.fromkeys(shapes)
    ]
    # Each sound is a choice of its own: a language, not a quality to switch to.
    sets += [str(len(output.pictures) + at) for at in range(len(output.sounds))]
    return {
        "f": "dash",
        "seg_duration": _precise(output.segment_us),
        "use_template": 1,
        "use_timeline": 1,
        "init_seg_name": f"{stem}-$RepresentationID$-init.mp4",
        "media_seg_name": f"{stem}-$RepresentationID$-$Number%05d$.m4s",
        "adaptation_sets": " ".join(f"id={n},streams={held}" for n, held in enumerate(sets)),
    }


def _opening(wanted: Encoding) -> dict[str, Any]:
    options = _input_options(wanted.source)
    # A flag without a value: the picture is not turned while it is decoded.
    return options | ({"noautorotate": None} if wanted.keep_rotation else {})


def _input_options(source: LocalInput) -> dict[str, Any]:
    options: dict[str, Any] = {
        "f": source.demuxer,
        "protocol_whitelist": PROTOCOLS,
        "max_streams": MAX_STREAMS,
        "max_pixels": MAX_PIXELS,
    }
    if source.start_ms is not None:
        options["ss"] = _seconds(source.start_ms)
    if source.length_ms is not None:
        options["t"] = _seconds(source.length_ms)
    return options


def _streams(opened: Any, recipe: Profile) -> list[Any]:
    streams = []
    if recipe.video is not None:
        streams.append(_scaled(opened.video, recipe.video))
    if recipe.audio is not None:
        # A source without sound is no error: the recipe says how, not whether.
        streams.append(opened["a?"])
    return streams


def _scaled(video: Any, recipe: VideoRecipe) -> Any:
    if recipe.width is None and recipe.height is None:
        return video
    return video.filter("scale", recipe.width or -2, recipe.height or -2)


def _output_options(recipe: Profile) -> dict[str, Any]:
    options = _file_options(recipe.container)
    if recipe.video is not None:
        options |= _video_options(recipe.video, recipe.container)
    if recipe.audio is not None:
        options |= _audio_options(recipe.audio)
    return options


def _video_options(recipe: VideoRecipe, container: Container) -> dict[str, Any]:
    options: dict[str, Any] = {"c:v": _VIDEO_ENCODERS[recipe.codec], "pix_fmt": "yuv420p"}
    if recipe.bitrate is not None:
        options |= {"b:v": recipe.bitrate, "maxrate": recipe.bitrate, "bufsize": 2 * recipe.bitrate}
    if recipe.crf is not None:
        options["crf"] = recipe.crf
    if recipe.fps is not None:
        options["r"] = _ratio(recipe.fps)
    if recipe.gop is not None:
        options |= {"g": recipe.gop, "keyint_min": recipe.gop, "sc_threshold": 0}
    if _is_hvc1(recipe.codec, container):
        options["tag:v"] = "hvc1"
    return options


def _audio_options(recipe: AudioRecipe) -> dict[str, Any]:
    return {
        "c:a": _AUDIO_ENCODERS[recipe.codec],
        "b:a": recipe.bitrate,
        "ac": recipe.channels,
    }


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _precise(microseconds: int) -> str:
    return f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"


def _ratio(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"
