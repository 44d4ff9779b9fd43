"""`cuttingroom epg`: programme guides, from a file or an address here and now, or of a service."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from cli.addresses import own_addresses
from cli.jobs import client_of
from connectors import xmltv as source
from connectors.base import ConnectorEnv
from connectors.egress import Egress
from pipelines import epg, xmltv
from schemas.errors import NotFound
from schemas.guides import GuideWanted, Programme, Station
from schemas.settings import Settings
from schemas.times import TimeRange, parse_rfc3339, rfc3339, time_range
from workers.epg import read

DAY_MS = 24 * 3600 * 1000
LISTED = 500
GENERATOR = "cuttingroom"


class Place(NamedTuple):
    """Where a guide is: a file or an address, and what its times mean."""

    source: str
    zone: str | None = None
    ignore_offsets: bool = False


class Guide(NamedTuple):
    """A guide that was read: all stations, and the schedules that were asked for."""

    stations: tuple[Station, ...]
    schedules: dict[str, tuple[Programme, ...]]


def read_guide(place: Place, settings: Settings, stations: Sequence[str] | None) -> Guide:
    """The guide at a place; schedules of the given stations, of all where None."""
    config, env = _reached(place, settings)
    now_ms = env.clock()
    wanted = GuideWanted(range=TimeRange(start_ms=now_ms, end_ms=now_ms + DAY_MS))
    with tempfile.TemporaryDirectory(prefix="cuttingroom-epg-") as work:
        connector = source.connect(config, source.Auth(), env)
        document = connector.guide(wanted, Path(work))
        only = None if stations is None else frozenset(stations)
        found, airings, _ = read(document, Path(work), only, lambda: None)
    schedules = {name: epg.scheduled(feed, now_ms).programmes for name, feed in airings.items()}
    return Guide(found, schedules)


def _reached(place: Place, settings: Settings) -> tuple[source.Config, ConnectorEnv]:
    """Whoever types an address or a path means it."""
    web = place.source.startswith(("http://", "https://"))
    path = Path(place.source).absolute()
    if not web and not path.is_file():
        raise NotFound(f"there is no file {place.source}")
    values = {
        "url" if web else "path": place.source if web else str(path),
        "zone": place.zone,
        "ignore_offsets": place.ignore_offsets,
    }
    cidrs = (*settings.allow_cidrs, *(own_addresses(place.source) if web else ()))
    update = {"local_folders": () if web else (str(path.parent),)}
    egress = Egress(allow_cidrs=cidrs)
    env = ConnectorEnv(
        egress=egress,
        settings=settings.model_copy(update=update),
        clock=lambda: time.time_ns() // 10**6,
    )
    return source.Config.model_validate(values), env


def show_stations(
    place: Place, settings: Settings, text: str | None, country: str | None, out: Console,
    *, as_json: bool,
) -> None:  # fmt: skip
    """The stations of a guide, one a line."""
    known = read_guide(place, settings, ()).stations
    _print_stations(epg.found(known, text, country), out, as_json=as_json)


def show_service_stations(
    data: Path, text: str | None, country: str | None, out: Console, *, as_json: bool
) -> None:
    """The stations of a running service's guides."""
    with client_of(data) as client:
        found = client.epg.stations(text or None, country=country or None)
        _print_stations(islice(found, LISTED), out, as_json=as_json)


def show_now(place: Place, settings: Settings, text: str | None, out: Console) -> None:
    """What is on at this moment, station by station."""
    now_ms = time.time_ns() // 10**6
    guide = read_guide(place, settings, None)
    table = Table("station", "id", "since", "until", "programme")
    for station in epg.found(guide.stations, text):
        programmes = guide.schedules.get(station.station_id, ())
        for on in epg.within(programmes, TimeRange(start_ms=now_ms, end_ms=now_ms + 1)):
            table.add_row(
                station.name, station.station_id, _clock(on.start_ms), _clock(on.end_ms), on.title
            )
    out.print(table)


def show_schedule(
    place: Place, settings: Settings, station_id: str, span: TimeRange, form: str, out: Console
) -> None:
    """What one station shows in a range: as a table, as JSON, or as XMLTV."""
    guide = read_guide(place, settings, (station_id,))
    station = next((s for s in guide.stations if s.station_id == station_id), None)
    if station is None:
        raise NotFound(f"the guide has no station {station_id[:80]!r}; `epg stations` lists them")
    programmes = epg.within(guide.schedules.get(station_id, ()), span)
    if form == "xmltv":
        sys.stdout.write(xmltv.written([(station, programmes)], GENERATOR).decode())
    else:
        _print_programmes(programmes, out, as_json=form == "json")


def show_channel(
    data: Path, connector: str, channel: str, span: TimeRange, form: str, out: Console
) -> None:
    """What a channel of a running service shows."""
    with client_of(data) as client:
        if form == "xmltv":
            told = client.epg.xmltv(connector, channel, span.start_ms, span.end_ms)
            sys.stdout.write(told.decode())
            return
        shown = client.epg.programmes(connector, channel, span.start_ms, span.end_ms).items
        _print_programmes(shown, out, as_json=form == "json")


def span_of(start: str | None, end: str | None) -> TimeRange:
    """The range that was typed; a day from now unless said otherwise."""
    start_ms = parse_rfc3339(start) if start else time.time_ns() // 10**6
    return time_range(start_ms, parse_rfc3339(end) if end else start_ms + DAY_MS)


def _print_stations(stations: Iterable[Station], out: Console, *, as_json: bool) -> None:
    if as_json:
        out.print_json(data=[s.model_dump(mode="json", exclude_defaults=True) for s in stations])
        return
    table = Table("id", "name", "call sign", "number", "country")
    for one in stations:
        table.add_row(
            one.station_id, one.name, one.call_sign or "", one.number or "", one.country or ""
        )
    out.print(table)


def _print_programmes(programmes: Sequence[Programme], out: Console, *, as_json: bool) -> None:
    if as_json:
        shown = [p.model_dump(mode="json", exclude_defaults=True) for p in programmes]
        out.print_json(data=shown)
        return
    table = Table("start (UTC)", "end (UTC)", "programme", "id")
    for one in programmes:
        table.add_row(_clock(one.start_ms), _clock(one.end_ms), one.title, one.programme_id)
    out.print(table)


def _clock(epoch_ms: int) -> str:
    return rfc3339(epoch_ms)[:16].replace("T", " ")
