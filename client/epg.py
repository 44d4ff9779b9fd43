"""Programme guides: stations, which channel is which, and what is on."""

from __future__ import annotations

from collections.abc import Iterator

from client.calls import PAGE, Calls, Page, Query, decoded, pages_of
from client.jobs import Jobs
from client.transport import Reply
from client.values import Job, Moment, Resource, Told, instant, present, read
from schemas.errors import NotYetAvailable
from schemas.guides import Programme, Station

GUIDE_WITHIN_S = 300.0
_ROUNDS = 3


class FoundStation(Station):
    """A station, and the connector whose guide has it."""

    connector_id: str


class ProgrammeOn(Programme):
    """A programme, its times in RFC 3339 too."""

    start: str
    end: str


class Mapping(Resource):
    """Which station a channel is."""

    connector_id: str
    channel_id: str
    epg_connector_id: str
    station_id: str
    offset_ms: int = 0
    updated_at: str


class Suggestion(Told):
    """A station a channel may be."""

    station: FoundStation
    score: float
    why: str


class ChannelEpg(Told):
    """What is on a channel."""

    items: tuple[ProgrammeOn, ...]
    station_id: str
    epg_connector_id: str
    offset_ms: int
    fetched_at: str


class Epg:
    """The guides of the tenant's channels; one that is not held yet is waited for."""

    def __init__(self, calls: Calls, jobs: Jobs) -> None:
        self._calls = calls
        self._jobs = jobs

    def stations(
        self, q: str | None = None, *, connector_id: str | None = None, country: str | None = None
    ) -> Iterator[FoundStation]:
        """Stations of the tenant's guides, by name."""
        query = {"q": q, "connectorId": connector_id, "country": country, "limit": PAGE}

        def ask(cursor: str | None) -> Reply:
            return self._held("lookupStations", query=query | {"cursor": cursor})

        return pages_of(FoundStation, ask)

    def suggest(
        self,
        connector_id: str,
        channel_id: str,
        *,
        epg_connector_id: str | None = None,
        name: str | None = None,
    ) -> tuple[Suggestion, ...]:
        """The stations a channel may be, the likeliest first."""
        query = {"epgConnectorId": epg_connector_id, "name": name}
        reply = self._held("suggestStations", _at(connector_id, channel_id), query=query)
        return tuple(read(Suggestion, item) for item in read(Page, decoded(reply)).items)

    def station(self, connector_id: str, channel_id: str) -> Mapping:
        """The station a channel is."""
        return self._calls.value(Mapping, "getChannelStation", _at(connector_id, channel_id))

    def set_station(
        self,
        connector_id: str,
        channel_id: str,
        station_id: str,
        *,
        epg_connector_id: str,
        offset_ms: int | None = None,
        if_match: str | None = None,
    ) -> Mapping:
        """Say which station a channel is."""
        body = present(
            epg_connector_id=epg_connector_id, station_id=station_id, offset_ms=offset_ms
        )
        return self._calls.value(
            Mapping,
            "setChannelStation",
            _at(connector_id, channel_id),
            body=body,
            headers={"If-Match": if_match},
        )

    def remove_station(self, connector_id: str, channel_id: str) -> None:
        """Forget which station a channel is."""
        self._calls.reply("removeChannelStation", _at(connector_id, channel_id))

    def programmes(
        self,
        connector_id: str,
        channel_id: str,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> ChannelEpg:
        """What is on a channel."""
        query = {"from": instant(start), "to": instant(end), "format": "json"}
        at = _at(connector_id, channel_id)
        return read(ChannelEpg, decoded(self._held("getChannelEpg", at, query=query)))

    def xmltv(
        self,
        connector_id: str,
        channel_id: str,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> bytes:
        """The same as an XMLTV document."""
        query = {"from": instant(start), "to": instant(end), "format": "xmltv"}
        return self._held("getChannelEpg", _at(connector_id, channel_id), query=query).data

    def _held(self, operation_id: str, at: Query | None = None, *, query: Query) -> Reply:
        """What a guide says, once it has been fetched."""
        for _ in range(_ROUNDS):
            said = {"Accept": "*/*"}
            reply = self._calls.reply(operation_id, at, query=query, headers=said)
            if reply.status != 202:
                return reply
            job = read(Job, decoded(reply))
            self._jobs.succeeded(job, GUIDE_WITHIN_S)
        raise NotYetAvailable("the guide is fetched again each time it was", retry_at_ms=0)


def _at(connector_id: str, channel_id: str) -> dict[str, str]:
    return {"id": connector_id, "channelId": channel_id}
