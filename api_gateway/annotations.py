"""What the catalogue knows of a source, as routes need it: looked up only where there is any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api_gateway.deps import Gateway, in_thread
from catalog.engine import Transaction
from catalog.metadata import Place
from pipelines.annotations import carried, markers
from schemas.commands import ExportPart
from schemas.connectors import Connector
from schemas.errors import NotFound
from schemas.file_id import ClipFileId
from schemas.metadata import (
    BUILT_IN,
    MAX_CARRIED,
    MAX_MARKERS,
    NOTHING_CARRIED,
    Carried,
    KeptRecord,
    Marker,
    MetadataView,
)


def place_of(connector: Connector) -> Place:
    """Under what a connector's metadata are kept: an equal one made later finds them."""
    return Place(connector.tenant_id, connector.fingerprint)


def views(tx: Transaction, tenant_id: str) -> Mapping[str, MetadataView]:
    """Every view a tenant may use, by id."""
    return {**BUILT_IN, **{view.id: view for view in tx.metadata.views(tenant_id)}}


def view_of(tx: Transaction, tenant_id: str, view_id: str) -> MetadataView:
    """The view of an id, or NotFound."""
    known = BUILT_IN.get(view_id)
    if known is not None:
        return known
    if not view_id.startswith("mdv_"):
        raise NotFound("no such view")
    return tx.metadata.view(tenant_id, view_id)


async def by_clip(deps: Gateway, connector: Connector, clip: ClipFileId) -> Carried:
    """What a clip carries of its channel's range and of itself; cheap where nothing is known."""
    place = place_of(connector)
    known = deps.annotated.get(*place)
    if known is not None and not known[0]:
        return NOTHING_CARRIED
    found = await in_thread(_by_clip, deps, place, clip)
    deps.annotated.put(found is not None, *place)
    return found or NOTHING_CARRIED


async def by_parts(deps: Gateway, tenant_id: str, parts: Sequence[ExportPart]) -> Carried:
    """What an export carries of the ranges it is made of."""
    return await in_thread(_by_parts, deps, tenant_id, parts)


def of_clip(
    tx: Transaction, place: Place, clip: ClipFileId
) -> tuple[tuple[KeptRecord, ...], tuple[KeptRecord, ...], tuple[Marker, ...]]:
    """What is known of a clip, of its channel, and every marker in its range, in wall clock."""
    known, span = views(tx, place.tenant_id), clip.range
    own = tx.metadata.of_file(place, clip.canonical, limit=MAX_MARKERS)
    live = tx.metadata.within(place, clip.channel_id, span.start_ms, span.end_ms, MAX_MARKERS)
    shifted = (
        marker.model_copy(
            update={
                "start_ms": marker.start_ms + span.start_ms,
                "end_ms": marker.end_ms + span.start_ms,
            }
        )
        for marker in markers(own, known)
    )
    whole = tuple(record for record in own if record.start_ms is None)
    channel = tx.metadata.whole(place, clip.channel_id, MAX_CARRIED)
    return whole, channel, (*markers(live, known), *shifted)


def _by_clip(deps: Gateway, place: Place, clip: ClipFileId) -> Carried | None:
    with deps.catalog.read() as tx:
        if not tx.metadata.has_any(place):
            return None
        own, channel, found = of_clip(tx, place, clip)
    return carried((own, channel), found)


def _by_parts(deps: Gateway, tenant_id: str, parts: Sequence[ExportPart]) -> Carried:
    places = [Place(tenant_id, deps.registry.fingerprint(part.connector)) for part in parts]
    with deps.catalog.read() as tx:
        used = {place for place in dict.fromkeys(places) if tx.metadata.has_any(place)}
        if not used:
            return NOTHING_CARRIED
        known = views(tx, tenant_id)
        files = dict.fromkeys(
            (place, _file_of(part)) for place, part in zip(places, parts, strict=True)
        )
        whole = [tx.metadata.whole(place, file_id, MAX_CARRIED) for place, file_id in files]
        found = _markers(tx, known, places, parts)
    return carried(whole, found)


def _markers(
    tx: Transaction,
    known: Mapping[str, MetadataView],
    places: Sequence[Place],
    parts: Sequence[ExportPart],
) -> list[Marker]:
    found: list[Marker] = []
    for number, (place, part) in enumerate(zip(places, parts, strict=True)):
        span, left = part.range, MAX_MARKERS - len(found)
        if left <= 0:
            break
        records: Iterable[KeptRecord] = tx.metadata.within(
            place, _file_of(part), span.start_ms, span.end_ms, left
        )
        found += markers(records, known, number)
    return found


def _file_of(part: ExportPart) -> str:
    """What a range is of: a channel in wall clock, or a file in its own time."""
    return part.file_id or part.channel_id
