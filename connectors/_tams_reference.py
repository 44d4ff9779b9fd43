"""A stretch of a flow as a flow of its own: its segments refer to the objects that are there."""

from __future__ import annotations

import uuid
from typing import Any

from connectors._tams_api import Api
from connectors._tams_playlist import Flow, FlowSegment
from connectors._tams_time import parse_span, spelled
from schemas.base import Value
from schemas.errors import DestinationRejected, MissingSegments, Unsupported

MAX_SEGMENTS = 20_000
_BATCH = 200
_KEPT = (
    *("description", "format", "codec", "container", "essence_parameters", "container_mapping"),
    *("segment_duration", "avg_bit_rate", "max_bit_rate", "generation"),
)


class Stretch(Value):
    """A stretch of a timeline, and what the flows that show it are called."""

    start_ns: int
    end_ns: int
    name: str

    @property
    def timerange(self) -> str:
        """As the store spells it."""
        return spelled(self.start_ns, self.end_ns)


def named(base: str, kind: str, origin: str, stretch: Stretch) -> str:
    """The id of what shows a stretch of something: the same whenever it is asked for again."""
    words = f"{base}/{kind}/{origin}/{stretch.timerange}/{stretch.name}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, words))


def referred(api: Api, base: str, flow: Flow, stretch: Stretch) -> tuple[str, int]:
    """A new flow of the stretch, and how many objects it refers to; made again it is the same.

    Its segments keep their place on the timeline: only the first and the last may be shorter.
    """
    wanted = _segments(api, flow, stretch)
    name = named(base, "flows", flow.id, stretch)
    told = api.get_object(f"/flows/{flow.id}", None)
    source = named(base, "sources", flow.source_id or flow.id, stretch)
    kept = {key: told[key] for key in _KEPT if key in told}
    api.ask("PUT", f"{base}/flows/{name}", kept | _origin(flow, name, source, stretch), None)
    there = _listed(api, name)
    missing = [one for one in wanted if one["timerange"] not in there]
    for at in range(0, len(missing), _BATCH):
        api.ask("POST", f"{base}/flows/{name}/segments", missing[at : at + _BATCH], None)
    if _listed(api, name) != {one["timerange"] for one in wanted}:
        raise DestinationRejected("the store did not take every segment of the reference")
    return name, len({one["object_id"] for one in wanted})


def collected(
    api: Api, base: str, multi: Flow, members: list[dict[str, str]], stretch: Stretch
) -> str:
    """A new flow that collects the new ones as the old flow did theirs; answers its source."""
    name = named(base, "flows", multi.id, stretch)
    source = named(base, "sources", multi.source_id or multi.id, stretch)
    made = _origin(multi, name, source, stretch) | {"flow_collection": members}
    api.ask("PUT", f"{base}/flows/{name}", made | {"format": multi.format}, None)
    return source


def _origin(flow: Flow, name: str, source: str, stretch: Stretch) -> dict[str, Any]:
    tags = {
        "flow_status": "closed_complete",
        "originating_id": flow.id,
        "originating_timerange": stretch.timerange,
    }
    own = {"id": name, "source_id": source, "label": stretch.name}
    return {**own, "tags": {**flow.tags, **tags}}


def _segments(api: Api, flow: Flow, stretch: Stretch) -> list[dict[str, Any]]:
    query = {"timerange": stretch.timerange, "accept_get_urls": ""}
    path = f"/flows/{flow.id}/segments"
    found = api.listed(path, query, FlowSegment, MAX_SEGMENTS, None)
    cut = [one for one in (_cut(segment, stretch) for segment in found) if one is not None]
    if not cut:
        whole = (stretch.start_ns // 10**6, stretch.end_ns // 10**6)
        raise MissingSegments("the flow holds nothing of the range", gaps=(whole,))
    return cut


def _cut(segment: FlowSegment, stretch: Stretch) -> dict[str, Any] | None:
    span = parse_span(segment.timerange)
    start = max(stretch.start_ns, span.start_ns or 0)
    end = min(stretch.end_ns, span.end_ns or 0)
    if start >= end:
        return None
    if segment.sample_offset or segment.sample_count is not None:
        raise Unsupported("the flow takes parts of objects by samples, not by time")
    init = segment.init_object
    return {
        "object_id": segment.object_id,
        "timerange": spelled(start, end),
        "ts_offset": segment.ts_offset,
        **({"init_object": {"object_id": init.object_id}} if init else {}),
    }


def _listed(api: Api, flow_id: str) -> set[str]:
    """The timeranges of a flow's segments, spelled as we do."""
    query = {"accept_get_urls": ""}
    found = api.listed(f"/flows/{flow_id}/segments", query, FlowSegment, MAX_SEGMENTS, None)
    spans = (parse_span(segment.timerange) for segment in found)
    return {spelled(s.start_ns or 0, s.end_ns or 0) for s in spans}
