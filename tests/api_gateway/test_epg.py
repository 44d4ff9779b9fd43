"""Guides through the API: the first asker waits, the next ones read, and channels are mapped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_gateway import guides as gateway_guides
from pipelines import xmltv
from schemas.guides import Airing, Station
from schemas.jobs import Job
from store.epg import REFRESH_MS, Guides
from store.jobs import Jobs, RedisLedger
from tests.connectors.loopback import Loopback, loopback, reply
from tests.gateway_kit import NOW_MS, Kit, a_kit
from tests.guides import BBC, PASSWORD, document, programme, schedules_direct
from workers import handlers
from workers.epg import WORK
from workers.keeper import refresh_guides
from workers.lifecycle import run_job
from workers.runtime import Runtime

HOUR = 3600 * 1000
# Around NOW_MS, 2022-02-04T07:33:20Z.
GUIDE = document(
    BBC,
    '<channel id="bbc2.uk"><display-name>BBC Two</display-name></channel>',
    '<channel id="ard.de"><display-name>Das Erste</display-name></channel>',
    programme("20220204060000 +0000", "20220204070000 +0000", "Early"),
    programme("20220204070000 +0000", "20220204080000 +0000", "Breakfast", inner="<desc>d</desc>"),
    programme("20220204080000 +0000", None, "Talk"),
    programme("20220204090000 +0000", "20220204100000 +0000", "Late"),
    programme("20220204070000 +0000", "20220204080000 +0000", "Other", channel="bbc2.uk"),
)


@dataclass
class Scene:
    """A gateway, an origin with a guide, and a worker that works when told to."""

    kit: Kit
    origin: Loopback
    folder: Path
    news: str = ""
    guide: str = ""

    def work(self) -> None:
        """Do every guide job that is queued."""
        kit = self.kit
        made, world = handlers.build(
            kit.gateway.settings.model_copy(update={"allow_cidrs": ("127.0.0.0/8",)})
        )
        runtime = Runtime(
            ledger=RedisLedger(kit.gateway.store),
            works={"epg": WORK},
            handlers=made,
            world=replace(world, guides=Guides(kit.gateway.store)),
            work_dir=self.folder,
            owner="w",
            clock=kit.clock,
        )
        while run_job("epg", runtime):
            pass

    def channel(self, rest: str = "epg") -> str:
        """A path of the news channel."""
        return f"/v1/connectors/{self.news}/channels/main/{rest}"

    def map(self, station: str = "bbc1.uk", offset_ms: int = 0, **options: Any) -> httpx.Response:
        """Map the channel."""
        body = {"stationId": station, "epgConnectorId": self.guide, "offsetMs": offset_ms}
        return self.kit.ask("PUT", self.channel("station"), json=body, **options)

    def shown(self, query: str = "") -> list[dict[str, Any]]:
        """The channel's programmes."""
        answer = self.kit.get(self.channel(f"epg{query}"))
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        kit = stack.enter_context(a_kit(tmp_path, epg_wait_s=0.0))
        origin = stack.enter_context(loopback())
        origin.answers["/guide.xml"] = reply(GUIDE)
        made = Scene(kit, origin, tmp_path / "work")
        made.news = kit.connector("BBC One HD")
        made.guide = kit.connector(
            "Guide", type="xmltv", config={"url": origin.url("/guide.xml")}, auth={}
        )
        yield made


@pytest.fixture
def ready(scene: Scene) -> Scene:
    """A scene whose channel is mapped and whose guide is held."""
    assert scene.map().status_code == 200
    assert scene.kit.get(scene.channel()).status_code == 202
    scene.work()
    return scene


def test_stations_are_fetched_by_a_job_then_read(scene: Scene) -> None:
    path = f"/v1/epg/stations?connectorId={scene.guide}"
    first = scene.kit.get(path)
    scene.work()
    second = scene.kit.get(path)

    assert first.status_code == 202
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    assert scene.kit.get(first.headers["location"]).json()["state"] == "succeeded"
    assert [s["stationId"] for s in second.json()["items"]] == ["bbc1.uk", "bbc2.uk", "ard.de"]
    assert second.json()["items"][0] == {
        "stationId": "bbc1.uk", "name": "BBC One", "callSign": None, "logo": None,
        "xmltvId": "bbc1.uk", "country": "GB", "number": "1", "names": ["BBC One", "1"],
        "connectorId": scene.guide,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("q=two", ["bbc2.uk"]),
        ("country=de", ["ard.de"]),
        ("q=bbc&country=GB", ["bbc1.uk", "bbc2.uk"]),
        ("q=nothing", []),
    ],
)
def test_stations_are_looked_for_in_all_guides(ready: Scene, query: str, ids: list[str]) -> None:
    answer = ready.kit.get(f"/v1/epg/stations?{query}")

    assert [s["stationId"] for s in answer.json()["items"]] == ids


def test_stations_come_in_pages(ready: Scene) -> None:
    seen, cursor = [], ""
    while True:
        page = ready.kit.get(f"/v1/epg/stations?limit=2{cursor}").json()
        seen += [s["stationId"] for s in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"

    assert seen == ["bbc1.uk", "bbc2.uk", "ard.de"]


def test_a_channel_without_a_station_is_409(scene: Scene) -> None:
    answer = scene.kit.get(scene.channel())

    assert (answer.status_code, answer.json()["code"]) == (409, "station_not_mapped")


def test_a_channel_shows_its_programmes(ready: Scene) -> None:
    items = ready.shown("?from=2022-02-04T07:30:00Z&to=2022-02-04T08:30:00Z")

    assert [item["title"] for item in items] == ["Breakfast", "Talk"]
    assert items[0]["start"] == "2022-02-04T07:00:00.000Z"
    assert items[0]["end"] == "2022-02-04T08:00:00.000Z"
    assert items[0]["description"] == "d"
    assert items[0]["programmeId"].startswith("p1643958000-")
    assert items[1]["endEstimated"] is True
    assert items[1]["end"] == "2022-02-04T09:00:00.000Z"


def test_unless_asked_otherwise_it_is_the_next_day(ready: Scene) -> None:
    assert [item["title"] for item in ready.shown()] == ["Breakfast", "Talk", "Late"]


def test_a_guide_that_lies_is_put_right_per_channel(ready: Scene) -> None:
    ready.map(offset_ms=-HOUR)

    items = ready.shown("?from=2022-02-04T05:00:00Z&to=2022-02-04T06:30:00Z")

    assert [(i["title"], i["start"][11:16]) for i in items] == [
        ("Early", "05:00"),
        ("Breakfast", "06:00"),
    ]


def test_a_channel_is_served_as_xmltv(ready: Scene) -> None:
    answer = ready.kit.get(ready.channel("epg?format=xmltv"))

    station, *programmes = list(xmltv.read([answer.content]))
    assert answer.headers["content-type"] == "application/xml"
    assert isinstance(station, Station)
    assert (station.station_id, station.name) == ("main", "BBC One")
    assert [p.title for p in programmes if isinstance(p, Airing)] == ["Breakfast", "Talk", "Late"]
    known = ready.kit.get(
        ready.channel("epg?format=xmltv"), headers={"If-None-Match": answer.headers["etag"]}
    )
    assert known.status_code == 304


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(status="500 Oh"), "manifest_unreachable"),
        (reply(status="403 No"), "access_denied"),
        (reply(status="404 Gone"), "source_not_found"),
        (reply(b"<html></html>"), "guide_invalid"),
        (reply(GUIDE[:900]), "guide_invalid"),
    ],
)
def test_a_guide_that_fails_is_502(scene: Scene, answer: bytes, code: str) -> None:
    scene.origin.answers["/guide.xml"] = answer
    path = f"/v1/epg/stations?connectorId={scene.guide}"
    scene.kit.get(path)
    scene.work()

    refused = scene.kit.get(path)

    assert (refused.status_code, refused.json()["code"]) == (502, "upstream")
    assert code in refused.json()["detail"]


def test_a_guide_that_recovers_is_read(scene: Scene) -> None:
    scene.origin.answers["/guide.xml"] = reply(status="404 Gone")
    path = f"/v1/epg/stations?connectorId={scene.guide}"
    scene.kit.get(path)
    scene.work()
    scene.origin.answers["/guide.xml"] = reply(GUIDE)
    scene.kit.clock.advance(gateway_guides.FAILED_FOR_MS + 60_000)

    scene.kit.get(path)
    scene.work()

    assert scene.kit.get(path).status_code == 200


def test_what_is_held_is_answered_while_its_guide_is_down(ready: Scene) -> None:
    ready.origin.answers["/guide.xml"] = reply(status="500 Oh")
    ready.kit.clock.advance(2 * REFRESH_MS)

    ready.shown("?from=2022-02-04T07:30:00Z")
    ready.work()

    assert ready.shown("?from=2022-02-04T07:30:00Z")


def test_the_keeper_refreshes_what_is_asked_for(ready: Scene) -> None:
    jobs, guides = Jobs(ready.kit.gateway.store), Guides(ready.kit.gateway.store)
    ready.origin.answers["/guide.xml"] = reply(GUIDE.replace(b"Talk", b"Chat"))

    early = refresh_guides(guides, jobs, ready.kit.clock() + 1)
    ready.kit.clock.advance(REFRESH_MS + 1)
    due = refresh_guides(guides, jobs, ready.kit.clock())
    again = refresh_guides(guides, jobs, ready.kit.clock())
    ready.work()

    assert (early, due, again) == (0, 1, 0)
    titles = [i["title"] for i in ready.shown("?from=2022-02-04T07:30:00Z")]
    assert titles == ["Breakfast", "Chat", "Late"]


def test_a_guide_nobody_asks_for_is_left_alone(ready: Scene) -> None:
    jobs, guides = Jobs(ready.kit.gateway.store), Guides(ready.kit.gateway.store)
    ready.kit.clock.advance(8 * 24 * HOUR)

    assert refresh_guides(guides, jobs, ready.kit.clock()) == 0


def test_a_deleted_guide_is_forgotten(ready: Scene) -> None:
    guides = Guides(ready.kit.gateway.store)
    mine = ready.kit.mine.tenant_id

    deleted = ready.kit.ask("DELETE", f"/v1/connectors/{ready.guide}")

    assert deleted.status_code == 204
    assert guides.state(mine, ready.guide) is None
    assert refresh_guides(guides, Jobs(ready.kit.gateway.store), NOW_MS + 2 * REFRESH_MS) == 0
    assert ready.kit.get(ready.channel()).json()["code"] == "station_not_mapped"


def test_what_a_feed_drops_stays_known(ready: Scene) -> None:
    later = [e for e in GUIDE.decode().split("\n") if "Early" not in e and "Breakfast" not in e]
    ready.origin.answers["/guide.xml"] = reply("\n".join(later).encode())
    ready.kit.clock.advance(REFRESH_MS + 1)
    refresh_guides(
        Guides(ready.kit.gateway.store), Jobs(ready.kit.gateway.store), ready.kit.clock()
    )
    ready.work()

    titles = [i["title"] for i in ready.shown("?from=2022-02-04T06:00:00Z")]

    assert titles == ["Early", "Breakfast", "Talk", "Late"]


def test_a_mapping_is_kept_changed_and_removed(scene: Scene) -> None:
    made = scene.map()
    read = scene.kit.get(scene.channel("station"))
    stale = scene.map(offset_ms=5, headers={"If-Match": '"v9"'})
    changed = scene.map(offset_ms=5, headers={"If-Match": made.headers["etag"]})
    removed = scene.kit.ask("DELETE", scene.channel("station"))

    assert read.json() == made.json()
    assert read.json()["stationId"] == "bbc1.uk"
    assert (stale.status_code, changed.status_code) == (412, 200)
    assert changed.json()["offsetMs"] == 5
    assert removed.status_code == 204
    assert scene.kit.get(scene.channel("station")).status_code == 404
    assert scene.kit.ask("DELETE", scene.channel("station")).status_code == 404


def test_only_a_guide_can_be_mapped_to(scene: Scene) -> None:
    body = {"stationId": "x", "epgConnectorId": scene.news}

    answer = scene.kit.ask("PUT", scene.channel("station"), json=body)

    assert (answer.status_code, answer.json()["code"]) == (501, "not_supported")


def test_another_tenants_guide_cannot_be_mapped_to(scene: Scene) -> None:
    theirs = scene.kit.connector(
        "T", key="theirs", type="xmltv", config={"url": "http://x.example/"}
    )
    body = {"stationId": "x", "epgConnectorId": theirs}

    assert scene.kit.ask("PUT", scene.channel("station"), json=body).status_code == 404
    assert scene.kit.get(scene.channel(), key="theirs").status_code == 404


def test_stations_are_suggested_by_the_channels_name(ready: Scene) -> None:
    path = ready.channel(f"station/suggestions?epgConnectorId={ready.guide}")

    own, named = ready.kit.get(path).json(), ready.kit.get(f"{path}&name=BBC%202").json()

    assert own["items"][0]["station"]["stationId"] == "bbc1.uk"
    assert named["items"][0]["station"]["stationId"] == "bbc2.uk"
    assert named["items"][0]["score"] > 0.9


@pytest.mark.parametrize(
    "query",
    ["?from=yesterday", "?from=2022-02-04T07:00:00Z&to=2022-02-04T07:00:00Z", "?format=xml",
     "?from=2022-01-01T00:00:00Z&to=2022-02-04T07:00:00Z", "?limit=3"],
)  # fmt: skip
def test_questions_that_make_no_sense_are_422(ready: Scene, query: str) -> None:
    assert ready.kit.get(ready.channel(f"epg{query}")).status_code == 422


def test_a_programme_becomes_a_range_for_an_export(ready: Scene) -> None:
    ready.map(offset_ms=-HOUR)
    (breakfast,) = (
        i for i in ready.shown("?from=2022-02-04T05:00:00Z") if i["title"] == "Breakfast"
    )
    with ready.kit.gateway.catalog.read() as tx:
        news = tx.connectors.get(ready.kit.mine.tenant_id, ready.news)

    span, found = ready.kit.runner.run(
        gateway_guides.programme_range(
            ready.kit.gateway, news, "main", breakfast["programmeId"], 60_000
        )
    )

    assert found.title == "Breakfast"
    assert span.start_ms == breakfast["startMs"] - 60_000
    assert span.end_ms == breakfast["endMs"] + 60_000


def test_schedules_direct_is_served_the_same_way(scene: Scene) -> None:
    with schedules_direct() as (server, service):
        scene.guide = scene.kit.connector(
            "SD",
            type="schedulesdirect",
            config={"username": "ann", "baseUrl": server.url("/20141201")},
            auth={"password": PASSWORD},
        )
        scene.map("24326")
        scene.kit.get(scene.channel())
        scene.work()
        items = scene.shown("?from=2022-02-04T18:00:00Z&to=2022-02-04T19:00:00Z")
        scene.kit.clock.advance(REFRESH_MS + 1)
        service.asked.clear()
        refresh_guides(
            Guides(scene.kit.gateway.store), Jobs(scene.kit.gateway.store), scene.kit.clock()
        )
        scene.work()
        after = scene.shown("?from=2022-02-04T18:00:00Z&to=2022-02-04T19:00:00Z")

    assert [i["title"] for i in items] == ["Evening News", "A Film"]
    assert items[0]["subtitle"] == "Friday"
    assert items[0]["description"] == "Long and good."
    assert (items[0]["seasonNumber"], items[0]["episodeNumber"]) == (3, 7)
    assert items[0]["isLive"] is True
    assert "POST /schedules" not in service.asked
    assert after == items


def test_a_refresh_tells_what_it_kept(ready: Scene) -> None:
    listed = ready.kit.get("/v1/jobs?kind=epg").json()["items"]
    job = Job.model_validate({k: v for k, v in listed[0].items() if k not in _VIEWED})

    assert job.result is not None
    assert job.result["programmes"] == 4
    assert job.result["repairs"]["missingEnds"] == 1
    assert PASSWORD not in json.dumps(listed)


_VIEWED = {"fileId", "requestedFileId"}
