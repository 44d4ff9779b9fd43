"""The schedulesdirect connector against a service that answers as its documentation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors import schedulesdirect
from connectors.schedulesdirect import Auth, Config, connect
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
)
from schemas.guides import GuideDocument, GuideWanted
from schemas.settings import Settings
from schemas.times import TimeRange
from tests.connectors.loopback import Loopback, loopback, reply
from tests.connectors.peer import Peer, env_for
from tests.guides import DAY_MS, PASSWORD, TOKEN, Service, schedules_direct

NOW = 1_643_932_800_000  # 2022-02-04T00:00Z


@contextmanager
def _service(tmp_path: Path) -> Iterator[Peer]:
    with schedules_direct() as (server, _):
        yield Peer(
            config={"username": "ann", "baseUrl": server.url("/20141201")},
            auth={"password": PASSWORD},
            bad_auth={"password": "wrong"},
        )


PEERS = {"a service": _service}


def wanted(*stations: str, days: int = 2, known: dict[str, str] | None = None) -> GuideWanted:
    span = TimeRange(start_ms=NOW, end_ms=NOW + days * DAY_MS)
    return GuideWanted(stations=stations, range=span, known=known or {})


def brought(server: Loopback, folder: Path, asked: GuideWanted, **given: Any) -> GuideDocument:
    config = Config(username="ann", base_url=server.url("/20141201"), **given)
    auth = Auth.model_validate({"password": PASSWORD})
    return connect(config, auth, env_for(Settings())).guide(asked, folder)


def test_lineups_schedules_and_programs_are_brought(tmp_path: Path) -> None:
    with schedules_direct() as (server, service):
        found = brought(server, tmp_path, wanted("24326"))

    assert [file.role for file in found.files] == ["lineup", "schedules", "programs"]
    assert found.validators == {
        "24326/2022-02-04": "day-one-2022-02-04",
        "24326/2022-02-05": "day-one-2022-02-05",
    }
    programs = json.loads((tmp_path / found.files[2].name).read_bytes())
    assert {p["programID"] for p in programs} == {"EP012345670001", "MV000000010000"}
    assert service.asked == [
        "POST /token",
        "GET /status",
        "GET /lineups",
        "GET /lineups/USA-NY67791-X",
        "POST /schedules/md5",
        "POST /schedules",
        "POST /programs",
    ]


def test_only_days_that_changed_come_again(tmp_path: Path) -> None:
    known = {"24326/2022-02-04": "day-one-2022-02-04", "24326/2022-02-05": "older"}
    with schedules_direct() as (server, service):
        found = brought(server, tmp_path, wanted("24326", known=known))

    asked = service.bodies[service.asked.index("POST /schedules")]
    assert asked == [{"stationID": "24326", "date": ["2022-02-05"]}]
    assert len(found.validators) == 2


def test_nothing_is_asked_where_nothing_changed(tmp_path: Path) -> None:
    known = {f"24326/2022-02-0{d}": f"day-one-2022-02-0{d}" for d in (4, 5)}
    with schedules_direct() as (server, service):
        found = brought(server, tmp_path, wanted("24326", known=known))

    assert "POST /schedules" not in service.asked
    assert found.validators == known


def test_requests_are_made_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulesdirect, "STATIONS_A_BATCH", 2)
    monkeypatch.setattr(schedulesdirect, "PROGRAMS_A_BATCH", 1)
    with schedules_direct() as (server, service):
        brought(server, tmp_path, wanted("1", "2", "3", days=1))

    assert service.asked.count("POST /schedules") == 2
    assert service.asked.count("POST /programs") == 2


def test_a_token_that_expired_is_renewed_once(tmp_path: Path) -> None:
    with schedules_direct(Service(refusals={"/lineups": [4006]})) as (server, service):
        brought(server, tmp_path, wanted())

    assert service.asked.count("POST /token") == 2


def test_a_schedule_that_is_not_ready_is_asked_for_again_next_time(tmp_path: Path) -> None:
    service = Service()
    ready = service._schedule  # the service answers otherwise for one station

    def unready(station: str, day: str) -> dict[str, Any]:
        if station == "20454":
            return {"stationID": station, "code": 7100, "response": "SCHEDULE_QUEUED"}
        return ready(station, day)

    service._schedule = unready  # type: ignore[method-assign]
    with schedules_direct(service) as (server, _):
        found = brought(server, tmp_path, wanted("24326", "20454", days=1))

    assert list(found.validators) == ["24326/2022-02-04"]


def test_a_program_that_is_not_ready_brings_its_days_back_next_time(tmp_path: Path) -> None:
    service = Service(queued=frozenset({"MV000000010000"}))
    with schedules_direct(service) as (server, _):
        first = brought(server, tmp_path, wanted("24326", days=1))
        service.queued = frozenset()
        again = brought(server, tmp_path, wanted("24326", days=1, known=first.validators))

    assert first.validators == {}
    assert again.validators == {"24326/2022-02-04": "day-one-2022-02-04"}
    assert service.asked.count("POST /schedules") == 2


@pytest.mark.parametrize("coding", ["deflate", "gzip"])
def test_answers_come_compressed(tmp_path: Path, coding: str) -> None:
    with schedules_direct(Service(coding=coding)) as (server, _):
        found = brought(server, tmp_path, wanted("24326"))

    assert json.loads((tmp_path / found.files[0].name).read_bytes())["map"]


@pytest.mark.parametrize(
    ("path", "code", "error"),
    [
        ("/token", 3000, RateLimited),
        ("/token", 4001, AccessDenied),
        ("/token", 4002, AccessDenied),
        ("/token", 4003, AccessDenied),
        ("/token", 4004, RateLimited),
        ("/token", 4005, AccessDenied),
        ("/token", 4008, AccessDenied),
        ("/token", 4009, RateLimited),
        ("/lineups", 4102, SourceNotFound),
        ("/lineups/USA-NY67791-X", 2103, SourceNotFound),
        ("/schedules", 7100, RateLimited),
        ("/programs", 6001, RateLimited),
        ("/schedules/md5", 1001, SourceUnavailable),
        ("/status", 9999, RateLimited),
    ],
)
def test_refusals_say_what_to_do(
    tmp_path: Path, path: str, code: int, error: type[CuttingRoomError]
) -> None:
    service = Service(refusals={path: [code]})
    with schedules_direct(service) as (server, _), pytest.raises(error) as raised:
        brought(server, tmp_path, wanted("24326"))

    assert str(code) in raised.value.message
    assert PASSWORD not in raised.value.message
    assert TOKEN not in raised.value.message


def test_a_service_that_is_offline_is_left_alone_for_an_hour(tmp_path: Path) -> None:
    service = Service(status="Offline")
    with schedules_direct(service) as (server, _), pytest.raises(RateLimited) as raised:
        brought(server, tmp_path, wanted())

    assert raised.value.retry_after_s == 3600


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"<html>", "200 OK"), CorruptMedia),
        (reply(b"[" * 100_000, "200 OK"), CorruptMedia),
        (reply(b"{}", "200 OK"), SourceUnavailable),
        (reply(b"{}", "500 Oh"), SourceUnavailable),
        (reply(b"", "429 Slow", Retry_After="7"), RateLimited),
        (reply(b"", "403 No"), AccessDenied),
        (reply(b'{"code": 0, "token": "a b"}'), SourceUnavailable),
        (reply(b'{"code": "x", "token": 5}'), SourceUnavailable),
    ],
)
def test_answers_that_make_no_sense_are_refused(
    tmp_path: Path, answer: bytes, error: type[CuttingRoomError]
) -> None:
    with loopback() as server:
        server.answers["*"] = answer
        with pytest.raises(error):
            brought(server, tmp_path, wanted())


def test_fetching_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with schedules_direct() as (server, _):
        config = Config(username="ann", base_url=server.url("/20141201"))
        auth = Auth.model_validate({"password": PASSWORD})
        account = connect(config, auth, env_for(Settings()))
        with pytest.raises(Cancelled):
            account.guide(wanted(), tmp_path, control=stop)
