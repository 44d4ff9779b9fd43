"""Time-addressable Media Stores: their sources as channels, their flows' segments as media.

Written from the published specification (BBC R&D, API 6 to 8): sources and flows are listed page by
page, and a flow's segments are listed for a timerange, each with an object and where to get it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from pydantic import BaseModel, Field, field_validator

from connectors._tams_api import Api, Auth, checked_url, valid
from connectors._tams_playlist import (
    Flow,
    FlowSegment,
    Got,
    Member,
    Placed,
    bitrate_bps,
    media_playlist,
    multivariant,
    placed,
    plain,
)
from connectors._tams_reference import Stretch, collected, named, referred
from connectors._tams_time import (
    SECOND,
    Span,
    Timescale,
    on_timeline,
    parse_span,
    spelled,
    wall_ns,
)
from connectors.base import (
    Channel,
    ConfigModel,
    ConnectorEnv,
    Control,
    Entry,
    OnBytes,
    Page,
    Query,
    Reference,
    paged,
)
from connectors.egress import Body
from schemas.connectors import Capability
from schemas.errors import (
    CorruptMedia,
    InFuture,
    OutsideWindow,
    SourceNotFound,
    TooLarge,
    UnsupportedMedia,
)
from schemas.media import ByteRange
from schemas.times import TimeRange

if TYPE_CHECKING:
    from connectors.egress import Downloaded

TYPE = "tams"
IDENTITY = ("url", "timescale")
MAX_SOURCES = 10_000
MAX_FLOWS = 1000
MAX_SEGMENTS = 50_000
# What stands beside a range is listed too: the cut may need its last bytes.
BESIDE_NS = 2 * SECOND
# Coded frames of sound that belong to a stretch begin this much beside it, at most.
SOUND_NS = SECOND // 10
# A flow that says nothing of itself is live while its edge is no older than this.
LIVE_EDGE_NS = 120 * SECOND
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_SHOWN = frozenset({"video", "multi"})
_LISTED = frozenset({"video", "multi", "audio"})
_CUTTABLE = frozenset({"video/mp2t", "video/mp4", "audio/mp4", "audio/mp2t", "audio/aac", None})
_GROWING = frozenset({"awaiting_content", "ingesting", "replication_in_progress"})


class Config(ConfigModel):
    """Where the store's API is, and what its timelines count."""

    url: str = Field(max_length=2048, description="the API's base, https://host/path")
    timescale: Timescale = Field(
        default="tai",
        description="`tai` as the specification has it, or `unix` where a store counts UTC",
    )

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        return checked_url(url)


class Source(Got):
    """What flows are encodings of."""

    id: str
    format: str = ""
    label: str | None = None
    description: str | None = None

    @property
    def kind(self) -> str:
        """`video`, `audio`, `multi`, `data` or `image`."""
        return self.format.rpartition(":")[2]


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> TamsStore:
    """The store; nothing is asked of it yet."""
    return TamsStore(config, auth, env)


class TamsStore:
    """Sources and flows of a store; either's id names a channel."""

    def __init__(self, config: Config, auth: Auth, env: ConnectorEnv) -> None:
        self._config, self._env = config, env
        self._api = Api(config.url, auth, env)

    def check(self, capability: Capability | None = None) -> None:
        """The service answers as a store does, and shows what it has."""
        service = self._api.get_object("/service", None)
        if "type" not in service and "media_store" not in service:
            raise CorruptMedia("the URL answers, but not as a Time-addressable Media Store does")
        if capability is not None:
            next(self._api.listed("/sources", {"limit": "1"}, Source, 1, None), None)

    def query(self, query: Query) -> Page:
        """The sources as channels; below a source, its flows."""
        if not query.path:
            return paged((_entry(s.id, s.label) for s in self._sources()), query)
        flows = self._flows_of(_known_id(query.path), None)
        if not flows:
            raise SourceNotFound("the store has no such source")
        return paged((_entry(flow.id, _flow_name(flow)) for flow in flows), query)

    def channels(self) -> tuple[Channel, ...]:
        """Every source that has pictures or sound."""
        return tuple(Channel(id=s.id, name=plain(s.label or s.id)) for s in self._sources())

    def playlist_url(self, channel_id: str) -> str:
        """The address of all a source or a flow holds."""
        return f"{self._config.url}/flows/{_known_id(channel_id)}"

    def playlist_within(self, channel_id: str, wanted: TimeRange) -> str:
        """The address of what it holds of a range."""
        start, end = on_timeline(wanted, self._config.timescale)
        return f"{self.playlist_url(channel_id)}?timerange={quote(spelled(start, end), safe='')}"

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
    ) -> Body:
        """A channel or a flow as a playlist; anything else, as keys and init sections, as it is."""
        asked = _asked(self._config.url, url)
        if asked is None:
            return self._api.get_bytes(url, max_bytes, byte_range, control)
        data = self._playlist(asked, control).encode()
        if len(data) > max_bytes:
            raise TooLarge(f"the playlist has more than {max_bytes} bytes")
        return Body(data=data, url=url, content_type="application/vnd.apple.mpegurl")

    def download(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Downloaded:
        """An object into a file."""
        done = self._env.egress.download(
            self._api.signed(url),
            path,
            max_bytes=max_bytes,
            headers=self._api.headers(url, control),
            byte_range=byte_range,
            on_bytes=on_bytes,
            control=control,
        )
        return done.model_copy(update={"url": url})

    def refer(self, channel_id: str, wanted: TimeRange, name: str) -> Reference:
        """The stretch as a source of its own, whose flows refer to the same objects."""
        flow, scale = self._chosen(_known_id(channel_id), None), self._config.timescale
        start, end = on_timeline(wanted, scale)
        stretch = Stretch(start_ns=start, end_ns=end, name=plain(name))
        members = [flow] if flow.populated else [f for _, f in self._members(flow, None)]
        for member in members:
            self._check_whole(member, Span(start_ns=start, end_ns=end))
        if not members:
            raise UnsupportedMedia("the flow has no segments, nor have those it collects")
        base = self._config.url
        made = [self._referred(member, stretch) for member in members]
        source = named(base, "sources", flow.source_id or flow.id, stretch)
        if not flow.populated:
            roles = {m.id: m.role for m in flow.flow_collection}
            listed = [
                {"id": new, **({"role": role} if (role := roles.get(old.id)) else {})}
                for (new, _), old in zip(made, members, strict=True)
            ]
            source = collected(self._api, base, flow, listed, stretch)
        return Reference(
            channel_id=source,
            name=stretch.name,
            start_ms=wanted.start_ms,
            end_ms=wanted.end_ms,
            objects=sum(count for _, count in made),
        )

    def _referred(self, flow: Flow, stretch: Stretch) -> tuple[str, int]:
        """A flow of the stretch; of sound a little more, whose frames begin elsewhere."""
        held = parse_span(flow.timerange or "()")
        if flow.kind == "audio" and held.start_ns is not None and held.end_ns is not None:
            wide = {
                "start_ns": max(stretch.start_ns - SOUND_NS, held.start_ns),
                "end_ns": min(stretch.end_ns + SOUND_NS, held.end_ns),
            }
            stretch = stretch.model_copy(update=wide)
        return referred(self._api, self._config.url, flow, stretch)

    def _check_whole(self, flow: Flow, span: Span) -> None:
        """Refuse what is not there from its start to its end."""
        held, scale = parse_span(flow.timerange or "()"), self._config.timescale
        live = self._is_live(flow, held)
        _check_held(held, span, scale, live=live)
        if live and (span.end_ns or 0) > (held.end_ns or 0):
            edge_ms = wall_ns(held.end_ns or 0, scale) // 10**6
            raise InFuture(f"the range goes past {edge_ms}, where the flow ends so far")

    def _sources(self) -> list[Source]:
        found = self._api.listed("/sources", {}, Source, MAX_SOURCES, None)
        return [source for source in found if source.kind in _LISTED and _ID.fullmatch(source.id)]

    def _flows_of(self, source_id: str, control: Control | None) -> list[Flow]:
        found = self._api.listed("/flows", {"source_id": source_id}, Flow, MAX_FLOWS, control)
        return [flow for flow in found if _ID.fullmatch(flow.id)]

    def _flow(self, flow_id: str, control: Control | None) -> Flow:
        path = f"/flows/{flow_id}?include_timerange=true"
        return valid(Flow, self._api.get_object(path, control))

    def _playlist(self, asked: _Asked, control: Control | None) -> str:
        if asked.segments:
            flow = self._flow(asked.id, control)
            return self._segments_of(flow, asked.span, control, stated=True)
        flow = self._chosen(asked.id, control)
        if flow.kind != "multi" or flow.populated or not flow.flow_collection:
            return self._segments_of(flow, asked.span, control)
        return self._together(flow, asked, control)

    def _chosen(self, channel_id: str, control: Control | None) -> Flow:
        """The flow of this id, or the one that shows a source best."""
        try:
            return self._flow(channel_id, control)
        except SourceNotFound:
            flows = self._flows_of(channel_id, control)
        known = [f for f in flows if f.kind == "multi" or f.container in _CUTTABLE]
        if not known:
            raise SourceNotFound("the store has no such source or flow that can be cut")
        return self._flow(max(known, key=_rank).id, control)

    def _together(self, multi: Flow, asked: _Asked, control: Control | None) -> str:
        """The flows of a collection as one multivariant playlist."""
        usable = [(m, f) for m, f in self._members(multi, control) if f.container in _CUTTABLE]
        pictures = [(f, self._media_url(f, asked)) for _, f in usable if f.kind == "video"]
        sounds = [
            (f, m.role or _flow_name(f), self._media_url(f, asked))
            for m, f in usable
            if f.kind == "audio"
        ]
        if not pictures and not sounds:
            raise UnsupportedMedia("the flow collects none that has segments that can be cut")
        if not pictures:
            return self._segments_of(sounds[0][0], asked.span, control)
        return multivariant(pictures, sounds)

    def _members(self, multi: Flow, control: Control | None) -> list[tuple[Member, Flow]]:
        """The flows a collection names that have segments."""
        named_ones = [m for m in multi.flow_collection[:MAX_FLOWS] if _ID.fullmatch(m.id)]
        found = [(member, self._flow(member.id, control)) for member in named_ones]
        return [(member, flow) for member, flow in found if flow.populated]

    def _media_url(self, flow: Flow, asked: _Asked) -> str:
        query = f"?timerange={quote(asked.timerange, safe='')}" if asked.timerange else ""
        return f"{self._config.url}/flows/{flow.id}/segments{query}"

    def _segments_of(
        self, flow: Flow, span: Span | None, control: Control | None, *, stated: bool = False
    ) -> str:
        """What a flow lists of a stretch of its timeline, or of all of it, as a media playlist."""
        held = parse_span(flow.timerange or "()")
        live = self._is_live(flow, held)
        if span is not None:
            _check_held(held, span, self._config.timescale, live=live)
        segments = self._placed(flow, span, control)
        passed = span is not None and (held.end_ns or 0) >= (span.end_ns or 0) + BESIDE_NS
        gap = self._gap_before(segments, held, span)
        return media_playlist(segments, ended=passed or not live, gap=gap, stated=stated)

    def _placed(self, flow: Flow, span: Span | None, control: Control | None) -> list[Placed]:
        query = {"include_object_timerange": "true"}
        if span is not None and span.start_ns is not None and span.end_ns is not None:
            query["timerange"] = spelled(span.start_ns - BESIDE_NS, span.end_ns + BESIDE_NS)
        path = f"/flows/{flow.id}/segments"
        scale = self._config.timescale
        found = self._api.listed(path, query, FlowSegment, MAX_SEGMENTS, control)
        known = (placed(segment, flow, scale) for segment in found)
        return sorted((p for p in known if p is not None), key=lambda p: p.start_ns)

    def _is_live(self, flow: Flow, held: Span) -> bool:
        if flow.status is not None:
            return flow.status in _GROWING
        edge = None if held.end_ns is None else wall_ns(held.end_ns, self._config.timescale)
        return edge is not None and abs(self._env.clock() * 10**6 - edge) < LIVE_EDGE_NS

    def _gap_before(
        self, segments: list[Placed], held: Span, span: Span | None
    ) -> tuple[int, int] | None:
        """The hole the range starts in, where what is kept goes back further."""
        if span is None or span.start_ns is None or span.end_ns is None or held.start_ns is None:
            return None
        start, end = (wall_ns(ns, self._config.timescale) for ns in (span.start_ns, span.end_ns))
        until = segments[0].start_ns if segments else end
        within = held.start_ns <= span.start_ns < (held.end_ns or 0)
        return (start, until) if within and start < until else None


class _Asked(BaseModel):
    """What a playlist's address asks for."""

    id: str
    segments: bool
    timerange: str | None

    @property
    def span(self) -> Span | None:
        """The stretch of the timeline, None for all of it."""
        return None if self.timerange is None else parse_span(self.timerange)


def _asked(base: str, url: str) -> _Asked | None:
    """What one of our own playlist addresses asks for; None for any other."""
    if not url.startswith(f"{base}/flows/"):
        return None
    path, _, query = url[len(base) + len("/flows/") :].partition("?")
    name, _, rest = path.partition("/")
    if rest not in {"", "segments"} or not _ID.fullmatch(name):
        return None
    said = parse_qs(query).get("timerange", [None])
    return _Asked(id=name, segments=rest == "segments", timerange=said[0])


def _check_held(held: Span, span: Span, scale: Timescale, *, live: bool) -> None:
    """Refuse a range that lies before what is kept, or after the end of what will not grow."""
    if held.start_ns is None or held.end_ns is None or held.end_ns <= held.start_ns:
        if live:
            return
        raise OutsideWindow("the flow holds nothing", held=None)
    start = span.start_ns or 0
    if start < held.start_ns or (not live and start >= held.end_ns):
        window = (wall_ns(held.start_ns, scale) // 10**6, -(-wall_ns(held.end_ns, scale) // 10**6))
        raise OutsideWindow(
            f"the range starts at {wall_ns(start, scale) // 10**6}; "
            f"the flow holds {window[0]} to {window[1]}",
            held=window,
        )


def _known_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise SourceNotFound(f"{text[:64]!r} is no id of a source or a flow")
    return text.lower()


def _entry(name: str, label: str | None) -> Entry:
    return Entry(file_id=name, name=plain(label or name), kind="channel")


def _flow_name(flow: Flow) -> str:
    return plain(flow.label or flow.codec or flow.id)


def _rank(flow: Flow) -> tuple[bool, int, int]:
    """A flow of several essences first, then pictures, then the one with the most bits."""
    return flow.kind == "multi", flow.kind in _SHOWN, bitrate_bps(flow)
