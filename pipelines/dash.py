"""DASH manifests (MPD, ISO/IEC 23009-1) as values: what there is, and how it is addressed.

Nothing a manifest says is fetched or expanded: no DTD, no entity, no xlink. It is bounded before a
tree is made of it. When which segment lies where is worked out in `pipelines.dash_timeline`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Literal

from lxml import etree

from pipelines.hls_scan import MAX_URI_CHARS, Line, absolute, integer
from schemas.errors import CorruptMedia, SourceUnavailable, TooLarge, UnsupportedMedia
from schemas.media import ByteRange
from schemas.times import EPOCH

MAX_BYTES = 20 * 1024 * 1024
MAX_TAGS = 300_000
MAX_PERIODS = 2000
MAX_TRACKS = 20_000
MAX_LISTED = 200_000
MAX_DAYS = 400_000
Kind = Literal["video", "audio"]

_DURATION = re.compile(
    r"P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,8})D)?"
    r"(?:T(?:(\d{1,10})H)?(?:(\d{1,10})M)?(?:(\d{1,12})(?:\.(\d{0,32}))?S)?)?",
    re.ASCII,
)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,32}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_RANGE = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)
_DECIMAL = re.compile(r"(\d{1,9})(?:\.(\d{1,18}))?", re.ASCII)
_RATE = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?", re.ASCII)
_VIDEO_CODEC = re.compile(r"(avc|hvc|hev|vp0|av01|dvh|vvc|mp4v)", re.IGNORECASE)
_RESOLVED_AWAY = "urn:mpeg:dash:resolve-to-zero:2013"
_XLINK = "{http://www.w3.org/1999/xlink}href"
# What is essential but changes neither which segments there are nor how they are cut.
_HARMLESS = (
    "urn:mpeg:mpegB:cicp:",
    "urn:dvb:dash:fontdownload:",
    "urn:mpeg:dash:role:",
    "urn:mpeg:dash:adaptation-set-switching:",
    "urn:mpeg:dash:period-continuity:",
    "urn:mpeg:dash:period-connectivity:",
    "urn:scte:dash:",
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """An S of a SegmentTimeline: `count` segments, None for as many as fit before the next."""

    start: int
    duration: int
    count: int | None


@dataclass(frozen=True, slots=True)
class Resource:
    """Where something lies: an absolute URI, or one still to be filled in; and a part of it."""

    uri: str
    span: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class Addressing:
    """How the segments of a track are named and timed, in ticks of `timescale`.

    One of `media` (a template), `urls` (a list), `index` (a file with its own index) is there.
    `early_us` is how long before its end a segment can be had whole; None: at once.
    """

    timescale: int
    offset: int
    start_number: int
    end_number: int | None
    duration: int | None
    timeline: tuple[Repeat, ...] | None
    early_us: int | None
    media: str | None = None
    urls: tuple[Resource, ...] = ()
    index: Resource | None = None
    init: Resource | None = None
    init_template: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A Representation with what its AdaptationSet says of it."""

    kind: Kind
    id: str
    group: int
    bandwidth_bps: int
    base: str
    line: int
    addressing: Addressing
    codecs: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: Fraction | None = None
    language: str | None = None
    label: str = ""
    role: str = ""
    channels: str | None = None
    encrypted: str | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A Period: from `start_us` of the presentation to `end_us`, None while nobody knows.

    `cut_off`: its end was meant to the tick. Else it is only how long the whole is said to be,
    which packagers round.
    """

    id: str
    start_us: int
    end_us: int | None
    tracks: tuple[Track, ...]
    cut_off: bool = True


@dataclass(frozen=True, slots=True)
class Mpd:
    """A manifest. `zero_us` is the wall clock of its start, None where it states none.

    `timings` are its UTCTiming elements, `(scheme, value)`; `left_out` says what made tracks
    unusable, for a message where none is left.
    """

    uri: str
    dynamic: bool
    zero_us: int | None
    end_us: int | None
    depth_us: int | None
    update_us: int | None
    longest_us: int | None
    location: str | None
    timings: tuple[tuple[str, str], ...]
    periods: tuple[Period, ...]
    left_out: tuple[str, ...] = ()


def parse(raw: bytes, uri: str) -> Mpd:
    """The manifest a body fetched from `uri` holds.

    Raises CorruptMedia, TooLarge, UnsupportedMedia, or SourceUnavailable where the origin answered
    with something else.
    """
    if not uri.lower().startswith(("http://", "https://")):
        raise CorruptMedia("manifests are read from http and https alone")
    return _Reader(uri.partition("#")[0]).read(_root(raw))


def resolved(base: str, reference: str, line: Line | None = None) -> str:
    """A reference of a manifest as an absolute address of http or https."""
    try:
        return absolute(line or Line(0, "MPD", ""), base, reference)
    except CorruptMedia as error:
        raise CorruptMedia(error.message.replace("playlist line", "manifest line")) from None


def moment_us(text: str) -> int:
    """Epoch microseconds of an xs:dateTime; ValueError where it is none. No zone means UTC.

    >>> moment_us("1970-01-01T00:00:01.5")
    1500000
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError("not an xs:dateTime")
    spelled, fraction, zone = match.groups()
    whole = datetime.fromisoformat(f"{spelled}{zone or '+00:00'}".replace("Z", "+00:00"))
    if not 1970 <= whole.astimezone(UTC).year < 3000:
        raise ValueError("not between 1970 and 2999")
    micro = int((fraction or "0").ljust(6, "0")[:6])
    return (whole - EPOCH) // timedelta(microseconds=1) + micro


def duration_us(text: str) -> int:
    """Microseconds of an xs:duration; ValueError where it is none.

    >>> duration_us("PT1M2.5S")
    62500000
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or text.strip().endswith(("P", "T")):
        raise ValueError("not an xs:duration")
    years, months, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:6])
    days += 365 * years + 30 * months
    micro = int((match[7] or "").ljust(6, "0")[:6])
    found = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if found > MAX_DAYS * 86_400:
        raise ValueError("longer than a thousand years")
    return found * 1_000_000 + micro


def _root(raw: bytes) -> etree._Element:
    """The tree of a manifest, small enough and without any DTD."""
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"a manifest of {len(raw)} bytes is over the {MAX_BYTES} allowed")
    if not raw.strip():
        raise SourceUnavailable("the origin answered with an empty manifest")
    if raw.count(b"<") > MAX_TAGS:
        raise TooLarge(f"the manifest has over {MAX_TAGS} tags")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    if b"<!DOCTYPE" in raw[:65_536]:
        raise _doctype(raw)
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise CorruptMedia(f"the manifest is not XML: {type(error).__name__}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise CorruptMedia("a manifest with a document type is not read")
    if _name(root) != "MPD":
        if _name(root).lower() == "html":
            raise SourceUnavailable("the origin answered with a web page instead of a manifest")
        raise CorruptMedia("not a DASH manifest: the root is not MPD")
    return root


def _doctype(raw: bytes) -> CorruptMedia | SourceUnavailable:
    if re.search(rb"<!DOCTYPE\s+html", raw[:65_536], re.IGNORECASE):
        return SourceUnavailable("the origin answered with a web page instead of a manifest")
    return CorruptMedia("a manifest with a document type is not read")


def _name(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _space(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[0] if isinstance(tag, str) else ""


class _Node:
    """An element with checked access: whatever is wrong is refused by its line.

    Its children are looked through once: thousands of Representations may ask for the same few.
    """

    __slots__ = ("_at", "_kids", "name")

    def __init__(self, element: etree._Element) -> None:
        self._at = element
        self._kids: dict[str, list[_Node]] | None = None
        self.name = _name(element)

    @property
    def line(self) -> Line:
        """Where it stands, for messages."""
        found = self._at.sourceline
        return Line(found if isinstance(found, int) else 0, self.name, "")

    def refused(self, why: str) -> CorruptMedia:
        """The error that names this element; its values may be secret and stay out."""
        return CorruptMedia(f"manifest line {self.line.number} ({self.name}): {why}")

    def children(self, *names: str) -> Iterator[_Node]:
        """Its children of these names, in its own namespace."""
        if self._kids is None:
            self._kids, space = {}, _space(self._at)
            for child in self._at:
                if _space(child) == space:
                    self._kids.setdefault(_name(child), []).append(_Node(child))
        for name in names:
            yield from self._kids.get(name, ())

    def child(self, name: str) -> _Node | None:
        """Its first child of this name."""
        return next(self.children(name), None)

    def text(self, name: str) -> str | None:
        """An attribute as it is written."""
        value = self._at.get(name)
        return None if value is None else str(value).strip()

    @property
    def body(self) -> str:
        """What stands in it."""
        return (self._at.text or "").strip()

    def whole(self, name: str, *, least: int = 0) -> int | None:
        """An attribute that is a whole number."""
        value = self.text(name)
        return None if value is None else _whole(self, name, value, least)

    def duration(self, name: str) -> int | None:
        """An attribute that is an xs:duration, in microseconds."""
        return self._read(name, duration_us)

    def moment(self, name: str) -> int | None:
        """An attribute that is an xs:dateTime, in epoch microseconds."""
        return self._read(name, moment_us)

    def _read(self, name: str, reader: Callable[[str], int]) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            return reader(value)
        except (ValueError, OverflowError) as error:
            raise self.refused(f"{name} is no such value: {error}") from None

    def attributes(self) -> dict[str, str]:
        """Every attribute as it is written."""
        return {str(k): str(v).strip() for k, v in self._at.attrib.items()}

    @property
    def linked(self) -> str | None:
        """Where an xlink leads to, if there is one."""
        return self.text(_XLINK)


def _whole(node: _Node, name: str, value: str, least: int = 0) -> int:
    if value.isascii() and value.isdigit() and len(value) < 19 and int(value) >= least:
        return int(value)
    try:
        return integer(node.line, value, least=least)
    except CorruptMedia:
        raise node.refused(f"{name} is not a whole number from {least} below 2^63") from None


class _Reader:
    """One pass over a manifest."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._count = 0
        self._listed = 0
        self._left_out: list[str] = []
        self._timelines: dict[_Node, tuple[Repeat, ...]] = {}

    def read(self, root: etree._Element) -> Mpd:
        """The manifest below a root."""
        node = _Node(root)
        self._refuse_essential(node)
        kind = node.text("type") or "static"
        if kind not in {"static", "dynamic"}:
            raise node.refused("type is neither static nor dynamic")
        dynamic, zero_us = kind == "dynamic", node.moment("availabilityStartTime")
        if dynamic and zero_us is None:
            raise node.refused("a dynamic presentation needs availabilityStartTime")
        end_us = node.duration("mediaPresentationDuration")
        location = next((c.body for c in node.children("Location") if c.body), None)
        return Mpd(
            uri=self._uri,
            dynamic=dynamic,
            zero_us=zero_us,
            end_us=end_us,
            depth_us=node.duration("timeShiftBufferDepth") if dynamic else None,
            update_us=node.duration("minimumUpdatePeriod"),
            longest_us=node.duration("maxSegmentDuration"),
            location=resolved(self._uri, location, node.line) if location else None,
            timings=tuple(
                (c.text("schemeIdUri") or "", (c.text("value") or "")[:MAX_URI_CHARS])
                for c in node.children("UTCTiming")
            )[:8],
            periods=self._periods(node, dynamic=dynamic, end_us=end_us),
            left_out=tuple(dict.fromkeys(self._left_out))[:8],
        )

    def _periods(self, root: _Node, *, dynamic: bool, end_us: int | None) -> tuple[Period, ...]:
        nodes = [n for n in root.children("Period") if self._stays(n)]
        if not nodes:
            raise root.refused("it has no Period")
        if len(nodes) > MAX_PERIODS:
            raise TooLarge(f"the manifest has over {MAX_PERIODS} periods")
        base, early_us = self._base(root, self._uri, 0)
        starts = self._starts(nodes, dynamic=dynamic)
        found: list[Period] = []
        for at, (node, start_us) in enumerate(zip(nodes, starts, strict=False)):
            length_us = node.duration("duration")
            stop_us = start_us + length_us if length_us is not None else end_us
            if at + 1 < len(starts):
                stop_us = starts[at + 1] if stop_us is None else min(stop_us, starts[at + 1])
            if stop_us is not None and stop_us <= start_us:
                continue
            period = self._period(node, start_us, stop_us, base, early_us)
            cut_off = length_us is not None or at + 1 < len(starts)
            found.append(replace(period, cut_off=cut_off))
        return tuple(found)

    def _starts(self, nodes: list[_Node], *, dynamic: bool) -> list[int]:
        """Where periods start; those after one that does not say (early available) are left out."""
        starts: list[int] = []
        at: int | None = None if dynamic else 0
        for node in nodes:
            stated = node.duration("start")
            at = stated if stated is not None else at
            if at is None and not starts and dynamic:
                at = 0  # against the standard, but seen: a first period that starts with the clock
            if at is None:
                break
            if starts and at < starts[-1]:
                raise node.refused("it starts before the period in front of it")
            starts.append(at)
            length_us = node.duration("duration")
            at = None if length_us is None else at + length_us
        return starts

    def _period(
        self, node: _Node, start_us: int, end_us: int | None, base: str, early_us: int | None
    ) -> Period:
        own, own_early = self._base(node, base, early_us)
        tracks: list[Track] = []
        if self._usable(node):
            sets = [n for n in node.children("AdaptationSet") if self._stays(n)]
            for group, one in enumerate(sets):
                tracks.extend(self._tracks(node, one, group, own, own_early))
        return Period(node.text("id") or "", start_us, end_us, tuple(tracks))

    def _tracks(
        self, period: _Node, group: _Node, number: int, base: str, early_us: int | None
    ) -> Iterator[Track]:
        if not self._usable(group):
            return
        own, own_early = self._base(group, base, early_us)
        for node in group.children("Representation"):
            self._count += 1
            if self._count > MAX_TRACKS:
                raise TooLarge(f"the manifest has over {MAX_TRACKS} representations")
            kind = _kind(group, node)
            if kind is None or not self._usable(node):
                continue
            here, here_early = self._base(node, own, own_early)
            addressing = self._addressing((period, group, node), here, here_early)
            if addressing is not None:
                yield _track(kind, number, group, node, here, addressing)

    # -- what is left out, and what is refused

    def _stays(self, node: _Node) -> bool:
        """Whether an element is part of the manifest; one that lies elsewhere is refused."""
        if node.linked is None:
            return True
        if node.linked == _RESOLVED_AWAY:
            return False
        raise UnsupportedMedia(
            f"manifest line {node.line.number} ({node.name}): parts that lie in other documents "
            "(xlink) are not read"
        )

    def _usable(self, node: _Node) -> bool:
        """Whether all that is essential to an element is known; the standard says to ignore it."""
        for one in node.children("EssentialProperty"):
            scheme = one.text("schemeIdUri") or ""
            if not scheme.startswith(_HARMLESS):
                self._left_out.append(f"the essential property {scheme[:80]!r}")
                return False
        return True

    def _refuse_essential(self, root: _Node) -> None:
        if not self._usable(root):
            raise UnsupportedMedia(f"the manifest needs {self._left_out[0]}, which is not read")

    # -- addresses

    def _base(self, node: _Node, base: str, early_us: int | None) -> tuple[str, int | None]:
        """The base below an element, its first BaseURL; and how much earlier things are there."""
        found = node.child("BaseURL")
        if found is None:
            return base, early_us
        early = _early(found, found.text("availabilityTimeOffset"), found.attributes())
        total = None if early is None or early_us is None else early_us + early
        return (resolved(base, found.body, found.line) if found.body else base), total

    def _addressing(
        self, levels: tuple[_Node, ...], base: str, early_us: int | None
    ) -> Addressing | None:
        """What the innermost element that speaks of segments says, with what it inherits."""
        for level in reversed(levels):
            for name in ("SegmentTemplate", "SegmentList", "SegmentBase"):
                if level.child(name) is not None:
                    told = [n for one in levels if (n := one.child(name)) is not None]
                    return self._told(name, told, base, early_us)
        self._left_out.append("a Representation without segments or index")
        return None

    def _told(
        self, name: str, told: list[_Node], base: str, early_us: int | None
    ) -> Addressing | None:
        given: dict[str, str] = {}
        for node in told:
            self._stays(node)
            given |= node.attributes()
        node = told[-1]
        early = _early(node, given.get("availabilityTimeOffset"), given)
        common = Addressing(
            timescale=_given(node, given, "timescale", 1, least=1),
            offset=_given(node, given, "presentationTimeOffset", 0),
            start_number=_given(node, given, "startNumber", 1),
            end_number=_given(node, given, "endNumber", -1) if "endNumber" in given else None,
            duration=_given(node, given, "duration", 0, least=1) if "duration" in given else None,
            timeline=self._timeline(told),
            early_us=None if early is None or early_us is None else early + early_us,
        )
        match name:
            case "SegmentTemplate":
                return self._template(node, told, given, base, common)
            case "SegmentList":
                return self._list(node, told, base, common)
        return self._single(node, told, given, base, common)

    def _timeline(self, told: list[_Node]) -> tuple[Repeat, ...] | None:
        """The innermost SegmentTimeline, read once for all that inherit it."""
        found = [line for node in told if (line := node.child("SegmentTimeline")) is not None]
        if not found:
            return None
        if found[-1] not in self._timelines:
            self._timelines[found[-1]] = tuple(_repeats(found[-1]))
        return self._timelines[found[-1]]

    def _template(
        self,
        node: _Node,
        told: list[_Node],
        given: Mapping[str, str],
        base: str,
        common: Addressing,
    ) -> Addressing | None:
        media = given.get("media")
        if media is None:
            self._left_out.append("a SegmentTemplate without media")
            return None
        if common.timeline is None and common.duration is None:
            raise node.refused("neither a SegmentTimeline nor a duration times its segments")
        init = _initialization(told)
        if init is None:
            return replace(common, media=media, init_template=given.get("initialization"))
        return replace(common, media=media, init=self._resource(init, base, "sourceURL", "range"))

    def _list(
        self, node: _Node, told: list[_Node], base: str, common: Addressing
    ) -> Addressing | None:
        lists = [found for one in told if (found := list(one.children("SegmentURL")))]
        if not lists:
            self._left_out.append("an empty SegmentList")
            return None
        self._listed += len(lists[-1])
        if self._listed > MAX_LISTED:
            raise TooLarge(f"the manifest lists over {MAX_LISTED} addresses")
        urls = tuple(self._resource(one, base, "media", "mediaRange") for one in lists[-1])
        if common.timeline is None and common.duration is None and len(urls) > 1:
            raise node.refused("neither a SegmentTimeline nor a duration times its segments")
        init = _initialization(told)
        start = self._resource(init, base, "sourceURL", "range") if init is not None else None
        return replace(common, urls=urls, init=start)

    def _single(
        self,
        node: _Node,
        told: list[_Node],
        given: Mapping[str, str],
        base: str,
        common: Addressing,
    ) -> Addressing | None:
        span = _span(node, given.get("indexRange"))
        if span is None:
            self._left_out.append("a SegmentBase without indexRange")
            return None
        init = _initialization(told)
        if init is not None:
            start: Resource | None = self._resource(init, base, "sourceURL", "range")
        elif span.offset:
            start = Resource(base, ByteRange(offset=0, length=span.offset))
        else:
            raise node.refused("it has no initialisation section")
        return replace(common, index=Resource(base, span), init=start)

    def _resource(self, node: _Node, base: str, name: str, span: str) -> Resource:
        uri = node.text(name)
        return Resource(
            resolved(base, uri, node.line) if uri else base, _span(node, node.text(span))
        )


def _given(
    node: _Node, given: Mapping[str, str], name: str, default: int, *, least: int = 0
) -> int:
    return _whole(node, name, given[name], least) if name in given else default


def _span(node: _Node, text: str | None) -> ByteRange | None:
    if text is None:
        return None
    match = _RANGE.fullmatch(text)
    if match is None or int(match[2]) < int(match[1]) or int(match[2]) >= 2**63 - 1:
        raise node.refused("a byte range is first-last")
    return ByteRange(offset=int(match[1]), length=int(match[2]) - int(match[1]) + 1)


def _initialization(told: list[_Node]) -> _Node | None:
    found = [init for node in told if (init := node.child("Initialization")) is not None]
    return found[-1] if found else None


def _early(node: _Node, text: str | None, given: Mapping[str, str]) -> int | None:
    """How long before its end a segment is there whole, in microseconds; None: at once."""
    if text is None or given.get("availabilityTimeComplete") == "false":
        # What is only there in part is waited for.
        return 0
    if text == "INF":
        return None
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise node.refused("availabilityTimeOffset is not a number of seconds")
    return int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0")[:6])


def _repeats(timeline: _Node) -> Iterator[Repeat]:
    at: int | None = 0
    for node in timeline.children("S"):
        stated, duration = node.whole("t"), node.whole("d", least=1)
        start = stated if stated is not None else at
        if start is None:
            raise node.refused("it follows an endless repetition without saying when it starts")
        if duration is None:
            raise node.refused("it has no duration")
        if (node.whole("k") or 1) > 1:
            raise UnsupportedMedia("segment sequences (S@k) are not read")
        count = _count(node)
        yield Repeat(start, duration, count)
        at = None if count is None else start + duration * count


def _count(node: _Node) -> int | None:
    text = node.text("r")
    if text is None:
        return 1
    if text.startswith("-"):
        return None
    return _whole(node, "r", text) + 1


def _kind(group: _Node, node: _Node) -> Kind | None:
    """What a Representation holds, where it is pictures or sound in ISO files."""
    mime = node.text("mimeType") or group.text("mimeType") or ""
    if mime and mime not in {"video/mp4", "audio/mp4"}:
        return None
    kind = node.text("contentType") or group.text("contentType") or mime.partition("/")[0]
    if not kind:
        codecs = node.text("codecs") or group.text("codecs") or ""
        kind = "video" if _VIDEO_CODEC.match(codecs) else "audio"
    if kind == "video":
        return "video"
    return "audio" if kind == "audio" else None


def _track(
    kind: Kind, number: int, group: _Node, node: _Node, base: str, addressing: Addressing
) -> Track:
    def either(name: str) -> str | None:
        return node.text(name) or group.text(name)

    label = group.child("Label")
    return Track(
        kind=kind,
        id=(node.text("id") or "")[:256],
        group=number,
        bandwidth_bps=_size(node.text("bandwidth")) or 0,
        base=base,
        line=node.line.number,
        addressing=addressing,
        codecs=(either("codecs") or "")[:200] or None,
        width=_size(either("width")),
        height=_size(either("height")),
        frame_rate=_rate(either("frameRate")),
        language=_language(either("lang")),
        label=(label.body if label is not None else "")[:200],
        role=" ".join(
            (c.text("value") or "")[:40] for c in group.children("Role", "Accessibility")
        )[:200],
        channels=_channels(group, node),
        encrypted=_protection(group, node),
    )


def _size(text: str | None) -> int | None:
    """A number that only helps to choose; None where it is not written as one."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _rate(text: str | None) -> Fraction | None:
    match = _RATE.fullmatch(text or "")
    if match is None or int(match[2] or 1) == 0 or int(match[1]) == 0:
        return None
    return Fraction(int(match[1]), int(match[2] or 1))


def _language(text: str | None) -> str | None:
    return text if text and len(text) <= 35 and text.isascii() else None


def _channels(group: _Node, node: _Node) -> str | None:
    for one in (node, group):
        found = one.child("AudioChannelConfiguration")
        if found is not None:
            return (found.text("value") or "")[:40] or None
    return None


def _protection(group: _Node, node: _Node) -> str | None:
    for one in (group, node):
        found = one.child("ContentProtection")
        if found is not None:
            return (found.text("schemeIdUri") or "unnamed")[:80]
    return None
