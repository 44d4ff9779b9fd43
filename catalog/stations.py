"""The repository of mappings: which station of which guide a channel is."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import ChannelStationRow
from schemas.errors import Conflict, NotFound
from schemas.guides import MAX_REFRESHED, StationMapping


class ChannelStations:
    """Mappings of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def find(self, tenant_id: str, connector_id: str, channel_id: str) -> StationMapping | None:
        """The channel's mapping, if there is one."""
        row = self._row(tenant_id, connector_id, channel_id)
        return None if row is None else _mapping(row)

    def get(self, tenant_id: str, connector_id: str, channel_id: str) -> StationMapping:
        """The channel's mapping, or NotFound."""
        found = self.find(tenant_id, connector_id, channel_id)
        if found is None:
            raise NotFound("no station is mapped to this channel")
        return found

    def put(self, tenant_id: str, mapping: StationMapping) -> StationMapping:
        """Map a channel; what it was mapped to before is replaced.

        Conflict where the guide's stations of mapped channels are as many as one guide may have.
        """
        row = self._row(tenant_id, mapping.connector_id, mapping.channel_id)
        if row is None:
            row = ChannelStationRow(
                tenant_id=tenant_id,
                connector_id=mapping.connector_id,
                channel_id=mapping.channel_id,
                version=0,
            )
            self._session.add(row)
        row.epg_connector_id, row.station_id = mapping.epg_connector_id, mapping.station_id
        row.offset_ms, row.updated_ms = mapping.offset_ms, self._clock()
        row.version += 1
        self._session.flush()
        if len(self.stations(tenant_id, mapping.epg_connector_id, MAX_REFRESHED + 1)) > (
            MAX_REFRESHED
        ):
            raise Conflict(
                f"one guide serves {MAX_REFRESHED} mapped stations; set up another for more",
                code="too_many_stations",
            )
        return _mapping(row)

    def delete(self, tenant_id: str, connector_id: str, channel_id: str) -> None:
        """Forget a mapping, or NotFound."""
        row = self._row(tenant_id, connector_id, channel_id)
        if row is None:
            raise NotFound("no station is mapped to this channel")
        self._session.delete(row)
        self._session.flush()

    def stations(
        self, tenant_id: str, epg_connector_id: str, limit: int = MAX_REFRESHED
    ) -> tuple[str, ...]:
        """The stations of a guide that channels are mapped to."""
        query = (
            select(ChannelStationRow.station_id)
            .where(
                ChannelStationRow.tenant_id == tenant_id,
                ChannelStationRow.epg_connector_id == epg_connector_id,
            )
            .distinct()
            .order_by(ChannelStationRow.station_id)
            .limit(limit)
        )
        return tuple(self._session.scalars(query))

    def _row(self, tenant_id: str, connector_id: str, channel_id: str) -> ChannelStationRow | None:
        return self._session.get(ChannelStationRow, (tenant_id, connector_id, channel_id))


def _mapping(row: ChannelStationRow) -> StationMapping:
    return StationMapping(
        connector_id=row.connector_id,
        channel_id=row.channel_id,
        epg_connector_id=row.epg_connector_id,
        station_id=row.station_id,
        offset_ms=row.offset_ms,
        version=row.version,
        updated_ms=row.updated_ms,
    )
