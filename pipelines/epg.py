"""Programme guides: airings to schedules, stations to channels, programmes to ranges."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import groupby, pairwise, zip_longest
from typing import NamedTuple

from schemas.base import Value, WireValue
from schemas.commands import RefreshEpg
from schemas.errors import NotFound, TooLarge
from schemas.guides import (
    MAX_STATIONS,
    Airing,
    GuideDocument,
    GuideWanted,
    Programme,
    Repairs,
    Station,
    StationDay,
)
from schemas.plans import KeepGuide, Plan
from schemas.times import MAX_EPOCH_MS, TimeRange, rfc3339, time_range

DAY_MS = 24 * 3600 * 1000
LONGEST_MS = DAY_MS
GUESSED_MS = 30 * 60 * 1000
# Past this a programme without an end is followed by a hole, not by a longer programme.
LONGEST_GUESS_MS = 6 * 3600 * 1000
MAX_PROGRAMMES = 5_000
MAX_PAD_MS = 6 * 3600 * 1000
SAME_SHOW_MS = 6 * 3600 * 1000
SUGGESTED = 10
GOOD_SCORE = 0.35
_ID = re.compile(r"p(\d{1,11})-([0-9a-f]{12})", re.ASCII)
_NOISE = frozenset({"hd", "uhd", "fhd", "sd", "4k", "hevc", "tv", "channel", "the", "live", "hls"})
_NUMBERS = {
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_COUNTRIES = {"uk": "gb", "usa": "us", "gbr": "gb", "can": "ca", "deu": "de", "fra": "fr"}


class GuideFacts(Value):
    """What is known of a guide while it is refreshed."""

    wanted: GuideWanted | None = None
    document: GuideDocument | None = None
    stations: tuple[Station, ...] = ()
    days: tuple[StationDay, ...] = ()
    repairs: Repairs = Repairs()
    fetched_ms: int = 0


class Suggestion(WireValue):
    """A station a channel may be: `score` 0..1, and what made it so."""

    station: Station
    score: float
    why: str


class Scheduled(NamedTuple):
    """Airings put right."""

    programmes: tuple[Programme, ...]
    repairs: Repairs


def wanted(command: RefreshEpg, now_ms: int, known: Mapping[str, str]) -> GuideWanted:
    """What a refresh asks a system for: from yesterday on, for the days of the command."""
    first_ms = now_ms - now_ms % DAY_MS - DAY_MS
    return GuideWanted(
        stations=command.stations,
        range=TimeRange(start_ms=first_ms, end_ms=first_ms + (command.days + 1) * DAY_MS),
        known=dict(known),
    )


def keep_plan(command: RefreshEpg, facts: GuideFacts) -> Plan:
    """What was read goes into the cache, at once."""
    document = facts.document
    keep = KeepGuide(
        stations=facts.stations,
        days=facts.days,
        covered=command.stations,
        repairs=facts.repairs,
        validators=document.validators if document else {},
        fetched_ms=facts.fetched_ms,
    )
    return Plan(steps=(keep,))


def scheduled(airings: Iterable[Airing], now_ms: int | None = None) -> Scheduled:
    """One station's programmes, in order and without overlaps, each with an end.

    What was said last wins among programmes that begin together, unless it knows less. A feed of
    more than `MAX_PROGRAMMES` keeps those nearest to `now_ms`.
    """
    counts: Counter[str] = Counter()
    ordered = sorted(airings, key=lambda airing: airing.start_ms)
    slots = [_slot(list(same), counts) for _, same in groupby(ordered, key=lambda a: a.start_ms)]
    nearest = _nearest(slots, now_ms)
    programmes: list[Programme] = []
    for slot, after in zip_longest(nearest, nearest[1:]):
        programmes += _shown(slot, after[0].start_ms if after else None, counts)
    return Scheduled(tuple(programmes), Repairs(**counts))


def _nearest(slots: list[list[Airing]], now_ms: int | None) -> list[list[Airing]]:
    if len(slots) <= MAX_PROGRAMMES:
        return slots
    if now_ms is None:
        return slots[-MAX_PROGRAMMES:]
    near = sorted(slots, key=lambda slot: abs(slot[0].start_ms - now_ms))[:MAX_PROGRAMMES]
    return sorted(near, key=lambda slot: slot[0].start_ms)


def _slot(same: list[Airing], counts: Counter[str]) -> list[Airing]:
    """Those that begin together: a clump's parts in their order, or the best of the others."""
    clumped = {a.clump[0]: a for a in same if a.clump is not None}
    if len(clumped) > 1:
        counts["clumps"] += 1
        return [clumped[place] for place in sorted(clumped)]
    counts["duplicates"] += len(same) - 1
    return [max(enumerate(same), key=lambda pair: (_knows(pair[1]), pair[0]))[1]]


def _knows(airing: Airing) -> tuple[bool, int]:
    return airing.end_ms is not None, len(airing.details)


def _shown(slot: list[Airing], next_ms: int | None, counts: Counter[str]) -> list[Programme]:
    """A slot's programmes: its time is that of the first, shared evenly where it is a clump."""
    first = slot[0]
    end_ms, estimated = _end(first, next_ms, counts)
    step = (end_ms - first.start_ms) // len(slot)
    edges = [first.start_ms + step * n for n in range(len(slot))] + [end_ms]
    return [
        _programme(airing, start, end, estimated=estimated or len(slot) > 1)
        for airing, (start, end) in zip(slot, pairwise(edges), strict=True)
        if end > start
    ]


def _end(airing: Airing, next_ms: int | None, counts: Counter[str]) -> tuple[int, bool]:
    start_ms, end_ms = airing.start_ms, airing.end_ms
    if end_ms is None or not start_ms < end_ms <= start_ms + LONGEST_MS:
        counts["missing_ends"] += 1
        near = next_ms is not None and next_ms - start_ms <= LONGEST_GUESS_MS
        return (next_ms if near and next_ms is not None else start_ms + GUESSED_MS), True
    if next_ms is not None and end_ms > next_ms:
        counts["overlaps"] += 1
        return next_ms, False
    return end_ms, False


def _programme(airing: Airing, start_ms: int, end_ms: int, *, estimated: bool) -> Programme:
    return Programme(
        programme_id=programme_id(airing.station_id, start_ms, airing.title),
        title=airing.title,
        start_ms=start_ms,
        end_ms=end_ms,
        end_estimated=estimated,
        **airing.details,
    )


def programme_id(station_id: str, start_ms: int, title: str) -> str:
    """A name that a refresh does not change, and that says where to look.

    >>> programme_id("bbc1.uk", 1643957046000, "News")
    'p1643957046-180d8a1d8490'
    """
    show = hashlib.sha256(f"{station_id}\0{title}".encode()).hexdigest()[:12]
    return f"p{start_ms // 1000}-{show}"


def near(programme_id: str) -> TimeRange:
    """When a programme of this id can begin, in the guide's own time; NotFound where it is none."""
    match = _ID.fullmatch(programme_id)
    if match is None:
        raise _no_programme(programme_id)
    start_ms = int(match[1]) * 1000
    if start_ms > MAX_EPOCH_MS - SAME_SHOW_MS:
        raise _no_programme(programme_id)
    return TimeRange(start_ms=start_ms - SAME_SHOW_MS, end_ms=start_ms + SAME_SHOW_MS)


def named(programme_id: str, programmes: Iterable[Programme]) -> Programme:
    """The programme of this id; where it was moved by a few hours, the show's nearest airing."""
    around = near(programme_id)
    meant_ms, show = (around.start_ms + around.end_ms) // 2, programme_id.rpartition("-")[2]
    same = [
        p
        for p in programmes
        if p.programme_id.endswith(f"-{show}") and abs(p.start_ms - meant_ms) <= SAME_SHOW_MS
    ]
    if not same:
        raise _no_programme(programme_id)
    return min(same, key=lambda p: abs(p.start_ms - meant_ms))


def _no_programme(programme_id: str) -> NotFound:
    return NotFound(
        f"the guide has no programme {programme_id[:40]!r} on this channel; its schedule may have "
        "changed",
        code="programme_not_found",
    )


def export_range(programme: Programme, pad_ms: int = 0) -> TimeRange:
    """What an export of the programme takes: its time, and so much before and after."""
    return time_range(max(0, programme.start_ms - pad_ms), programme.end_ms + pad_ms)


def shifted(programmes: Iterable[Programme], offset_ms: int) -> tuple[Programme, ...]:
    """The programmes at the true time, for a guide that is wrong by an offset."""
    return tuple(
        p.model_copy(update={"start_ms": p.start_ms + offset_ms, "end_ms": p.end_ms + offset_ms})
        if offset_ms
        else p
        for p in programmes
    )


def within(programmes: Iterable[Programme], span: TimeRange) -> tuple[Programme, ...]:
    """The programmes of which any part is on in the range."""
    return tuple(p for p in programmes if p.start_ms < span.end_ms and span.start_ms < p.end_ms)


def day_of(epoch_ms: int) -> str:
    """The UTC day of an instant.

    >>> day_of(1643957046000)
    '2022-02-04'
    """
    return rfc3339(epoch_ms)[:10]


def by_day(station_id: str, programmes: Iterable[Programme]) -> tuple[StationDay, ...]:
    """The programmes by the UTC day they begin on."""
    return tuple(
        StationDay(station_id=station_id, day=day, programmes=tuple(same))
        for day, same in groupby(programmes, key=lambda p: day_of(p.start_ms))
    )


def merged(held: Sequence[Programme], fresh: Sequence[Programme]) -> tuple[Programme, ...]:
    """What is held from before the fresh ones begin, then the fresh ones: feeds drop the past."""
    if not fresh:
        return tuple(held)
    first_ms = fresh[0].start_ms
    before = [p for p in held if p.start_ms < first_ms]
    if before and before[-1].end_ms > first_ms:
        before[-1] = before[-1].model_copy(update={"end_ms": first_ms})
    return (*before, *fresh)


def by_station(airings: Iterable[Airing]) -> dict[str, list[Airing]]:
    """The airings of each station, in the order of the feed."""
    found: defaultdict[str, list[Airing]] = defaultdict(list)
    for airing in airings:
        found[airing.station_id].append(airing)
    return dict(found)


def distinct(stations: Iterable[Station]) -> tuple[Station, ...]:
    """Each station once, by name; `TooLarge` where there are more than a guide may have."""
    known: dict[str, Station] = {}
    for station in stations:
        known.setdefault(station.station_id, station)
        if len(known) > MAX_STATIONS:
            raise TooLarge(f"the guide has more than {MAX_STATIONS} stations")
    return tuple(sorted(known.values(), key=lambda s: (s.name.casefold(), s.station_id)))


def found(
    stations: Iterable[Station], text: str | None = None, country: str | None = None
) -> tuple[Station, ...]:
    """The stations whose names, call sign or ids hold the text, and whose country fits.

    A station whose country the guide does not say fits every country.
    """
    words, wanted = _plain(text or ""), (country or "").lower()
    wanted = _COUNTRIES.get(wanted, wanted).upper()
    return tuple(
        s
        for s in stations
        if (not words or words in _searched(s)) and (not wanted or s.country in {None, wanted})
    )


def _searched(station: Station) -> str:
    texts = (station.name, station.call_sign, station.xmltv_id, station.station_id, *station.names)
    return _plain("\n".join(filter(None, texts)))


def suggestions(
    names: Sequence[str], stations: Iterable[Station], limit: int = SUGGESTED
) -> tuple[Suggestion, ...]:
    """The stations a channel of these names may be, the likeliest first."""
    likely = []
    for station in stations:
        score, why = max((_score(name, station) for name in names if name), default=(0.0, ""))
        if score >= GOOD_SCORE:
            likely.append(Suggestion(station=station, score=round(score, 3), why=why))
    return tuple(sorted(likely, key=lambda s: (-s.score, s.station.name))[:limit])


def _score(name: str, station: Station) -> tuple[float, str]:
    wanted = name.strip().casefold()
    if wanted in {(station.xmltv_id or "").casefold(), station.station_id.casefold()}:
        return 1.0, "same id"
    if station.call_sign and wanted == station.call_sign.casefold():
        return 0.98, "same call sign"
    known = dict.fromkeys((station.name, *station.names, (station.xmltv_id or "").split(".")[0]))
    likeness, like = max((_likeness(name, other), other) for other in known)
    return likeness, f"name like {like!r}"


def _likeness(one: str, other: str) -> float:
    """How alike two names are; a number or a time shift that differs makes another station."""
    a, b = _words(one), _words(other)
    if not a or not b:
        return 0.0
    if _plain(one) == _plain(other):
        return 0.96
    if a == b or "".join(a) == "".join(b):
        return 0.92
    shared = len(set(a) & set(b)) / len(set(a) | set(b))
    letters = SequenceMatcher(None, "".join(a), "".join(b), autojunk=False).ratio()
    score = 0.85 * (0.55 * shared + 0.45 * letters)
    return score * 0.4 if _marks(a) != _marks(b) else score


def _marks(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for word in words if word.strip("+").isdigit())


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).strip()


def _words(name: str) -> tuple[str, ...]:
    """The telling words of a name.

    >>> _words("BBC One HD"), _words("ITV2 +1")
    (('bbc', '1'), ('itv', '2', '+1'))
    """
    split = re.findall(r"\+\d+|[^\W\d_]+|\d+k?", _plain(name))
    return tuple(_NUMBERS.get(word, word) for word in split if word not in _NOISE)
