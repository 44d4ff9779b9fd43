"""The JSON documents of Schedules Direct (API 20141201), read into stations and airings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import CorruptMedia, FieldInvalid
from schemas.guides import Airing, Station
from schemas.times import parse_rfc3339

MAX_TITLE, MAX_TEXT, MAX_CATEGORIES = 500, 4000, 10
_MAX_DURATION_S = 48 * 3600
# Broadcasters name countries as they please; these are the ones the service covers.
_ALPHA_2 = {
    "usa": "US", "united states": "US", "can": "CA", "canada": "CA", "gbr": "GB", "uk": "GB",
    "united kingdom": "GB", "irl": "IE", "aus": "AU", "nzl": "NZ", "deu": "DE", "fra": "FR",
    "esp": "ES", "ita": "IT", "nld": "NL", "bel": "BE", "swe": "SE", "nor": "NO", "dnk": "DK",
    "fin": "FI", "aut": "AT", "che": "CH", "prt": "PT", "pol": "PL", "mex": "MX", "bra": "BR",
    "arg": "AR", "ind": "IN", "jpn": "JP", "zaf": "ZA",
}  # fmt: skip


def stations(lineup: bytes) -> Iterator[Station]:
    """The stations of a lineup, with the channel number they have there."""
    found = _object(lineup)
    numbers = {
        str(entry["stationID"]): str(entry.get("channel") or entry.get("virtualChannel") or "")
        for entry in _objects(found.get("map"))
        if "stationID" in entry
    }
    for entry in _objects(found.get("stations")):
        station_id = str(entry.get("stationID") or "")
        if station_id:
            yield _station(station_id, entry, numbers.get(station_id) or None)


def _station(station_id: str, entry: Mapping[str, Any], number: str | None) -> Station:
    name, call_sign = _text(entry.get("name")), _text(entry.get("callsign"))
    logos = [entry.get("logo"), *_objects(entry.get("stationLogo"))]
    links = [_text(logo.get("URL")) for logo in logos if isinstance(logo, dict)]
    return Station(
        station_id=station_id[:255],
        name=(name or call_sign or station_id)[:200],
        call_sign=call_sign[:40] or None,
        number=number,
        logo=next((link for link in links if link.startswith(("http://", "https://"))), None),
        country=_country(entry.get("broadcaster")),
        names=tuple(dict.fromkeys(filter(None, (name, call_sign, _text(entry.get("affiliate")))))),
    )


def _country(broadcaster: Any) -> str | None:
    named = _text(broadcaster.get("country")) if isinstance(broadcaster, dict) else ""
    return _ALPHA_2.get(named.lower()) or (named.upper() if len(named) == 2 else None)


def programs(document: bytes) -> dict[str, dict[str, Any]]:
    """What a `programs` answer says of each program, by its id: fields of `Programme`."""
    known: dict[str, dict[str, Any]] = {}
    for entry in _objects(_parsed(document)):
        program_id, titles = _text(entry.get("programID")), _objects(entry.get("titles"))
        title = _text(titles[0].get("title120")) if titles else ""
        if program_id and title:
            known[program_id] = {"title": title[:MAX_TITLE], **_details(entry)}
    return known


def airings(
    document: bytes, known: Mapping[str, Mapping[str, Any]], seen: Counter[str]
) -> Iterator[Airing]:
    """The airings of a `schedules` answer whose programs are known; `seen` counts the others."""
    for schedule in _objects(_parsed(document)):
        station_id = str(schedule.get("stationID") or "")
        for entry in _objects(schedule.get("programs")):
            found = _airing(station_id, entry, known.get(_text(entry.get("programID"))))
            if found is None:
                seen["unreadable"] += 1
            else:
                yield found


def _airing(
    station_id: str, entry: Mapping[str, Any], program: Mapping[str, Any] | None
) -> Airing | None:
    duration = entry.get("duration")
    if program is None or not station_id or not isinstance(duration, int):
        return None
    try:
        start_ms = parse_rfc3339(_text(entry.get("airDateTime")))
    except FieldInvalid:
        return None
    details = {k: v for k, v in program.items() if k != "title"} | _flags(entry)
    end_ms = start_ms + duration * 1000 if 0 < duration <= _MAX_DURATION_S else None
    return Airing(station_id, start_ms, end_ms, str(program["title"]), None, details)


def _flags(entry: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"is_new": entry.get("new") is True}
    found["is_live"] = _text(entry.get("liveTapeDelay")).lower() == "live"
    found["is_repeat"] = entry.get("repeat") is True
    ratings = _objects(entry.get("ratings"))
    if ratings:
        found["rating"] = _text(ratings[0].get("code"))[:40] or None
    return {name: value for name, value in found.items() if value}


def _details(entry: Mapping[str, Any]) -> dict[str, Any]:
    genres = [_text(genre)[:100] for genre in _list(entry.get("genres"))[:MAX_CATEGORIES]]
    movie = entry.get("movie")
    year = _text(movie.get("year")) if isinstance(movie, dict) else ""
    found = {
        "subtitle": _text(entry.get("episodeTitle150"))[:MAX_TEXT] or None,
        "description": _description(entry.get("descriptions")) or None,
        "categories": tuple(dict.fromkeys(filter(None, genres))) or None,
        "year": int(year) if len(year) == 4 and year.isdecimal() else None,
        **_numbers(entry),
    }
    return {name: value for name, value in found.items() if value is not None}


def _description(descriptions: Any) -> str:
    """The longest there is."""
    if not isinstance(descriptions, dict):
        return ""
    for length in ("description1000", "description100"):
        for one in _objects(descriptions.get(length)):
            text = _text(one.get("description"))
            if text:
                return text[:MAX_TEXT]
    return ""


def _numbers(entry: Mapping[str, Any]) -> dict[str, int]:
    for provider in _objects(entry.get("metadata")):
        for one in provider.values():
            if isinstance(one, dict):
                pairs = (
                    ("season_number", one.get("season")),
                    ("episode_number", one.get("episode")),
                )
                return {name: n for name, n in pairs if isinstance(n, int) and 0 < n < 10**6}
    return {}


def _parsed(document: bytes) -> Any:
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        raise CorruptMedia(
            "Schedules Direct answered what is not JSON", code="guide_invalid"
        ) from None


def _object(document: bytes) -> dict[str, Any]:
    found = _parsed(document)
    return found if isinstance(found, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
