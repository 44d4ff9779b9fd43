"""From selected segments to the steps that bring them into the workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from pipelines.window import Selection
from schemas.base import Value
from schemas.cuts import GapPolicy
from schemas.errors import Encrypted, TooLarge
from schemas.media import (
    AudioRendition,
    HeldSegment,
    HeldTrack,
    InitSection,
    PtsClock,
    Segment,
    SegmentKey,
    implied_iv,
)
from schemas.plans import DecryptKey, Fetch

MAX_SEGMENT_BYTES = 512 * 1024 * 1024
MAX_INIT_BYTES = 16 * 1024 * 1024


class Located(Value):
    """One track's fetches, and the track as it will be held once they are done.

    `extras` names the files that lie outside the range: where one is absent it is simply left out.
    """

    track: HeldTrack
    fetches: tuple[Fetch, ...]
    extras: frozenset[str] = frozenset()

    @property
    def key_uris(self) -> tuple[str, ...]:
        """Every key that is needed, once."""
        return tuple(dict.fromkeys(fetch.key.uri for fetch in self.fetches if fetch.key))


def located(
    selection: Selection,
    *,
    prefix: str = "v",
    gaps: GapPolicy = "fail",
    rendition: AudioRendition | None = None,
) -> Located:
    """The fetch steps for what was selected of the main playlist, or of an audio rendition.

    Names depend on the segment alone, so a later selection of the same playlist names what is
    already there alike. Raises Encrypted where the range touches segments under DRM.
    """
    beside = (*selection.extras, *selection.anchors)
    fetches: dict[str, Fetch] = {}
    for segment in (*selection.segments, *beside):
        if not segment.gap:
            optional = gaps != "fail" or segment in beside
            for fetch in _fetches(segment, prefix, optional=optional):
                fetches.setdefault(fetch.name, fetch)
    within = sorted(
        (*selection.segments, *selection.extras),
        key=lambda s: (s.discontinuity_sequence, s.sequence),
    )
    track = HeldTrack(
        role=_role(rendition),
        name=rendition.name if rendition else "",
        language=rendition.language if rendition else None,
        default=rendition.default if rendition else True,
        clock=selection.clock,
        segments=tuple(_held(segment, prefix) for segment in within),
        anchors=tuple(_held(segment, prefix) for segment in selection.anchors),
        pts_clocks=_used(selection.pts_clocks, within),
        end_doubt_us=selection.end_doubt_us,
    )
    extras = frozenset(_name(segment, prefix) for segment in selection.extras)
    return Located(track=track, fetches=tuple(fetches.values()), extras=extras)


def held(plan: Located, sizes: Mapping[str, int]) -> HeldTrack:
    """The track as it was really fetched: `sizes` has every file that arrived.

    An absent segment of the range becomes a gap that keeps its time; an absent extra or anchor is
    left out.
    """
    segments = (
        _arrived(segment, sizes)
        for segment in plan.track.segments
        if segment.name not in plan.extras or _is_here(segment, sizes)
    )
    anchors = (_arrived(s, sizes) for s in plan.track.anchors if _is_here(s, sizes))
    return plan.track.model_copy(update={"segments": tuple(segments), "anchors": tuple(anchors)})


def _used(clocks: Iterable[PtsClock], segments: Iterable[Segment]) -> tuple[PtsClock, ...]:
    """The clocks of the regions these segments are of."""
    regions = {segment.discontinuity_sequence for segment in segments}
    return tuple(clock for clock in clocks if clock.discontinuity_sequence in regions)


def _role(rendition: AudioRendition | None) -> Literal["main", "audio"]:
    return "main" if rendition is None else "audio"


def _is_here(segment: HeldSegment, sizes: Mapping[str, int]) -> bool:
    return segment.name in sizes and (segment.init_name is None or segment.init_name in sizes)


def _arrived(segment: HeldSegment, sizes: Mapping[str, int]) -> HeldSegment:
    if segment.name is None or not _is_here(segment, sizes):
        return segment.model_copy(update={"name": None, "init_name": None, "size": 0})
    return segment.model_copy(update={"size": sizes[segment.name]})


def _held(segment: Segment, prefix: str) -> HeldSegment:
    init = segment.init if not segment.gap else None
    return HeldSegment(
        name=None if segment.gap else _name(segment, prefix),
        init_name=_init_name(init, prefix) if init else None,
        sequence=segment.sequence,
        discontinuity_sequence=segment.discontinuity_sequence,
        duration_us=segment.duration_us,
        start_us=segment.start_us,
        pdt_us=segment.pdt_us,
    )


def _fetches(segment: Segment, prefix: str, *, optional: bool) -> list[Fetch]:
    """The segment's init section, where it has one, and the segment."""
    found = [_init_fetch(segment.init, prefix)] if segment.init else []
    media = fetch_of(segment, _name(segment, prefix))
    return [*found, media.model_copy(update={"optional": optional})]


def fetch_of(segment: Segment, name: str) -> Fetch:
    """The step that brings a segment here, without its init section."""
    if segment.byte_range and segment.byte_range.length > MAX_SEGMENT_BYTES:
        raise TooLarge(
            f"segment {segment.sequence} has {segment.byte_range.length} bytes, "
            f"over {MAX_SEGMENT_BYTES}"
        )
    key = None
    if segment.key:
        key = _decrypt_key(segment.key, segment.key.iv_hex or implied_iv(segment.sequence))
    return Fetch(
        uri=segment.uri,
        name=name,
        byte_range=segment.byte_range,
        key=key,
        max_bytes=MAX_SEGMENT_BYTES,
    )


def _init_fetch(init: InitSection, prefix: str) -> Fetch:
    if init.byte_range and init.byte_range.length > MAX_INIT_BYTES:
        raise TooLarge(f"an initialisation section is over {MAX_INIT_BYTES} bytes")
    key = _decrypt_key(init.key, init.key.iv_hex or implied_iv(0)) if init.key else None
    return Fetch(
        uri=init.uri,
        name=_init_name(init, prefix),
        byte_range=init.byte_range,
        key=key,
        max_bytes=MAX_INIT_BYTES,
    )


def _decrypt_key(key: SegmentKey, iv_hex: str) -> DecryptKey:
    if key.method != "AES-128":
        scheme = key.method if key.method != "OTHER" else "DRM"
        raise Encrypted(f"the range is protected by {scheme} ({key.key_format[:60]})")
    return DecryptKey(uri=key.uri, iv_hex=iv_hex)


def _name(segment: Segment, prefix: str) -> str:
    ending = "m4s" if segment.init else "ts"
    return f"{prefix}-{segment.discontinuity_sequence}-{segment.sequence:06d}.{ending}"


def _init_name(init: InitSection, prefix: str) -> str:
    digest = hashlib.sha256(init.model_dump_json().encode()).hexdigest()
    return f"{prefix}-init-{digest[:16]}.mp4"
