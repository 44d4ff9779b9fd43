"""XMLTV: times, texts, bounds on what is hostile, and documents that validate."""

from __future__ import annotations

import zlib
from collections import Counter
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from lxml import etree

from pipelines import xmltv
from pipelines.xmltv import Clock, Rules
from schemas.errors import Cancelled, CorruptMedia, TooLarge
from schemas.guides import Airing, Programme, Station
from schemas.times import rfc3339
from tests.guides import BBC, HEAD, airings, document, programme, read, zipped

LONDON = Rules(zone=ZoneInfo("Europe/London"), ignore_offsets=True)
# The elements we write, as the format's own DTD orders them.
DTD = etree.DTD(
    StringIO("""
<!ELEMENT tv (channel*, programme*)>
<!ATTLIST tv generator-info-name CDATA #IMPLIED>
<!ELEMENT channel (display-name+, icon*, url*)>
<!ATTLIST channel id CDATA #REQUIRED>
<!ELEMENT display-name (#PCDATA)>
<!ELEMENT icon EMPTY>
<!ATTLIST icon src CDATA #REQUIRED>
<!ELEMENT programme (title+, sub-title*, desc*, date?, category*, language?, icon*, episode-num*,
  previously-shown?, new?, rating*)>
<!ATTLIST programme start CDATA #REQUIRED stop CDATA #IMPLIED channel CDATA #REQUIRED>
<!ELEMENT title (#PCDATA)> <!ELEMENT sub-title (#PCDATA)> <!ELEMENT desc (#PCDATA)>
<!ELEMENT date (#PCDATA)> <!ELEMENT category (#PCDATA)> <!ELEMENT language (#PCDATA)>
<!ELEMENT episode-num (#PCDATA)>
<!ATTLIST episode-num system CDATA "onscreen">
<!ELEMENT previously-shown EMPTY> <!ELEMENT new EMPTY>
<!ELEMENT rating (value)> <!ELEMENT value (#PCDATA)>
""")
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("20220204064406 +0000", "2022-02-04T06:44:06.000Z"),
        ("20220204064406 +0100", "2022-02-04T05:44:06.000Z"),
        ("20220204064406 -0330", "2022-02-04T10:14:06.000Z"),
        ("20220204064406+0100", "2022-02-04T05:44:06.000Z"),
        ("20220204064406 +01:00", "2022-02-04T05:44:06.000Z"),
        ("20220204064406", "2022-02-04T06:44:06.000Z"),
        ("202202040644 CET", "2022-02-04T05:44:00.000Z"),
        ("2022020406", "2022-02-04T06:00:00.000Z"),
        ("20220204", "2022-02-04T00:00:00.000Z"),
        ("20220204240000 +0000", "2022-02-05T00:00:00.000Z"),
        ("20220204064406.500 EST", "2022-02-04T11:44:06.000Z"),
    ],
)
def test_times_are_read_as_feeds_write_them(text: str, meant: str) -> None:
    assert rfc3339(Clock().instant(text)) == meant


@pytest.mark.parametrize(
    "text",
    ["", "now", "20221304000000 +0000", "20220230", "20220204250000", "20220204066100",
     "20220204064406 +9900", "20220204064406 XYZ", "2022-02-04T06:44:06Z", "0" * 14, "9" * 400],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Clock().instant(text)


def test_the_hour_that_comes_twice_is_told_apart_by_order() -> None:
    starts = ["0030", "0100", "0130", "0100", "0130", "0200"]
    data = document(*(programme(f"20221030{at}00 +0000", None, at) for at in starts))

    found = [rfc3339(one.start_ms)[11:16] for one in airings(data, LONDON)]

    assert found == ["23:30", "00:00", "00:30", "01:00", "01:30", "02:00"]


def test_the_hour_that_never_comes_is_moved_on() -> None:
    data = document(programme("20220327013000 +0000", "20220327023000 +0000"))

    (found,) = airings(data, LONDON)

    assert (found.start_ms, found.end_ms) == (1648344600000, 1648344600000)


def test_offsets_that_are_written_decide_where_they_do_not_lie() -> None:
    data = document(programme("20220704060000 +0200", None), programme("20220704060000", None))

    first, second = airings(data, Rules(zone=ZoneInfo("Europe/London")))

    assert rfc3339(first.start_ms)[11:16] == "04:00"
    assert rfc3339(second.start_ms)[11:16] == "05:00"


def test_a_station_has_its_names() -> None:
    data = document(
        '<channel id="bbc1.uk"><display-name>BBC One</display-name><display-name>1</display-name>'
        '<display-name>BBC1</display-name><icon src="https://x.example/1.png"/></channel>'
    )

    (found,) = read(data)

    assert found == Station(
        station_id="bbc1.uk", name="BBC One", call_sign="BBC1", number="1", xmltv_id="bbc1.uk",
        country="GB", logo="https://x.example/1.png", names=("BBC One", "1", "BBC1"),
    )  # fmt: skip


def test_a_programme_has_its_fields() -> None:
    inner = (
        "<sub-title>Late</sub-title><desc> All of it. </desc><date>1987</date>"
        "<category>News</category><category>News</category><category>Talk</category>"
        '<icon src="javascript:alert(1)"/><icon src="https://x.example/i.png"/>'
        '<episode-num system="xmltv_ns"> 1 . 4/10 . 0/1 </episode-num>'
        "<episode-num>S2 E5</episode-num><previously-shown/><new/>"
        '<rating system="x"><value>PG</value></rating><invented><deep/></invented>'
    )

    (found,) = airings(document(programme(inner=inner)))

    assert found.title == "News"
    assert found.details == {
        "subtitle": "Late", "description": "All of it.", "year": 1987,
        "categories": ("News", "Talk"), "icon": "https://x.example/i.png", "season_number": 2,
        "episode_number": 5, "episode": "S2 E5", "is_repeat": True, "is_new": True, "rating": "PG",
    }  # fmt: skip


def test_the_wanted_language_is_preferred() -> None:
    data = document(
        '<programme start="20220204" channel="a"><title lang="de">Nachrichten</title>'
        '<title lang="en">News</title></programme>'
    )

    assert airings(data)[0].title == "Nachrichten"
    assert airings(data, Rules(language="en"))[0].title == "News"


def test_what_cannot_be_read_is_counted_and_left_out() -> None:
    seen: Counter[str] = Counter()
    data = document(
        BBC, '<channel id=""/>', programme(), programme(start="soon"), programme(title=""),
        '<programme channel="bbc1.uk"><title>x</title></programme>',
        programme(stop="20229904060000 +0000"),
    )  # fmt: skip

    found = read(data, seen=seen)

    assert len(found) == 2
    assert seen["unreadable"] == 5


def test_only_the_wanted_stations_are_read() -> None:
    data = document(BBC, programme(), programme(channel="other"))

    found = read(data, stations=frozenset({"other"}))

    assert [type(one) for one in found] == [Station, Airing]


def test_a_programme_within_a_programme_is_not_one() -> None:
    data = document(programme(inner=programme(title="Inner")))

    assert [one.title for one in airings(data)] == ["News"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_gzip_is_read_however_it_arrives(size: int) -> None:
    data = zipped(document(BBC)[:20]) + zipped(document(BBC)[20:])
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    whole = b"".join(xmltv.plain(iter([data[:2], data[2:]])))

    assert whole == document(BBC)
    assert len(list(xmltv.read(chunks if size > 1 else [data]))) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no element"),
        (b"<html><body/></html>", "its root is not <tv>"),
        (b"{}", "line 1"),
        (document(BBC, end=""), "line"),
        (document("<channel id='a'>"), "line"),
        (document(head="<tv>", end="</tv><tv>"), "line"),
        (zipped(document(BBC))[:-20], "ends early"),
        (zipped(document(BBC))[:30] + b"\0" * 40, "damaged"),
        (b"\xfd7zXZ\0", "xz or zip"),
        (b"PK\x03\x04", "xz or zip"),
        (document(head='<!DOCTYPE tv [<!ENTITY a "x">]><tv>'), "declares entities"),
        (document(BBC, head='<!DOCTYPE tv [<!ENTITY a SYSTEM "file:///etc/passwd">]><tv>'),
         "declares entities"),
        (document("<x>" * 300), "line"),
        (b'<tv><channel id="\xff"/></tv>', "line"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_guide_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(CorruptMedia) as raised:
        read(data)

    assert why in raised.value.message
    assert raised.value.error_code == "guide_invalid"


def test_a_billion_laughs_are_not_heard() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    data = document(programme(title="&l11;"), head=f"<!DOCTYPE tv [{laughs}]><tv>")

    with pytest.raises(CorruptMedia):
        read(data)


def test_a_gzip_bomb_stops_at_the_cap() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b"<tv>" + b" " * 50_000_000) + packer.flush()

    with pytest.raises(TooLarge):
        list(xmltv.plain([bomb], max_bytes=1_000_000))


def test_an_element_that_never_ends_is_refused() -> None:
    endless = (b"<tv><channel id='a'>" if n == 0 else b"<x/>" * 16_000 for n in range(10_000))

    with pytest.raises(TooLarge):
        list(xmltv.read(endless))


def test_junk_between_programmes_is_not_kept() -> None:
    def chunks() -> list[bytes]:
        junk = b"<x/>" * 16_000
        one = programme().encode()
        return [HEAD.encode(), *([one + junk] * 60), b"</tv>"]

    assert len(list(xmltv.read(chunks()))) == 60


def test_reading_can_be_stopped() -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        read(document(BBC), control=stop)


def test_what_is_written_is_valid_and_reads_back() -> None:
    station = Station(station_id="a&b", name="A", names=("A", "B"), logo="https://x.example/l")
    full = Programme(
        programme_id="p", title="T & <t>\x00", start_ms=1_643_957_046_000,
        end_ms=1_643_957_106_000, subtitle="s", description="d", categories=("c", "e"), year=1987,
        season_number=2, episode_number=5, episode="S2E5", icon="https://x.example/i", rating="PG",
        language="en", is_new=True, is_repeat=True,
    )  # fmt: skip
    bare = Programme(programme_id="q", title="Q", start_ms=0, end_ms=1000, episode_number=3)

    data = xmltv.written([(station, (full, bare))], "test")
    found, first, second = read(data)

    assert DTD.validate(etree.fromstring(data)), DTD.error_log
    assert isinstance(found, Station)
    assert found.name == "A"
    assert isinstance(first, Airing)
    assert (first.title, first.start_ms, first.end_ms) == ("T & <t>", full.start_ms, full.end_ms)
    assert first.details["season_number"] == 2
    assert first.details["episode_number"] == 5
    assert isinstance(second, Airing)
    assert second.details == {"episode_number": 3}
