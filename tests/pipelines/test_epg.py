"""Schedules put right, programmes found again, stations suggested: all without a guide at hand."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from pipelines import epg
from pipelines.epg import GuideFacts
from schemas.commands import RefreshEpg
from schemas.connectors import ConnectorRef
from schemas.errors import FieldInvalid, NotFound, TooLarge
from schemas.guides import Airing, GuideDocument, GuideFile, Programme, Repairs, Station, StationDay
from schemas.times import TimeRange

HOUR = 3600 * 1000
NOW = 1_643_932_800_000  # 2022-02-04T00:00Z


def air(start_h: float, end_h: float | None, title: str = "", **given: Any) -> Airing:
    start, end = (None if h is None else NOW + round(h * HOUR) for h in (start_h, end_h))
    return Airing("s", start or 0, end, title or f"t{start_h:g}", **given)


def hours(programmes: tuple[Programme, ...]) -> list[tuple[str, float, float]]:
    return [(p.title, (p.start_ms - NOW) / HOUR, (p.end_ms - NOW) / HOUR) for p in programmes]


def shown(title: str, start_h: float, end_h: float) -> Programme:
    start, end = NOW + round(start_h * HOUR), NOW + round(end_h * HOUR)
    return Programme(
        programme_id=epg.programme_id("s", start, title), title=title, start_ms=start, end_ms=end
    )


@pytest.mark.parametrize(
    ("feed", "schedule", "repairs"),
    [
        ([], [], {}),
        ([air(2, 3), air(1, 2)], [("t1", 1, 2), ("t2", 2, 3)], {}),
        ([air(1, None), air(2, 3)], [("t1", 1, 2), ("t2", 2, 3)], {"missing_ends": 1}),
        ([air(1, None)], [("t1", 1, 1.5)], {"missing_ends": 1}),
        ([air(1, None), air(9, 10)], [("t1", 1, 1.5), ("t9", 9, 10)], {"missing_ends": 1}),
        ([air(1, 1), air(2, 3)], [("t1", 1, 2), ("t2", 2, 3)], {"missing_ends": 1}),
        ([air(2, 1), air(3, 4)], [("t2", 2, 3), ("t3", 3, 4)], {"missing_ends": 1}),
        ([air(1, 90), air(2, 3)], [("t1", 1, 2), ("t2", 2, 3)], {"missing_ends": 1}),
        ([air(1, 2.5), air(2, 3)], [("t1", 1, 2), ("t2", 2, 3)], {"overlaps": 1}),
        ([air(1, 9), air(2, 3)], [("t1", 1, 2), ("t2", 2, 3)], {"overlaps": 1}),
        ([air(1, 2), air(4, 5)], [("t1", 1, 2), ("t4", 4, 5)], {}),
        ([air(1, 2, "a"), air(1, 2, "a")], [("a", 1, 2)], {"duplicates": 1}),
        ([air(1, 2, "a"), air(1, 2, "b")], [("b", 1, 2)], {"duplicates": 1}),
        ([air(1, 2, "a"), air(1, None, "b")], [("a", 1, 2)], {"duplicates": 1}),
        (
            [air(1, 2, "b", clump=(1, 2)), air(1, 2, "a", clump=(0, 2))],
            [("a", 1, 1.5), ("b", 1.5, 2)],
            {"clumps": 1},
        ),
        (
            [air(1, None, "a", clump=(0, 2)), air(1, None, "b", clump=(1, 2)), air(3, 4)],
            [("a", 1, 2), ("b", 2, 3), ("t3", 3, 4)],
            {"clumps": 1, "missing_ends": 1},
        ),
        ([air(1, 2, "a", clump=(1, 2))], [("a", 1, 2)], {}),
    ],
    ids=[
        "nothing", "out of order", "no end", "no end, nothing after", "no end, a hole after",
        "no length", "backwards", "days long", "overlap", "one in another", "a hole", "twice",
        "corrected", "corrected by less", "a clump", "a clump without ends", "half a clump",
    ],
)  # fmt: skip
def test_schedules_are_put_right(
    feed: list[Airing], schedule: list[tuple[str, float, float]], repairs: dict[str, int]
) -> None:
    found = epg.scheduled(feed)

    assert hours(found.programmes) == schedule
    assert found.repairs == Repairs(**repairs)


def test_guessed_ends_are_told() -> None:
    found = epg.scheduled([air(1, None), air(2, 3)])

    assert [p.end_estimated for p in found.programmes] == [True, False]


def test_a_day_of_clock_change_has_no_holes() -> None:
    feed = [air(h, None) for h in range(25)]

    found = epg.scheduled(feed).programmes

    assert all(a.end_ms == b.start_ms for a, b in pairwise(found))


def test_a_flood_keeps_what_is_near_now() -> None:
    feed = [air(h / 60, (h + 1) / 60) for h in range(epg.MAX_PROGRAMMES + 100)]

    found = epg.scheduled(feed, NOW + 100 * 60_000 * 60).programmes

    assert len(found) == epg.MAX_PROGRAMMES
    assert found[-1].end_ms == feed[-1].end_ms


def test_a_programme_is_found_again_after_a_refresh() -> None:
    meant = shown("News", 1, 2)

    assert epg.named(meant.programme_id, [shown("News", 9, 10), meant]) == meant


def test_a_programme_that_was_moved_is_found_by_its_show() -> None:
    meant, moved = shown("News", 1, 2), shown("News", 1.25, 2)

    assert epg.named(meant.programme_id, [shown("Film", 1, 2), shown("News", 4, 5), moved]) == moved


@pytest.mark.parametrize(
    "name",
    ["", "x", "p1-abc", "p" + "9" * 12 + "-000000000000", "p0-000000000000", "p١-000000000000"],
)
def test_what_names_no_programme_is_not_found(name: str) -> None:
    with pytest.raises(NotFound) as raised:
        epg.named(name, [shown("News", 1, 2)])

    assert raised.value.error_code == "programme_not_found"


def test_an_export_takes_the_programme_and_some_more() -> None:
    found = epg.export_range(shown("News", 1, 2), 60_000)

    assert found == TimeRange(start_ms=NOW + HOUR - 60_000, end_ms=NOW + 2 * HOUR + 60_000)


def test_padding_that_eats_the_programme_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        epg.export_range(shown("News", 1, 2), -HOUR)


def test_offsets_move_programmes() -> None:
    (found,) = epg.shifted([shown("News", 1, 2)], -HOUR)

    assert hours((found,)) == [("News", 0, 1)]
    assert found.programme_id == shown("News", 1, 2).programme_id


def test_programmes_are_kept_by_the_day_they_begin_on() -> None:
    days = epg.by_day("s", [shown("a", 22, 23), shown("b", 23.5, 25), shown("c", 25, 26)])

    assert [(d.day, [p.title for p in d.programmes]) for d in days] == [
        ("2022-02-04", ["a", "b"]),
        ("2022-02-05", ["c"]),
    ]


@pytest.mark.parametrize(
    ("held", "fresh", "kept"),
    [
        ([(1, 2), (2, 3)], [(2, 4)], [(1, 2), (2, 4)]),
        ([(1, 3)], [(2, 4)], [(1, 2), (2, 4)]),
        ([(5, 6)], [(2, 4)], [(2, 4)]),
        ([(1, 2)], [], [(1, 2)]),
        ([], [(2, 4)], [(2, 4)]),
    ],
)
def test_what_a_feed_dropped_is_kept_and_what_it_corrects_is_not(
    held: list[tuple[int, int]], fresh: list[tuple[int, int]], kept: list[tuple[int, int]]
) -> None:
    merged = epg.merged(
        [shown("old", *span) for span in held], [shown("new", *span) for span in fresh]
    )

    assert [span[1:] for span in hours(merged)] == kept


def station(name: str, station_id: str = "", **given: Any) -> Station:
    return Station(station_id=station_id or f"id-{name}", name=name, names=(name,), **given)


STATIONS = (
    station("BBC One", "bbc1.uk", xmltv_id="bbc1.uk", country="GB"),
    station("BBC Two", "bbc2.uk", xmltv_id="bbc2.uk", country="GB"),
    station("BBC News", "bbcnews.uk", xmltv_id="bbcnews.uk", country="GB"),
    station("ITV 1", "itv1.uk", country="GB"),
    station("ITV 1 +1", "itv1plus1.uk", country="GB"),
    station("Das Erste HD", "ard.de", country="DE"),
    station("Télé Monde", "tm.fr", country="FR"),
    station("Cable News Network", "20454", call_sign="CNN", country="US"),
    station("Local", "local"),
)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("BBC One", "bbc1.uk"),
        ("BBC 1 HD", "bbc1.uk"),
        ("bbc two", "bbc2.uk"),
        ("BBC News Channel (live)", "bbcnews.uk"),
        ("ITV1", "itv1.uk"),
        ("ITV1 +1", "itv1plus1.uk"),
        ("Das Erste", "ard.de"),
        ("tele monde", "tm.fr"),
        ("CNN", "20454"),
        ("bbcnews.uk", "bbcnews.uk"),
    ],
)
def test_a_channel_finds_its_station(name: str, best: str) -> None:
    found = epg.suggestions([name], STATIONS)

    assert found[0].station.station_id == best
    assert found[0].score > (found[1].score if len(found) > 1 else 0)
    assert 0 < found[0].score <= 1


@pytest.mark.parametrize("name", ["", "Zebra", "Weather 24", "!!!"])
def test_a_channel_nobody_knows_gets_no_station(name: str) -> None:
    assert epg.suggestions([name], STATIONS) == ()


@pytest.mark.parametrize(
    ("text", "country", "ids"),
    [
        ("bbc", None, ["bbc1.uk", "bbc2.uk", "bbcnews.uk"]),
        ("TELE", None, ["tm.fr"]),
        ("cnn", "us", ["20454"]),
        (None, "de", ["ard.de", "local"]),
        ("bbc", "usa", []),
        ("itv1plus1", "uk", ["itv1plus1.uk"]),
    ],
)
def test_stations_are_found_by_text_and_country(
    text: str | None, country: str | None, ids: list[str]
) -> None:
    assert [s.station_id for s in epg.found(STATIONS, text, country)] == ids


def test_a_guide_has_so_many_stations() -> None:
    with pytest.raises(TooLarge):
        epg.distinct(station(f"s{n}") for n in range(epg.MAX_STATIONS + 1))


COMMAND = RefreshEpg(
    tenant_id="t1",
    requested_by="k",
    connector=ConnectorRef(id="c", tenant_id="t1", type="xmltv", config={}),
    stations=("s",),
)


def test_a_refresh_asks_from_yesterday_on() -> None:
    wanted = epg.wanted(COMMAND, NOW + HOUR, {"a": "b"})

    assert wanted.range == TimeRange(start_ms=NOW - 24 * HOUR, end_ms=NOW + 8 * 24 * HOUR)
    assert wanted.stations == ("s",)
    assert wanted.known == {"a": "b"}


def test_the_plan_of_a_refresh() -> None:
    days = (StationDay(station_id="s", day="2022-02-04", programmes=(shown("News", 1, 2),)),)
    document = GuideDocument(
        format="xmltv", files=(GuideFile(name="guide.xml"),), validators={"s/2022-02-04": "m"}
    )
    facts = GuideFacts(document=document, stations=(station("S", "s"),), days=days, fetched_ms=NOW)

    plan = json.loads(epg.keep_plan(COMMAND, facts).model_dump_json(exclude_defaults=True))

    assert plan == {
        "steps": [
            {
                "stations": [{"stationId": "s", "name": "S", "names": ["S"]}],
                "days": [
                    {
                        "station_id": "s",
                        "day": "2022-02-04",
                        "programmes": [
                            {
                                "programmeId": epg.programme_id("s", NOW + HOUR, "News"),
                                "title": "News",
                                "startMs": NOW + HOUR,
                                "endMs": NOW + 2 * HOUR,
                            }
                        ],
                    }
                ],
                "covered": ["s"],
                "validators": {"s/2022-02-04": "m"},
                "fetched_ms": NOW,
            }
        ]
    }
