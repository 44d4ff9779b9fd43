"""Edges: decoded from the place to start before them and encoded again, next to lossless."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags, Flags2
from av.error import FFmpegError

from media.cut import h264, hevc
from media.cut.bits import join_annexb, split_annexb
from media.cut.display import Colour, Display
from media.cut.reading import Picture
from schemas.cuts import PictureFacts
from schemas.errors import CorruptMedia, UnsupportedMedia

DECODERS = {"h264": "h264", "hevc": "hevc", "mpeg2video": "mpeg2video"}
_PROFILES = {
    44: "high444", 66: "baseline", 77: "main", 88: "main", 100: "high", 110: "high10",
    122: "high422", 244: "high444",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """How pictures are encoded: codec, options of the encoder, pixel format and display facts."""

    encoder: str
    options: dict[str, str]
    pixel_format: str
    timebase: Fraction
    rate: Fraction
    aspect: Fraction | None = None
    colour: Colour = Display().colour


@dataclass(slots=True)
class Encoded:
    """An encoded piece: pictures in decode order with their PTS, and the sets they use."""

    sets: tuple[bytes, ...]
    nals: list[tuple[bytes, ...]]
    pts: list[int]
    syncs: list[bool]


Frames = Iterable[Any]


def decoded(
    pictures: Iterable[Picture], facts: PictureFacts, keep: Callable[[int], bool]
) -> Iterator[Any]:
    """The frames that are kept, in display order."""
    decoder = _decoder(facts)
    for picture in pictures:
        if not keep(picture.pts) and _disposable(picture):
            continue
        packet = av.Packet(_stream_bytes(picture))
        packet.pts = picture.pts
        packet.time_base = facts.timebase
        for frame in _decode(decoder, packet):
            if keep(frame.pts):
                yield frame
    for frame in _decode(decoder, None):
        if keep(frame.pts):
            yield frame


def decodes_cleanly(pictures: Iterable[Picture], facts: PictureFacts) -> bool:
    """Whether a decoder that forgives nothing gets through all pictures."""
    decoder = _decoder(facts)
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode"}
    try:
        for picture in pictures:
            decoder.decode(av.Packet(_stream_bytes(picture)))
        decoder.decode(None)
    except FFmpegError:
        return False
    return True


def _disposable(picture: Picture) -> bool:
    """Whether no other picture leans on one, so that it need not be decoded to be left out."""
    if picture.source.codec == "h264":
        return not h264.is_reference(picture.nals())
    if picture.source.codec == "hevc":
        kind = hevc.picture_type(picture.nals())
        return kind is not None and kind < 16 and kind % 2 == 0
    return False


def _stream_bytes(picture: Picture) -> bytes:
    if picture.source.codec in {"h264", "hevc"}:
        return join_annexb(picture.nals())
    return picture.source.data(picture.index)


def _decoder(facts: PictureFacts) -> Any:
    name = DECODERS.get(facts.codec)
    if name is None:
        raise UnsupportedMedia(f"pictures of {facts.codec} cannot be decoded here")
    decoder = av.CodecContext.create(name, "r")
    sets = [bytes.fromhex(nal) for nal in facts.sets]
    if sets:
        decoder.extradata = join_annexb(sets)
    decoder.thread_count = 2
    decoder.thread_type = "AUTO"
    decoder.flags |= Flags.output_corrupt
    decoder.flags2 |= Flags2.show_all
    return decoder


def _decode(decoder: Any, packet: Any) -> list[Any]:
    try:
        return list(decoder.decode(packet))
    except FFmpegError as error:
        raise CorruptMedia(f"a picture at an edge does not decode: {error.strerror}") from error


def edge_recipe(facts: PictureFacts, set_id: int) -> Recipe:
    """The recipe for edges: same codec, profile and display facts, quality before size.

    At this rate factor `ultrafast` loses nothing against `superfast` (55 dB both on noisy 1080p)
    and takes a third of its time; pieces are short, so their bits do not matter.
    """
    rate = 1 / (max(facts.frame_ticks, 1) * facts.timebase)
    if facts.codec == "hevc":
        return _hevc_recipe(facts, rate)
    sps = next(
        h264.parse_sps(nal) for nal in map(bytes.fromhex, facts.sets) if h264.nal_type(nal) == 7
    )
    profile = _PROFILES.get(sps.profile_idc, "high")
    baseline = sps.profile_idc == 66
    params = [
        f"sps-id={set_id}", "keyint=infinite", "scenecut=0", "stitchable=1",
        f"bframes={0 if baseline else 2}", "b-pyramid=none",
    ]  # fmt: skip
    if not sps.frame_mbs_only:
        params.append("bff=1" if facts.bottom_field_first else "tff=1")
    return Recipe(
        encoder="libx264",
        options={
            "preset": "ultrafast", "crf": "14", "profile": profile, "x264-params": ":".join(params),
        },
        pixel_format=_pixel_format(sps.chroma_format_idc, sps.bit_depth_luma),
        timebase=facts.timebase,
        rate=rate,
        aspect=sps.display.aspect,
        colour=sps.display.colour,
    )  # fmt: skip


def _hevc_recipe(facts: PictureFacts, rate: Fraction) -> Recipe:
    sps = next(
        hevc.parse_sps(nal) for nal in map(bytes.fromhex, facts.sets) if hevc.nal_type(nal) == 33
    )
    params = "keyint=-1:scenecut=0:open-gop=0:bframes=2:b-pyramid=0:info=0"
    return Recipe(
        encoder="libx265",
        options={
            "preset": "ultrafast", "crf": "14", "x265-params": params + ":log-level=none",
        },
        pixel_format=_pixel_format(sps.chroma_format_idc, sps.bit_depth_luma),
        timebase=facts.timebase,
        rate=rate,
        aspect=sps.display.aspect,
        colour=sps.display.colour,
    )  # fmt: skip


def whole_recipe(facts: PictureFacts) -> Recipe:
    """The recipe where the whole is re-encoded: H.264, regular keyframes."""
    rate = 1 / (max(facts.frame_ticks, 1) * facts.timebase)
    gop = max(1, round(2 * rate))
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
    if facts.interlaced:
        params += ":bff=1" if facts.bottom_field_first else ":tff=1"
    return Recipe(
        encoder="libx264",
        options={
            "preset": "veryfast", "crf": "18", "profile": "high", "x264-params": params,
        },
        pixel_format="yuv420p",
        timebase=facts.timebase,
        rate=rate,
        aspect=facts.aspect,
        colour=_colour(facts),
    )  # fmt: skip


def _colour(facts: PictureFacts) -> Colour:
    """What the source says of its colours, where its parameter sets do."""
    sets = [bytes.fromhex(nal) for nal in facts.sets]
    if facts.codec == "hevc":
        return next(hevc.parse_sps(n).display.colour for n in sets if hevc.nal_type(n) == 33)
    if facts.codec == "h264":
        return next(h264.parse_sps(n).display.colour for n in sets if h264.nal_type(n) == 7)
    return Display().colour


def _pixel_format(chroma: int, depth: int) -> str:
    name = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}[chroma]
    return name if depth == 8 else f"{name}{depth}le"


def encode(frames: Iterable[Any], recipe: Recipe) -> Iterator[tuple[int, bool, tuple[bytes, ...]]]:
    """Encoded pictures in decode order as `(pts, sync, NAL units)`; the first carries the sets."""
    encoder: Any = None
    for frame in frames:
        if encoder is None:
            encoder = _encoder(recipe, frame.width, frame.height)
        picture = frame
        if frame.format.name != recipe.pixel_format:
            picture = frame.reformat(format=recipe.pixel_format)
        picture.pts = frame.pts
        picture.time_base = recipe.timebase
        picture.pict_type = 0
        yield from _encode(encoder, picture)
    if encoder is not None:
        yield from _encode(encoder, None)


def _encoder(recipe: Recipe, width: int, height: int) -> Any:
    encoder: Any = av.CodecContext.create(recipe.encoder, "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = recipe.pixel_format
    encoder.thread_count = 2
    encoder.time_base = recipe.timebase
    encoder.framerate = recipe.rate.limit_denominator(100_000)
    encoder.options = dict(recipe.options)
    if recipe.aspect:
        encoder.sample_aspect_ratio = recipe.aspect
    primaries, transfer, matrix, full = recipe.colour
    encoder.color_primaries = 2 if primaries is None else primaries
    encoder.color_trc = 2 if transfer is None else transfer
    encoder.colorspace = 2 if matrix is None else matrix
    if full is not None:
        encoder.color_range = 2 if full else 1
    try:
        encoder.open()
    except FFmpegError as error:
        raise UnsupportedMedia(f"the edge encoder does not take this format: {error}") from error
    return encoder


def _encode(encoder: Any, frame: Any) -> Iterator[tuple[int, bool, tuple[bytes, ...]]]:
    try:
        packets = encoder.encode(frame)
    except FFmpegError as error:
        raise UnsupportedMedia(f"an edge cannot be encoded: {error.strerror}") from error
    for packet in packets:
        yield packet.pts, packet.is_keyframe, split_annexb(bytes(packet))


def piece(frames: Iterable[Any], recipe: Recipe, expected: int) -> Encoded:
    """A whole piece, encoded; its number of frames must be what was planned."""
    done = Encoded((), [], [], [])
    for pts, sync, nals in encode(frames, recipe):
        done.nals.append(nals)
        done.pts.append(pts)
        done.syncs.append(sync)
    if len(done.pts) != expected:
        raise CorruptMedia(f"{len(done.pts)} of {expected} frames of an edge decode")
    codec = hevc if recipe.encoder == "libx265" else h264
    done.sets = codec.sets_of(done.nals[0])
    return done
