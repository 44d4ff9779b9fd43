"""Guides for tests: XMLTV documents with good defaults, and a recorded Schedules Direct."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipelines import xmltv
from schemas.guides import Airing, Station
from tests.connectors.loopback import Loopback, Request, loopback, reply

PASSWORD = "correct horse"
TOKEN = "f3fca79989cafe7dead71beefedc812b"
HASHED = hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).hexdigest()
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tv SYSTEM "xmltv.dtd">\n<tv>'
BBC = (
    '<channel id="bbc1.uk"><display-name>BBC One</display-name>'
    "<display-name>1</display-name></channel>"
)
DAY_MS = 24 * 3600 * 1000


def programme(
    start: str = "20220204060000 +0000",
    stop: str | None = "20220204070000 +0000",
    title: str = "News",
    channel: str = "bbc1.uk",
    inner: str = "",
    **attributes: str,
) -> str:
    """One programme element."""
    given = {"start": start, "stop": stop, "channel": channel, **attributes}
    shown = " ".join(f'{name}="{value}"' for name, value in given.items() if value is not None)
    return f"<programme {shown}><title>{title}</title>{inner}</programme>"


def document(*elements: str, head: str = HEAD, end: str = "</tv>") -> bytes:
    """An XMLTV document."""
    return "\n".join((head, *elements, end)).encode()


def zipped(data: bytes) -> bytes:
    """The same as gzip."""
    return gzip.compress(data, mtime=0)


def read(
    data: bytes, rules: xmltv.Rules = xmltv.AS_WRITTEN, **asked: Any
) -> list[Station | Airing]:
    """Everything in a document."""
    return list(xmltv.read([data], rules, **asked))


def airings(data: bytes, rules: xmltv.Rules = xmltv.AS_WRITTEN, **asked: Any) -> list[Airing]:
    """The airings in a document."""
    return [one for one in read(data, rules, **asked) if isinstance(one, Airing)]


LINEUP = {
    "map": [{"stationID": "24326", "channel": "002"}, {"stationID": "20454", "channel": "005"}],
    "stations": [
        {
            "stationID": "24326",
            "name": "WCBS",
            "callsign": "WCBS",
            "affiliate": "CBS",
            "broadcastLanguage": ["en"],
            "broadcaster": {"city": "New York", "state": "NY", "country": "United States"},
            "logo": {"URL": "https://logos.example/s24326.png", "height": 270, "width": 360},
        },
        {"stationID": "20454", "name": "CNN International", "callsign": "CNNI"},
    ],
    "metadata": {"lineup": "USA-NY67791-X", "modified": "2022-02-01T00:00:00Z"},
}
PROGRAMS = {
    "EP012345670001": {
        "programID": "EP012345670001",
        "titles": [{"title120": "Evening News"}],
        "episodeTitle150": "Friday",
        "descriptions": {
            "description100": [{"descriptionLanguage": "en", "description": "Short."}],
            "description1000": [{"descriptionLanguage": "en", "description": "Long and good."}],
        },
        "genres": ["News", "Newsmagazine"],
        "metadata": [{"Gracenote": {"season": 3, "episode": 7}}],
        "md5": "s",
    },
    "MV000000010000": {
        "programID": "MV000000010000",
        "titles": [{"title120": "A Film"}],
        "movie": {"year": "1987"},
        "md5": "m",
    },
}


@dataclass
class Service:
    """A Schedules Direct that answers as its documentation says."""

    lineup: dict[str, Any] = field(default_factory=lambda: LINEUP)
    programs: dict[str, Any] = field(default_factory=lambda: PROGRAMS)
    md5: str = "day-one"
    status: str = "Online"
    refusals: dict[str, list[int]] = field(default_factory=dict)
    queued: frozenset[str] = frozenset()
    coding: str = "deflate"
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, Any]:
        """The status and body for a request."""
        path = request.target.removeprefix("/20141201")
        self.asked.append(f"{request.method} {path}")
        body = json.loads(request.body) if request.body else None
        self.bodies.append(body)
        if "deflate" not in request.headers.get("accept-encoding", ""):
            return 400, {"response": "DEFLATE_REQUIRED", "code": 1002}
        if self.refusals.get(path):
            return 400, {"response": "ERROR", "code": self.refusals[path].pop(0)}
        if path == "/token":
            if body != {"username": "ann", "password": HASHED}:
                return 400, {"response": "INVALID_USER", "code": 4003, "message": "Unknown user"}
            told = {"serverID": "20141201.web.1", "datetime": "2022-02-04T00:00:00Z"}
            expires = {"tokenExpires": 1_644_019_200}
            return 200, {"code": 0, "message": "OK", "token": TOKEN, **told, **expires}
        if request.headers.get("token") != TOKEN:
            return 403, {"response": "TOKEN_MISSING", "code": 1004}
        return 200, self._known(path, body)

    def _known(self, path: str, body: Any) -> Any:
        match path:
            case "/status":
                system = {"date": "2022-02-04T00:00:00Z", "status": self.status, "message": "-"}
                account = {"expires": "2023-02-04T00:00:00Z", "messages": [], "maxLineups": 4}
                return {
                    "account": account, "lineups": [], "lastDataUpdate": "2022-02-03T14:14:14Z",
                    "notifications": [], "systemStatus": [system], "serverID": "s", "code": 0,
                }  # fmt: skip
            case "/lineups":
                lineup = {
                    "lineup": "USA-NY67791-X", "name": "Digital", "transport": "Cable",
                    "location": "New York", "uri": "/20141201/lineups/USA-NY67791-X",
                    "isDeleted": False,
                }  # fmt: skip
                return {"code": 0, "serverID": "s", "lineups": [lineup]}
            case "/lineups/USA-NY67791-X":
                return self.lineup
            case "/schedules/md5":
                return {
                    one["stationID"]: {
                        day: {
                            "code": 0,
                            "message": "OK",
                            "lastModified": f"{day}T01:00:00Z",
                            "md5": f"{self.md5}-{day}",
                        }
                        for day in one["date"]
                    }
                    for one in body
                }
            case "/schedules":
                return [self._schedule(one["stationID"], d) for one in body for d in one["date"]]
            case "/programs":
                return [self._program(one) for one in body]
        return {"code": 2103, "response": "UNKNOWN_LINEUP"}

    def _program(self, program_id: str) -> dict[str, Any]:
        if program_id in self.queued:
            words = {"response": "PROGRAMID_QUEUED", "message": "Fetching programID. Retry."}
            return {"programID": program_id, "code": 6001, **words}
        if program_id not in self.programs:
            words = {"response": "INVALID_PROGRAMID", "message": "Permanent failure."}
            return {"programID": program_id, "code": 6000, **words}
        known: dict[str, Any] = self.programs[program_id]
        return known

    def _schedule(self, station: str, day: str) -> dict[str, Any]:
        return {
            "stationID": station,
            "programs": [
                {
                    "programID": "EP012345670001", "airDateTime": f"{day}T18:00:00Z",
                    "duration": 1800, "md5": "a", "new": True, "liveTapeDelay": "Live",
                    "ratings": [{"body": "USA Parental Rating", "code": "TVPG"}],
                },
                {
                    "programID": "MV000000010000", "airDateTime": f"{day}T18:30:00Z",
                    "duration": 5400, "md5": "b",
                },
            ],
            "metadata": {"modified": "2022-02-01T00:00:00Z", "md5": self.md5, "startDate": day},
        }  # fmt: skip


def _packed(body: bytes, coding: str) -> bytes:
    """The body in a content coding; `deflate` is the zlib format (RFC 9110, 8.4.1.2)."""
    return gzip.compress(body) if coding == "gzip" else zlib.compress(body)


@contextmanager
def schedules_direct(service: Service | None = None) -> Iterator[tuple[Loopback, Service]]:
    """The service on loopback."""
    made = service or Service()

    def script(conn: socket.socket, request: Request) -> None:
        status, body = made.answer(request)
        packed = _packed(json.dumps(body).encode(), made.coding)
        conn.sendall(
            reply(packed, f"{status} Told", Connection="close", Content_Encoding=made.coding)
        )

    with loopback() as server:
        server.answers["*"] = script
        yield server, made
