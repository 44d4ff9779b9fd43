"""Which variant and which audio renditions of a multivariant playlist serve a purpose."""

from __future__ import annotations

import re

from schemas.errors import UnsupportedMedia
from schemas.media import AudioRendition, MultivariantPlaylist, SubtitleRendition, Variant

_VIDEO = re.compile(r"(avc[13]|hvc1|hev1)(\.|$)", re.IGNORECASE)
_AUDIO = re.compile(r"(mp4a|ac-3|ec-3|mp3|opus|flac|alac|ac-4|dtsc|dtse|dtsx)(\.|$)", re.IGNORECASE)
_TEXT = re.compile(r"(wvtt|stpp)(\.|$)", re.IGNORECASE)


def best(playlist: MultivariantPlaylist) -> Variant:
    """The variant a clip is cut from: most pixels, then most bits, of those we can cut."""
    return max(_cuttable(playlist), key=_rank)


def smallest(playlist: MultivariantPlaylist) -> Variant:
    """The variant a picture is taken from: the fewest bytes that still hold video."""
    return min(_cuttable(playlist), key=_rank)


def audio_of(playlist: MultivariantPlaylist, variant: Variant) -> tuple[AudioRendition, ...]:
    """The audio renditions of a variant's group, the default one first; each playlist once.

    A rendition without a URI is muxed into the variant itself.
    """
    if variant.audio_group is None:
        return ()
    group = [r for r in playlist.audio if r.group_id == variant.audio_group]
    group.sort(key=lambda rendition: not rendition.default)
    found: dict[tuple[str | None, str], AudioRendition] = {}
    for rendition in group:
        # Two entries may name one playlist, for two accessibility purposes; one copy will do.
        found.setdefault((rendition.uri, "" if rendition.uri else rendition.name), rendition)
    return tuple(found.values())


def subtitles_of(playlist: MultivariantPlaylist, variant: Variant) -> tuple[SubtitleRendition, ...]:
    """The subtitle renditions of a variant's group, the default one first; each playlist once."""
    group = [r for r in playlist.subtitles if r.group_id == variant.subtitle_group]
    group.sort(key=lambda rendition: not rendition.default)
    found: dict[str, SubtitleRendition] = {}
    for rendition in group:
        found.setdefault(rendition.uri, rendition)
    return tuple(found.values())


def holds_video(variant: Variant) -> bool:
    """Whether it holds video we can cut; the codecs decide, or where unsaid, a resolution."""
    codecs = _codecs(variant)
    if any(_VIDEO.match(codec) for codec in codecs):
        return True
    unknown = [c for c in codecs if not _AUDIO.match(c) and not _TEXT.match(c)]
    return not unknown and (not codecs or bool(variant.width))


def _cuttable(playlist: MultivariantPlaylist) -> tuple[Variant, ...]:
    if not playlist.variants:
        raise UnsupportedMedia("the multivariant playlist names no variant")
    found = tuple(variant for variant in playlist.variants if holds_video(variant))
    if not found:
        named = sorted({codec for variant in playlist.variants for codec in _codecs(variant)})
        raise UnsupportedMedia(f"no variant holds H.264 or HEVC video, only {', '.join(named)}")
    # A variant that says nothing of itself may be sound alone: it serves only where all are so.
    described = tuple(v for v in found if v.codecs or v.width)
    return described or found


def _codecs(variant: Variant) -> list[str]:
    return [codec.strip()[:40] for codec in (variant.codecs or "").split(",") if codec.strip()]


def _rank(variant: Variant) -> tuple[int, int]:
    return (variant.width or 0) * (variant.height or 0), variant.bandwidth_bps
