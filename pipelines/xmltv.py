"""XMLTV, the format of programme guides: read as a stream within bounds, and written.

The only importer of lxml besides XMP. Nothing a document says is fetched or expanded: no entity
declaration is let in, and no more of the tree is held than the element being read.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from lxml import etree

from schemas.errors import CorruptMedia, TooLarge
from schemas.guides import Airing, Programme, Station

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
MAX_ELEMENT_BYTES = 1024 * 1024
PIECE_BYTES = 64 * 1024
MAX_KNOWN_TIMES = 20_000
MAX_TITLE, MAX_TEXT, MAX_CATEGORIES, MAX_URL = 500, 4000, 10, 2048
_GZIP, _XZ, _ZIP = b"\x1f\x8b", b"\xfd7zXZ", b"PK\x03\x04"
_DAY_MS = 24 * 3600 * 1000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_TIME = re.compile(
    r"\s*(\d{8})(\d\d)?(\d\d)?(\d\d)?(?:\.\d{1,9})?\s*([+-]\d\d:?\d\d|[A-Za-z]{1,5})?\s*", re.ASCII
)
# Feeds write names although they mean offsets; an ambiguous name reads as its commonest meaning.
_NAMED_MINUTES = {
    "Z": 0, "UTC": 0, "UT": 0, "GMT": 0, "WET": 0, "BST": 60, "IST": 60, "WEST": 60, "CET": 60,
    "CEST": 120, "MEZ": 60, "MESZ": 120, "SAST": 120, "EET": 120, "EEST": 180, "MSK": 180,
    "JST": 540, "KST": 540, "AWST": 480, "ACST": 570, "ACDT": 630, "AEST": 600, "AEDT": 660,
    "NZST": 720, "NZDT": 780, "NST": -210, "NDT": -150, "AST": -240, "ADT": -180, "EST": -300,
    "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
    "AKST": -540, "AKDT": -480, "HST": -600,
}  # fmt: skip
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SEASON = re.compile(r"\s*(\d{1,5})\s*(?:/\s*\d+\s*)?")
_COUNTRY_ID = re.compile(r"\.([A-Za-z]{2})(?:@[\w+-]+)?$", re.ASCII)
_SAME_COUNTRY = {"uk": "gb"}
Take = Callable[[Any, dict[str, Any]], None]
_NOTHING: Callable[[], None] = lambda: None  # noqa: E731  # the plainest no-op


class Rules(NamedTuple):
    """How a feed is meant: `zone` of times without an offset, or of all where offsets lie."""

    zone: tzinfo | None = None
    ignore_offsets: bool = False
    country: str | None = None
    language: str | None = None


AS_WRITTEN = Rules()


class Clock:
    """Reads the times of one feed."""

    def __init__(self, rules: Rules = AS_WRITTEN) -> None:
        self._rules = rules
        # A feed has far fewer times than programmes.
        self._known: dict[str, int] = {}

    def instant(self, text: str, after_ms: int | None = None) -> int:
        """Epoch milliseconds; ValueError where it is none.

        Local time that came twice when clocks went back is the second one where the first would
        lie before `after_ms`.

        >>> Clock().instant("19700101000001 +0000")
        1000
        """
        known = self._known.get(text)
        return self._read(text, after_ms) if known is None else known

    def _read(self, text: str, after_ms: int | None) -> int:
        match = _TIME.fullmatch(text)
        if match is None:
            raise ValueError("not an XMLTV time")
        day, hours, minutes, seconds, offset = match.groups("")
        local_ms = _day_ms(day) + _of_day_ms(hours, minutes, seconds)
        zone = self._rules.zone
        if zone is not None and (self._rules.ignore_offsets or not offset):
            return _in_zone(local_ms, zone, after_ms)
        offset_ms = _offset_minutes(offset) * 60_000 if offset else 0
        if len(self._known) < MAX_KNOWN_TIMES:
            self._known[text] = local_ms - offset_ms
        return local_ms - offset_ms


def _day_ms(text: str) -> int:
    day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return (day.toordinal() - _EPOCH_DAY) * _DAY_MS


def _of_day_ms(hours: str, minutes: str, seconds: str) -> int:
    h, m, s = int(hours or 0), int(minutes or 0), int(seconds or 0)
    # 24:00 and a leap second are written now and then, and mean what they add up to.
    if h > 24 or m > 59 or s > 60:
        raise ValueError("not a time of day")
    return ((h * 60 + m) * 60 + s) * 1000


def _offset_minutes(text: str) -> int:
    if text[0] in "+-":
        minutes = int(text[1:3]) * 60 + int(text[-2:])
        if minutes > 14 * 60:
            raise ValueError("no place on earth has this offset")
        return -minutes if text[0] == "-" else minutes
    named = _NAMED_MINUTES.get(text.upper())
    if named is None:
        raise ValueError("a zone nobody knows")
    return named


def _in_zone(local_ms: int, zone: tzinfo, after_ms: int | None) -> int:
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=local_ms)
    first, second = (_utc_ms(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    return second if after_ms is not None and first < after_ms <= second else first


def _utc_ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def plain(chunks: Iterable[bytes], max_bytes: int = MAX_DOCUMENT_BYTES) -> Iterator[bytes]:
    """The document's bytes in small pieces, unzipped where they are gzip; `TooLarge` past a cap."""
    size, rest = 0, iter(chunks)
    first = next(rest, b"")
    for piece in _unpacked(first, rest):
        size += len(piece)
        if size > max_bytes:
            raise TooLarge(f"the guide is larger than {max_bytes} bytes")
        yield piece


def _unpacked(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first.startswith((_XZ, _ZIP)):
        raise _invalid("it is packed as xz or zip; only gzip and plain XML are read")
    whole = _chained(first, rest)
    if first.startswith(_GZIP):
        return _gunzipped(whole)
    return (c[at : at + PIECE_BYTES] for c in whole for at in range(0, len(c), PIECE_BYTES))


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate a piece at a time, so that a cap stops a bomb before it is in memory."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            pending = chunk
            while pending:
                if inflate.eof:  # another member of the same file
                    inflate = zlib.decompressobj(wbits=31)
                yield inflate.decompress(pending, PIECE_BYTES)
                pending = inflate.unconsumed_tail or inflate.unused_data
    except zlib.error:
        raise _invalid("its gzip is damaged") from None
    if not inflate.eof:
        raise _invalid("its gzip ends early")


def read(
    chunks: Iterable[bytes],
    rules: Rules = AS_WRITTEN,
    *,
    stations: frozenset[str] | None = None,
    seen: Counter[str] | None = None,
    control: Callable[[], None] = _NOTHING,
) -> Iterator[Station | Airing]:
    """Every station, and the airings of the given stations (all, where None), in their order.

    `seen["unreadable"]` counts what has no readable times or title. A document that is not
    XMLTV, ends early or declares entities is `CorruptMedia`.
    """
    reader = _Reader(rules, Counter() if seen is None else seen)
    for element in _elements(plain(chunks), control):
        station_id = element.get("channel")
        found: Station | Airing | None
        if station_id is None:
            found = reader.station(element)
        elif stations is None or station_id in stations:
            found = reader.airing(element, station_id)
        else:
            continue
        if found is not None:
            yield found


def _elements(pieces: Iterable[bytes], control: Callable[[], None]) -> Iterator[Any]:
    parser: Any = etree.XMLPullParser(
        events=("end",),
        tag=("channel", "programme"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )
    tree, events = _Tree(), parser.read_events()
    try:
        for piece in pieces:
            control()
            parser.feed(piece)
            for _, element in events:
                if element.getparent() is tree.root or tree.holds(element):
                    yield element
            tree.trim(len(piece))
        tree.check_root(parser.close())
    except etree.XMLSyntaxError as error:
        raise _invalid(f"line {error.lineno}: {str(error.msg)[:200]}") from None


class _Tree:
    """What of the document is in memory: the root, and no child that was read."""

    def __init__(self) -> None:
        self.root: Any = None
        self._last: Any = None
        self._quiet_bytes = 0

    def holds(self, element: Any) -> bool:
        """Whether the element is a child of the root; others are somebody's own invention."""
        parent = element.getparent()
        if self.root is None:
            self.check_root(element.getroottree().getroot())
        return parent is self.root

    def check_root(self, root: Any) -> None:
        """Refuse what is not a guide, or declares entities."""
        if self.root is not None:
            return
        if root.tag != "tv":
            raise _invalid("its root is not <tv>")
        declared = root.getroottree().docinfo.internalDTD
        if declared is not None and next(declared.iterentities(), None) is not None:
            raise _invalid("it declares entities, which are not read")
        self.root = root

    def trim(self, size: int) -> None:
        """Drop the children that are complete; refuse one that never ends."""
        self._quiet_bytes += size
        if self.root is not None and len(self.root):
            last = self.root[-1]
            if last is not self._last:
                self._last, self._quiet_bytes = last, 0
            del self.root[:-1]
        if self._quiet_bytes > MAX_ELEMENT_BYTES:
            raise TooLarge(f"an element of the guide is larger than {MAX_ELEMENT_BYTES} bytes")


class _Reader:
    """Elements to values."""

    def __init__(self, rules: Rules, seen: Counter[str]) -> None:
        self._rules, self._seen = rules, seen
        self._clock = Clock(rules)
        self._last: dict[str, int] = {}
        self._fields = _FIELDS | {
            "title": self._speaks("title", MAX_TITLE),
            "sub-title": self._speaks("subtitle", MAX_TEXT),
            "desc": self._speaks("description", MAX_TEXT),
        }

    def station(self, element: Any) -> Station | None:
        """A `channel` element; None where it has no usable id."""
        found, station_id = _children(element), element.get("id", "").strip()
        if element.tag != "channel" or not station_id or len(station_id) > 255:
            self._seen["unreadable"] += 1
            return None
        names = tuple(dict.fromkeys(filter(None, map(_text, found.get("display-name", ())))))
        named = tuple(name for name in names if not name.isdigit())
        return Station(
            station_id=station_id,
            name=(named or names or (station_id,))[0][:200],
            names=tuple(name[:200] for name in names[:12]),
            call_sign=next((n for n in named if _is_call_sign(n)), None),
            number=next((n for n in names if n.isdigit()), None),
            logo=_link(found.get("icon")),
            xmltv_id=station_id,
            country=self._country(station_id),
        )

    def _country(self, station_id: str) -> str | None:
        match = _COUNTRY_ID.search(station_id)
        code = match[1].lower() if match else (self._rules.country or "").lower()
        return _SAME_COUNTRY.get(code, code).upper() or None

    def airing(self, element: Any, station_id: str) -> Airing | None:
        """A `programme` element; None where it is unreadable."""
        try:
            return self._airing(element, station_id)
        except (ValueError, OverflowError, KeyError):
            self._seen["unreadable"] += 1
            return None

    def _airing(self, element: Any, station_id: str) -> Airing:
        times = element.attrib
        start_ms = self._clock.instant(times["start"], self._last.get(station_id))
        if start_ms < 0:
            raise ValueError("before 1970")
        self._last[station_id] = start_ms
        stop, clump = times.get("stop"), times.get("clumpidx")
        details: dict[str, Any] = {}
        for child in element:
            take = self._fields.get(child.tag)
            if take is not None:
                take(child, details)
        return Airing(
            station_id,
            start_ms,
            self._clock.instant(stop, start_ms) if stop else None,
            details.pop("title"),
            _clump(clump) if clump else None,
            details,
        )

    def _speaks(self, name: str, limit: int) -> Take:
        """A field whose text comes in several languages: the wanted one, or the first."""
        wanted = (self._rules.language or "").lower()

        def take(element: Any, details: dict[str, Any]) -> None:
            text = element.text
            if not text or (name in details and not wanted):
                return
            if name in details and not element.get("lang", "").lower().startswith(wanted):
                return
            text = text.strip()
            if text:
                details[name] = text[:limit]

        return take


def _categories(element: Any, details: dict[str, Any]) -> None:
    known, text = details.get("categories", ()), _text(element)[:100]
    if text and text not in known and len(known) < MAX_CATEGORIES:
        details["categories"] = (*known, text)


def _year(element: Any, details: dict[str, Any]) -> None:
    year = _text(element)[:4]
    if len(year) == 4 and year.isdecimal():
        details["year"] = int(year)


def _icon(element: Any, details: dict[str, Any]) -> None:
    link = _link([element])
    if link and "icon" not in details:
        details["icon"] = link


def _rating(element: Any, details: dict[str, Any]) -> None:
    details.setdefault("rating", _text(element.find("value"))[:40] or None)


def _language(element: Any, details: dict[str, Any]) -> None:
    details["language"] = _text(element)[:40] or None


def _says(name: str) -> Take:
    def take(element: Any, details: dict[str, Any]) -> None:
        details[name] = True

    return take


def _episodes(element: Any, details: dict[str, Any]) -> None:
    details.update(_episode(element.get("system", "onscreen"), _text(element)))


_FIELDS: dict[str, Take] = {
    "category": _categories,
    "date": _year,
    "icon": _icon,
    "rating": _rating,
    "language": _language,
    "episode-num": _episodes,
    "new": _says("is_new"),
    "premiere": _says("is_new"),
    "previously-shown": _says("is_repeat"),
    "live": _says("is_live"),
}


def _children(element: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for child in element:
        found.setdefault(child.tag, []).append(child)
    return found


def _text(element: Any) -> str:
    return (element.text or "").strip() if element is not None else ""


def _link(elements: list[Any] | None) -> str | None:
    link = elements[0].get("src", "").strip() if elements else ""
    return link if link.startswith(("http://", "https://")) and len(link) <= MAX_URL else None


def _is_call_sign(name: str) -> bool:
    return 2 < len(name) <= 10 and name.isupper() and name.replace("-", "").isalnum()


def _clump(text: str | None) -> tuple[int, int] | None:
    """The place in a clump, `"0/2"` being the first of two.

    >>> _clump("1/2"), _clump("0/1")
    ((1, 2), None)
    """
    place, _, count = (text or "").partition("/")
    if not (place.isdecimal() and count.isdecimal() and len(place + count) < 8):
        return None
    found = int(place), int(count)
    return found if found[0] < found[1] and found[1] > 1 else None


@lru_cache(maxsize=4096)
def _episode(system: str, text: str) -> dict[str, Any]:
    """Season and episode: `xmltv_ns` counts from nought, with dots between.

    >>> _episode("xmltv_ns", "1.4.0/1")
    {'season_number': 2, 'episode_number': 5}
    """
    if system == "onscreen":
        return {"episode": text[:100]} if text else {}
    if system != "xmltv_ns":
        return {}
    parts = [_SEASON.fullmatch(part) for part in text.split(".")[:2]]
    names = ("season_number", "episode_number")
    return {name: int(m[1]) + 1 for name, m in zip(names, parts, strict=False) if m}


def _invalid(why: str) -> CorruptMedia:
    return CorruptMedia(f"the guide is not XMLTV that can be read: {why}", code="guide_invalid")


def written(schedules: Iterable[tuple[Station, Sequence[Programme]]], generator: str) -> bytes:
    """A valid XMLTV document of stations and what they show, in UTC."""
    root = etree.Element("tv", {"generator-info-name": generator})
    known = [(station, tuple(programmes)) for station, programmes in schedules]
    for station, _ in known:
        _write_station(root, station)
    for station, programmes in known:
        for programme in programmes:
            _write_programme(root, station.station_id, programme)
    return bytes(
        etree.tostring(
            root,
            xml_declaration=True,
            encoding="UTF-8",
            doctype='<!DOCTYPE tv SYSTEM "xmltv.dtd">',
            pretty_print=True,
        )
    )


def _write_station(root: Any, station: Station) -> None:
    element = etree.SubElement(root, "channel", id=_clean(station.station_id))
    for name in dict.fromkeys((station.name, *station.names)):
        _add(element, "display-name", name)
    if station.logo:
        etree.SubElement(element, "icon", src=_clean(station.logo))


def _write_programme(root: Any, station_id: str, programme: Programme) -> None:
    """The children stand in the order the DTD demands."""
    times = {"start": stamp(programme.start_ms), "stop": stamp(programme.end_ms)}
    element = etree.SubElement(root, "programme", {**times, "channel": _clean(station_id)})
    for tag, text in (
        ("title", programme.title),
        ("sub-title", programme.subtitle),
        ("desc", programme.description),
        ("date", programme.year and f"{programme.year:04d}"),
        *(("category", category) for category in programme.categories),
        ("language", programme.language),
    ):
        if text:
            _add(element, tag, text)
    if programme.icon:
        etree.SubElement(element, "icon", src=_clean(programme.icon))
    _write_episode(element, programme)
    if programme.is_repeat:
        etree.SubElement(element, "previously-shown")
    if programme.is_new:
        etree.SubElement(element, "new")
    if programme.rating:
        _add(etree.SubElement(element, "rating"), "value", programme.rating)


def _write_episode(element: Any, programme: Programme) -> None:
    season, episode = programme.season_number, programme.episode_number
    if season or episode:
        text = f"{season - 1 if season else ''}.{episode - 1 if episode else ''}."
        _add(element, "episode-num", text, system="xmltv_ns")
    if programme.episode:
        _add(element, "episode-num", programme.episode, system="onscreen")


def _add(parent: Any, tag: str, text: str, **attributes: str) -> None:
    etree.SubElement(parent, tag, attributes).text = _clean(text)


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("", text)


def stamp(epoch_ms: int) -> str:
    """An instant as XMLTV writes it.

    >>> stamp(1000)
    '19700101000001 +0000'
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y%m%d%H%M%S +0000")
