"""Renditions of a file: from what was measured of it and recipes to one encoding and its checks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

from pipelines import ffargs
from pipelines.ffargs import Base, Encoding, Grid, LocalInput, Output, Picture, Sound
from pipelines.shapes import Shape, shape, shown_size
from schemas.base import Value
from schemas.commands import CreateRenditions
from schemas.errors import CorruptMedia, FieldInvalid, InvalidCommand, UnsupportedMedia
from schemas.media import MediaInfo, StreamInfo
from schemas.plans import Plan, ReadFile, RunFfmpeg, Step, Turn, WriteText
from schemas.profiles import DEFAULT_GOP_MS, AudioRecipe, Packaging, Profile, VideoRecipe
from schemas.renditions import Loudness, Pace, TrackPace

SOURCE, CUBE, SIDECAR = "source", "tone.cube", "subtitles.vtt"
CASCADE_BELOW = 720
# Recipes round, and encoders overshoot: that much above the recipe still meets it.
MOST_OVER = Fraction(115, 100)
# Less than this of what a file declares is missing where nothing was cut off.
_TRUNCATED_US = 1_000_000
_PACED = {"video", "audio"}
# Containers that write down how long the whole is, and need not for each stream.
_TELLING = {"matroska", "webm", "flv"}
_HDR = {"smpte2084", "arib-std-b67"}
_INTERLACED = {"tt", "bb", "tb", "bt"}
_STILLS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}
# More than anybody offers in one ladder.
MAX_SOUNDS = MAX_TEXTS = 8
_TEXTS = {"subrip", "ass", "ssa", "mov_text", "webvtt", "text"}
_BITMAPS = {"dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle"}
_DEFAULT_RATE = Fraction(25)
# A container's rounding, which moves picture against sound by less than anybody can tell.
_UNHEARD_S = Fraction(1, 1000)
_LEAST_TICKS = 10_000
# Packets of sound before the first sample, by which decoders run in; encoders need no more.
MOST_PRIMING = 4
# Two pictures whose aspects differ by less are the same picture with even sides.
_NEARLY = Fraction(3, 100)


class Source(Value):
    """What is known of the source once it is here."""

    path: str
    demuxer: str
    info: MediaInfo
    pace: Pace

    @property
    def input(self) -> LocalInput:
        """The source as ffmpeg reads it."""
        return LocalInput(path=self.path, demuxer=self.demuxer)

    @property
    def video(self) -> StreamInfo | None:
        """The picture: the first stream that moves, the default one before others."""
        return _first(s for s in self.info.streams if s.kind == "video" and self.moves(s))

    @property
    def sounds(self) -> tuple[StreamInfo, ...]:
        """Every sound that has packets, the default one first."""
        found = [s for s in self.info.streams if s.kind == "audio" and self.pace.of(s.index)]
        return tuple(sorted(found, key=lambda s: not s.default))

    @property
    def subtitles(self) -> StreamInfo | None:
        """The subtitles: the default ones before others."""
        return _first(s for s in self.info.streams if s.kind == "subtitle")

    @property
    def texts(self) -> tuple[StreamInfo, ...]:
        """The subtitles that can be written as text, the default ones first."""
        found = [s for s in self.info.streams if s.kind == "subtitle" and s.codec in _TEXTS]
        return tuple(sorted(found, key=lambda stream: not stream.default)[:MAX_TEXTS])

    def track(self, stream: StreamInfo) -> TrackPace:
        """The pace of a stream that was found to have one."""
        found = self.pace.of(stream.index)
        if found is None:
            raise CorruptMedia(f"stream {stream.index} holds no packets")
        return found

    def moves(self, stream: StreamInfo) -> bool:
        """Whether a video is more than one picture, such as a cover."""
        track = self.pace.of(stream.index)
        return track is not None and not (stream.codec in _STILLS and track.packets <= 1)


class Rung(Value):
    """One recipe on its way: which output it goes to, and what was decided about it."""

    recipe: Profile
    output: int
    picture: int | None = None
    sounds: tuple[int, ...] = ()
    label: str = ""
    expect_us: int
    notes: tuple[str, ...] = ()


class Design(Value):
    """What one run makes: its arguments as values, and every recipe's place in them."""

    encoding: Encoding
    rungs: tuple[Rung, ...]
    sizes: tuple[tuple[int, int], ...] = ()
    duration_ms: int
    notes: tuple[str, ...] = ()


class Produced(Value):
    """What lies in the workspace after the run: sizes, playlists, and headers of tracks."""

    sizes: dict[str, int]
    texts: dict[str, str] = {}
    headers: dict[str, bytes] = {}

    def text(self, name: str) -> str:
        """A playlist; CorruptMedia where the run did not write it."""
        if name not in self.texts:
            raise CorruptMedia(f"the run did not write {name}")
        return self.texts[name]


class RenditionFacts(Value):
    """What is known so far; `heard` has one measurement for each that was asked for."""

    source: Source | None = None
    heard: tuple[Loudness | None, ...] = ()
    produced: Produced | None = None

    @property
    def known(self) -> Source:
        """The source, which is here from the second phase on."""
        if self.source is None:
            raise InvalidCommand("the renditions are planned before the source is here")
        return self.source

    @property
    def made(self) -> Produced:
        """What the run made; only there once it ended."""
        if self.produced is None:
            raise InvalidCommand("the outcome is planned before anything was made")
        return self.produced


def check_together(recipes: tuple[Profile, ...]) -> None:
    """Refuse recipes that one run, or one ladder, cannot make together."""
    videos = [r.video for r in recipes if r.video is not None]
    if len({v.rotation for v in videos}) > 1:
        raise _clash("one job either applies the rotation or keeps it")
    for packaging in ("hls", "dash"):
        _check_ladder(packaging, [r for r in recipes if r.packaging == packaging])


def _check_ladder(packaging: str, rungs: list[Profile]) -> None:
    if len({rung.segment_ms for rung in rungs}) > 1:
        raise _clash(f"the rungs of one {packaging} ladder have segments of one length")
    if len({r.audio for r in rungs if r.audio is not None}) > 1:
        raise _clash(f"the rungs of one {packaging} ladder share their sound")
    if len({r.video.gop / r.video.fps for r in rungs if _has_grid(r) and r.video}) > 1:  # type: ignore[operator]  # both are there
        raise _clash(f"the rungs of one {packaging} ladder have GOPs of one length")


def _has_grid(rung: Profile) -> bool:
    return rung.video is not None and rung.video.gop is not None and rung.video.fps is not None


def _clash(message: str) -> FieldInvalid:
    return FieldInvalid(message, code="recipes_clash")


def read_plan(command: CreateRenditions, _facts: RenditionFacts) -> Plan:
    """The source comes into the workspace."""
    return Plan(
        steps=(ReadFile(file_id=command.file_id, name=SOURCE, stored_key=command.stored_key),)
    )


def measured(
    command: CreateRenditions, source: Source
) -> tuple[tuple[StreamInfo, AudioRecipe], ...]:
    """The sounds whose loudness is measured, each with the recipe that asks for it."""
    asked = [r.audio for r in command.recipes if r.audio and r.audio.loudness_lufs is not None]
    return tuple((s, recipe) for recipe in dict.fromkeys(asked) for s in source.sounds)


def measure_plan(command: CreateRenditions, facts: RenditionFacts) -> Plan:
    """The first pass of EBU R128, where a recipe names a loudness."""
    source = facts.known
    check_whole(source)
    return Plan(
        steps=tuple(
            RunFfmpeg(
                argv=ffargs.loudness_pass(source.input, _wanted(stream, recipe)),
                duration_ms=source.track(stream).length_us // 1000,
                filters=("loudnorm",),
            )
            for stream, recipe in measured(command, source)
        )
    )


def _wanted(stream: StreamInfo, recipe: AudioRecipe) -> Sound:
    channels = min(recipe.channels, stream.channels or recipe.channels)
    return Sound(
        stream=stream.index,
        recipe=recipe,
        channels=channels,
        mixed=recipe.loudness_lufs is not None and channels < (stream.channels or channels),
        language=stream.language,
    )


def check_whole(source: Source) -> None:
    """Refuse a source that ends long before the end it declares."""
    if source.info.lacking_bytes:
        lacking = source.info.lacking_bytes
        raise CorruptMedia(f"the source is cut off: {lacking} bytes are not there")
    silent = True
    for stream in (source.video, *source.sounds):
        if stream is None or stream.duration_ticks is None or stream.timebase is None:
            continue
        silent = False
        declared_us = round(stream.duration_ticks * stream.timebase * 1_000_000)
        _hold_against(declared_us, source.track(stream).length_us)
    # What else a file holds may outlast its sound and pictures.
    plain = {s.kind for s in source.info.streams} <= _PACED
    if silent and plain and source.info.container in _TELLING and source.info.duration_ms:
        begins_us = min(track.first_us for track in source.pace.tracks)
        ends_us = max(track.end_us for track in source.pace.tracks)
        _hold_against(source.info.duration_ms * 1000, ends_us - begins_us)


def _hold_against(declared_us: int, there_us: int) -> None:
    if declared_us - there_us > _TRUNCATED_US:
        raise CorruptMedia(
            f"the source is cut off: {there_us // 1000} ms of {declared_us // 1000} are there"
        )


def encode_plan(command: CreateRenditions, facts: RenditionFacts, cube: str | None) -> Plan:
    """One run that makes everything; `cube` is the table that maps its HDR to SDR, if needed."""
    source, made = facts.known, design(command, facts)
    steps: list[Step] = []
    if made.encoding.cube is not None and cube is not None:
        steps.append(WriteText(name=CUBE, text=cube))
    steps.append(
        RunFfmpeg(
            argv=ffargs.ladder(made.encoding),
            duration_ms=made.duration_ms,
            weight=9,
            encoders=ffargs.encoders_of(made.encoding),
            filters=ffargs.filters_of(made.encoding),
            load=max(1, sum(not p.copied for p in made.encoding.pictures)),
        )
    )
    steps += _turns_kept(source, made)
    if any(recipe.subtitles == "sidecar" for recipe in command.recipes):
        steps += _sidecar_steps(source, made.duration_ms)
    return Plan(steps=tuple(steps))


def _turns_kept(source: Source, made: Design) -> list[Step]:
    """Newer encoders forget the flag of a picture that is not turned while it is decoded."""
    video = source.video
    if video is None or not (_is_turned(video) or video.tilted_deg):
        return []
    return [
        Turn(name=output.name, degrees=video.rotation_deg, mirrored=video.mirrored)
        for output in made.encoding.outputs
        if any(
            (made.encoding.pictures[number].recipe.rotation == "keep" or _unflagged(output, video))
            and not made.encoding.pictures[number].copied
            for number in output.pictures
        )
    ]


def _unflagged(output: Output, video: StreamInfo) -> bool:
    """Whether the file of a tilted picture may have got its flag, which is taken away."""
    return video.tilted_deg != 0 and (output.form, output.container) == ("file", "mp4")


def _sidecar_steps(source: Source, duration_ms: int) -> list[Step]:
    return [
        RunFfmpeg(
            argv=ffargs.sidecar(source.input, stream.index, sidecar_name(number)),
            duration_ms=duration_ms,
            encoders=("webvtt",),
        )
        for number, stream in enumerate(source.texts)
    ]


def sidecar_name(number: int) -> str:
    """The file of a track of subtitles, in the workspace.

    >>> sidecar_name(0), sidecar_name(1)
    ('subtitles.vtt', 'subtitles-1.vtt')
    """
    return SIDECAR if number == 0 else SIDECAR.replace(".", f"-{number}.")


def design(command: CreateRenditions, facts: RenditionFacts) -> Design:
    """Everything that is made, and how."""
    return _Designer(command, facts.known, facts.heard).design()


class _Designer:
    """Puts pictures, sounds and outputs together, one recipe after the other."""

    def __init__(
        self, command: CreateRenditions, source: Source, heard: tuple[Loudness | None, ...]
    ) -> None:
        self._source = source
        self._recipes = command.recipes
        asked = ((s.index, recipe) for s, recipe in measured(command, source))
        self._heard = dict(zip(asked, heard, strict=False))
        self._pictures: list[Picture] = []
        self._shapes: list[Shape] = []
        self._sounds: list[Sound] = []
        self._outputs: list[Output] = []
        self._rungs: list[Rung] = []
        self._notes: list[str] = []

    def design(self) -> Design:
        """The design of every recipe."""
        for recipe in self._recipes:
            self._add(recipe)
        self._notes += self._left_out()
        self._fill_ladders()
        if not self._rungs:
            raise UnsupportedMedia("the source holds nothing that the recipes ask for")
        video = self._source.video
        length_us = max(rung.expect_us for rung in self._rungs)
        subtitles = self._source.subtitles
        burns = any(p.base.burn_in for p in self._pictures)
        encoding = Encoding(
            source=self._source.input,
            video=None if video is None else video.index,
            picture_us=0 if video is None else self._source.track(video).length_us,
            keep_rotation=any(p.recipe.rotation == "keep" for p in self._pictures)
            or bool(video and video.tilted_deg),
            subtitles=subtitles.index if subtitles and burns else None,
            cube=CUBE if any(p.base.tone_map for p in self._pictures) else None,
            pictures=cascaded(tuple(self._pictures), tuple(self._shapes)),
            sounds=tuple(self._sounds),
            outputs=tuple(self._outputs),
        )
        return Design(
            encoding=encoding,
            rungs=tuple(self._rungs),
            sizes=tuple(shape.made for shape in self._shapes),
            duration_ms=-(-length_us // 1000),
            notes=(*self._notes, *self._without_chapters(encoding)),
        )

    def _without_chapters(self, encoding: Encoding) -> list[str]:
        count, without = self._source.info.chapters, ffargs.without_chapters(encoding)
        names = [rung.recipe.name for rung in self._rungs if rung.output in without]
        if not count or not names:
            return []
        return [f"{count} chapter(s) of the source are not in {', '.join(names)}"]

    def _left_out(self) -> list[str]:
        """What of the source is in nothing that is made."""
        streams = self._source.info.streams
        found = []
        ladders = any(recipe.packaging and recipe.audio for recipe in self._recipes)
        if ladders and len(self._source.sounds) > MAX_SOUNDS:
            found.append(f"a ladder has the first {MAX_SOUNDS} sounds of the source alone")
        texts = [s for s in streams if s.kind == "subtitle"]
        wanted = {recipe.subtitles for recipe in self._recipes}
        kept = len(self._source.texts) if "sidecar" in wanted else int("burn_in" in wanted)
        if len(texts) > kept:
            told = ", ".join(s.language or "und" for s in texts)
            found.append(f"{len(texts) - kept} of the source's subtitles ({told}) were left out")
        others = sum(self._source.moves(s) for s in streams if s.kind == "video") - 1
        if others > 0 and self._pictures:
            found.append(f"{others} further picture(s) of the source were left out")
        # MP4 lists its chapters as one more track.
        count = self._source.info.chapters
        data = sum(s.kind == "data" and not (count and s.frames == count) for s in streams)
        return found + ([f"{data} data track(s) of the source were left out"] if data else [])

    def _add(self, recipe: Profile) -> None:
        notes: list[str] = []
        picture = self._picture(recipe, notes)
        if picture is None and recipe.video is not None and not recipe.audio:
            raise UnsupportedMedia(f"recipe {recipe.name!r} makes video and the source has none")
        if picture is not None and self._repeats(recipe, picture):
            self._drop_picture()
            self._notes.append(f"{recipe.name}: left out, the ladder has a rung of this size")
            return
        sounds = self._sounds_of(recipe, notes)
        if picture is None and not sounds:
            raise UnsupportedMedia(f"recipe {recipe.name!r} makes sound and the source has none")
        if picture is None and recipe.packaging and self._in_ladder(recipe.packaging):
            self._notes.append(f"{recipe.name}: left out, the ladder has its sound already")
            return
        self._rungs.append(
            Rung(
                recipe=recipe,
                output=self._output(recipe, picture, sounds),
                picture=picture,
                sounds=sounds,
                label=self._label(recipe, picture),
                expect_us=self._expected(picture, sounds),
                notes=tuple(notes),
            )
        )

    def _picture(self, recipe: Profile, notes: list[str]) -> int | None:
        video, wanted = self._source.video, recipe.video
        if wanted is None:
            return None
        if video is None:
            notes.append("the source has no picture: only its sound was made")
            return None
        formed = shape(shown_size(video, turned=wanted.rotation == "apply"), wanted)
        if formed.shrunk:
            notes.append(f"the source has fewer pixels: {formed.made[0]}x{formed.made[1]} was made")
        if video.tilted_deg:
            notes.append(
                f"the source says its picture is turned by about {video.tilted_deg} degrees, no "
                "quarter turn: it is shown as if it were not turned"
            )
        self._pictures.append(self._decided(recipe, wanted, video, formed, notes))
        self._shapes.append(formed)
        return len(self._pictures) - 1

    def _decided(
        self,
        recipe: Profile,
        wanted: VideoRecipe,
        video: StreamInfo,
        formed: Shape,
        notes: list[str],
    ) -> Picture:
        base = self._base(recipe, wanted, video, notes)
        grid = self._grid(recipe, wanted, video, base)
        deep = _deep(wanted, video, base)
        whole = formed.made == (video.width, video.height) and (video.sample_aspect or 1) == 1
        picture = Picture(
            recipe=wanted,
            base=base,
            scaled=None if whole and not _turns(wanted, video) else formed.scaled,
            cropped=formed.cropped,
            padded=formed.padded,
            pixel_format="yuv420p10le" if deep else "yuv420p",
            grid=grid,
            tick_s=self._tick_s(video, base),
            mastering=None if base.tone_map else video.mastering,
            light_levels=None if base.tone_map else video.light_levels,
        )
        if whole and self._meets(recipe, picture, video):
            notes.append("the source's picture meets the recipe: it was copied, not encoded")
            return picture.model_copy(update={"copied": True, "base": Base()})
        if not deep and video.color_transfer in _HDR and not base.tone_map:
            notes.append("an HDR picture in 8 bits shows bands; ask for 10 bits or toneMap sdr")
        return picture

    def _base(
        self, recipe: Profile, wanted: VideoRecipe, video: StreamInfo, notes: list[str]
    ) -> Base:
        interlaced = video.field_order in _INTERLACED
        return Base(
            deinterlace=wanted.deinterlace == "always"
            or (wanted.deinterlace == "auto" and interlaced),
            tone_map=wanted.tone_map == "sdr" and video.color_transfer in _HDR,
            fps=self._new_rate(recipe, wanted, video, notes),
            burn_in=self._burn_in(recipe, notes),
        )

    def _new_rate(
        self, recipe: Profile, wanted: VideoRecipe, video: StreamInfo, notes: list[str]
    ) -> Fraction | None:
        track = self._source.track(video)
        variable = track.variable
        if wanted.fps is not None:
            return wanted.fps if variable or wanted.fps != video.frame_rate else None
        if variable and video.frame_rate is None:
            # ffmpeg would take its clock for the rate, by which encoders plan their bits.
            usual = max(1, round(1_000_000 / max(1, track.step_us)))
            notes.append(f"the source names no rate of its frames: {usual} a second were made")
            return Fraction(usual)
        # SVT-AV1 sets keyframes by count alone, so a ladder needs frames at a steady rate.
        return _rate(video) if variable and wanted.codec == "av1" and recipe.packaging else None

    def _burn_in(self, recipe: Profile, notes: list[str]) -> Literal["text", "bitmap"] | None:
        if recipe.subtitles is None:
            return None
        found = self._source.subtitles
        if found is None:
            notes.append("the source has no subtitles")
            return None
        if recipe.subtitles == "sidecar":
            if not self._source.texts:
                notes.append(f"{found.codec} subtitles are pictures and have no text to write")
            return None
        if found.codec not in _TEXTS | _BITMAPS:
            raise UnsupportedMedia(f"{found.codec} subtitles cannot be drawn")
        return "text" if found.codec in _TEXTS else "bitmap"

    def _grid(self, recipe: Profile, wanted: VideoRecipe, video: StreamInfo, base: Base) -> Grid:
        rate = base.fps or _rate(video)
        frames = wanted.gop or self._shared_frames(recipe, rate)
        irregular = self._source.track(video).variable and base.fps is None
        return Grid(frames=frames, every=Fraction(frames) / rate if irregular else None)

    def _tick_s(self, video: StreamInfo, base: Base) -> Fraction | None:
        """What to count time in, where frames stand beside the steps of their rate."""
        track, rate = self._source.track(video), _rate(video)
        if base.fps is not None:
            return None
        if track.variable:
            return video.timebase
        begins_us = min(t.first_us for t in self._source.pace.tracks)
        late = Fraction(track.first_us - begins_us, 1_000_000) * rate
        if abs(late - round(late)) / rate <= _UNHEARD_S:
            return None
        return Fraction(1, rate.numerator * -(-_LEAST_TICKS // rate.numerator))

    def _shared_frames(self, recipe: Profile, rate: Fraction) -> int:
        slowest = rate
        if recipe.packaging is not None:
            named = [r.video.fps for r in self._ladder(recipe.packaging) if r.video and r.video.fps]
            slowest = min([rate, *named])
        seconds = max(1, round(slowest * DEFAULT_GOP_MS / 1000)) / slowest
        frames = seconds * rate
        if recipe.packaging is not None and frames.denominator != 1:
            raise UnsupportedMedia(
                f"rungs at {float(slowest):g} and {float(rate):g} frames a second share no "
                "keyframe grid"
            )
        return max(1, round(frames))

    def _ladder(self, packaging: Packaging) -> list[Profile]:
        return [r for r in self._recipes if r.packaging == packaging]

    def _meets(self, recipe: Profile, picture: Picture, video: StreamInfo) -> bool:
        wanted, track = picture.recipe, self._source.track(video)
        return (
            video.codec == wanted.codec
            and not track.hidden
            and picture.base == Base()
            and not _turns(wanted, video)
            and picture.cropped is None
            and picture.padded is None
            and video.pixel_format == picture.pixel_format
            and (wanted.bitrate is None or track.bitrate_bps <= wanted.bitrate * MOST_OVER)
            and self._fits_grid(recipe, picture, track)
        )

    def _fits_grid(self, recipe: Profile, picture: Picture, track: TrackPace) -> bool:
        if recipe.packaging is None and picture.recipe.gop is None:
            return True
        keyframes, grid = track.keyframes_us, picture.grid
        if keyframes is None or grid is None or not keyframes or track.open_gop:
            return False
        gop_us = grid.frames * track.step_us
        apart = zip(keyframes, (*keyframes[1:], track.end_us), strict=True)
        if picture.recipe.gop is not None and any(
            b - a > gop_us + track.step_us // 2 for a, b in apart
        ):
            return False
        return recipe.packaging is None or self._starts_segments(recipe, track, set(keyframes))

    def _starts_segments(self, recipe: Profile, track: TrackPace, keyframes: set[int]) -> bool:
        video = self._source.video
        if video is None or track.variable:
            return False
        segment = self._segment(recipe, _rate(video))
        count = int(Fraction(track.length_us, 1_000_000) / segment)
        starts = (track.first_us + round(n * segment * 1_000_000) for n in range(count + 1))
        inside = [at for at in starts if at < track.end_us]
        return all(any(at + off in keyframes for off in (-1, 0, 1)) for at in inside)

    def _segment(self, recipe: Profile, rate: Fraction) -> Fraction:
        """How long a segment is, in whole GOPs."""
        gop = recipe.video.gop if recipe.video else None
        frames = gop if gop is not None else self._shared_frames(recipe, rate)
        seconds = frames / rate
        return seconds * max(1, round(Fraction(recipe.segment_ms, 1000) / seconds))

    def _sounds_of(self, recipe: Profile, notes: list[str]) -> tuple[int, ...]:
        if recipe.audio is None:
            return ()
        found = self._source.sounds
        if not found:
            notes.append("the source has no sound")
        chosen = found[:MAX_SOUNDS] if recipe.packaging else found
        return tuple(self._sound(stream, recipe.audio, notes) for stream in chosen)

    def _sound(self, stream: StreamInfo, recipe: AudioRecipe, notes: list[str]) -> int:
        heard = self._heard.get((stream.index, recipe))
        if recipe.loudness_lufs is not None and heard is None:
            notes.append("the sound is silent, so its loudness was left alone")
        sound = _wanted(stream, recipe).model_copy(
            update={"copied": self._sound_meets(stream, recipe), "loudness": heard}
        )
        if sound.copied:
            notes.append("the source's sound meets the recipe: it was copied, not encoded")
        if sound not in self._sounds:
            self._sounds.append(sound)
        return self._sounds.index(sound)

    def _sound_meets(self, stream: StreamInfo, recipe: AudioRecipe) -> bool:
        return (
            stream.codec == recipe.codec
            and self._source.track(stream).hidden <= MOST_PRIMING
            and recipe.loudness_lufs is None
            and (stream.channels or 0) <= recipe.channels
            and self._source.track(stream).bitrate_bps <= recipe.bitrate * MOST_OVER
        )

    def _repeats(self, recipe: Profile, number: int) -> bool:
        """Whether a ladder has a rung of this codec, size and rate already."""
        if recipe.packaging is None:
            return False
        picture, made = self._pictures[number], self._shapes[number].made
        for rung in self._rungs:
            if rung.recipe.packaging != recipe.packaging or rung.picture is None:
                continue
            other = self._pictures[rung.picture]
            same = (other.recipe.codec, self._shapes[rung.picture].made, other.base.fps)
            if same == (picture.recipe.codec, made, picture.base.fps):
                return self._shapes[number].shrunk or self._shapes[rung.picture].shrunk
        return False

    def _drop_picture(self) -> None:
        self._pictures.pop()
        self._shapes.pop()

    def _in_ladder(self, packaging: Packaging) -> bool:
        return any(rung.recipe.packaging == packaging for rung in self._rungs)

    def _output(self, recipe: Profile, picture: int | None, sounds: tuple[int, ...]) -> int:
        pictures = () if picture is None else (picture,)
        if recipe.packaging is None:
            number = len(self._outputs)
            name = f"out{number}.{recipe.container}"
            self._outputs.append(
                Output(name=name, container=recipe.container, pictures=pictures, sounds=sounds)
            )
            return number
        for number, output in enumerate(self._outputs):
            if output.form == recipe.packaging:
                return number
        name = "hls" if recipe.packaging == "hls" else "dash.mpd"
        self._outputs.append(Output(name=name, form=recipe.packaging))
        return len(self._outputs) - 1

    def _fill_ladders(self) -> None:
        """A ladder lists its pictures, then its sounds once, under the names of its playlists."""
        for number, output in enumerate(self._outputs):
            if output.form == "file":
                continue
            rungs = [rung for rung in self._rungs if rung.output == number]
            pictures = tuple(r.picture for r in rungs if r.picture is not None)
            sounds = tuple(dict.fromkeys(s for rung in rungs for s in rung.sounds))
            labels = [r.label for r in rungs if r.picture is not None]
            video = self._source.video
            rate = Fraction(48000, 1024) if video is None else self._slowest(rungs, video)
            segment = self._segment(rungs[0].recipe, rate)
            self._outputs[number] = output.model_copy(
                update={
                    "shapes": self._alike(pictures) if output.form == "dash" else (),
                    "pictures": pictures,
                    "sounds": sounds,
                    "labels": (*labels, *(f"sound{n or ''}" for n in range(len(sounds)))),
                    "segment_us": int(segment * 1_000_000),
                }
            )

    def _alike(self, pictures: tuple[int, ...]) -> tuple[int, ...]:
        """For each picture a number its likes share; even sides are evened out by their pixels."""
        aspects: list[Fraction] = []
        found: list[int] = []
        for number in pictures:
            aspect = Fraction(*self._shapes[number].made)
            like = next((n for n, a in enumerate(aspects) if abs(a / aspect - 1) < _NEARLY), None)
            if like is None or self._pictures[number].copied:
                like = aspects.index(aspect) if aspect in aspects else len(aspects)
                aspects += [aspect] if like == len(aspects) else []
            elif aspects[like] != aspect:
                even = {"sample_aspect": aspects[like] / aspect}
                self._pictures[number] = self._pictures[number].model_copy(update=even)
            found.append(like)
        return tuple(found)

    def _slowest(self, rungs: list[Rung], video: StreamInfo) -> Fraction:
        rates = [
            self._pictures[r.picture].base.fps or _rate(video)
            for r in rungs
            if r.picture is not None
        ]
        return min(rates, default=_rate(video))

    def _label(self, recipe: Profile, picture: int | None) -> str:
        if recipe.packaging is None:
            return ""
        stem = "sound" if picture is None else f"{self._shapes[picture].made[1]}p"
        taken = {r.label for r in self._rungs if r.recipe.packaging == recipe.packaging}
        return next(
            name for name in (stem, *(f"{stem}-{n}" for n in range(2, 20))) if name not in taken
        )

    def _expected(self, picture: int | None, sounds: tuple[int, ...]) -> int:
        video = self._source.video
        if picture is not None and video is not None:
            return self._source.track(video).length_us
        tracks = [self._source.pace.of(self._sounds[n].stream) for n in sounds]
        return max((t.length_us for t in tracks if t is not None), default=0)


def cascaded(pictures: tuple[Picture, ...], shapes: tuple[Shape, ...]) -> tuple[Picture, ...]:
    """The pictures, the small ones scaled from the smallest large one of the same kind."""
    return tuple(
        picture.model_copy(update={"beneath": _beneath(number, pictures, shapes)})
        for number, picture in enumerate(pictures)
    )


def _beneath(number: int, pictures: tuple[Picture, ...], shapes: tuple[Shape, ...]) -> int | None:
    small = pictures[number]
    if small.copied or not _plain(small) or shapes[number].made[1] >= CASCADE_BELOW:
        return None
    width, height = shapes[number].made
    larger = [
        (shapes[n].made[1], n)
        for n, other in enumerate(pictures)
        if not other.copied
        and _plain(other)
        and other.base == small.base
        and other.pixel_format == small.pixel_format
        and shapes[n].made[1] >= CASCADE_BELOW
        and shapes[n].made[1] > height
        and abs(Fraction(*shapes[n].made) / Fraction(width, height) - 1) < Fraction(1, 50)
    ]
    return min(larger)[1] if larger else None


def _plain(picture: Picture) -> bool:
    return picture.cropped is None and picture.padded is None and picture.recipe.fit == "contain"


def _turns(wanted: VideoRecipe, video: StreamInfo) -> bool:
    # What is copied keeps its flag, also one that nobody obeys.
    return wanted.rotation == "apply" and (_is_turned(video) or video.tilted_deg != 0)


def _is_turned(video: StreamInfo) -> bool:
    return video.rotation_deg != 0 or video.mirrored


def _deep(wanted: VideoRecipe, video: StreamInfo, base: Base) -> bool:
    if wanted.bit_depth is not None:
        return wanted.bit_depth == 10
    source_is_deep = any(part in (video.pixel_format or "") for part in ("10", "12", "14", "16"))
    return source_is_deep and not base.tone_map and wanted.codec != "h264"


def _rate(video: StreamInfo) -> Fraction:
    return video.frame_rate or _DEFAULT_RATE


def _first(streams: Iterable[StreamInfo]) -> StreamInfo | None:
    found = list(streams)
    return next((s for s in found if s.default), found[0] if found else None)
