"""OpenTimelineIO documents for tests, as editors write them."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]


def time(value: float, rate: float = 25.0) -> Node:
    """A RationalTime."""
    return {"OTIO_SCHEMA": "RationalTime.1", "value": value, "rate": rate}


def span(start: float, duration: float, rate: float = 25.0) -> Node:
    """A TimeRange."""
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": time(start, rate),
        "duration": time(duration, rate),
    }


def a_clip(
    start: float = 0,
    frames: float = 50,
    rate: float = 25.0,
    *,
    media: Node | None = None,
    reference: Node | None = None,
    name: str = "clip",
    **more: Any,
) -> Node:
    """A clip of `media`, which is what its metadata say of it."""
    node: Node = {
        "OTIO_SCHEMA": "Clip.2",
        "name": name,
        "source_range": span(start, frames, rate),
        "media_references": {"DEFAULT_MEDIA": reference or {"OTIO_SCHEMA": "MissingReference.1"}},
        "active_media_reference_key": "DEFAULT_MEDIA",
        "effects": [],
        "markers": [],
        "enabled": True,
        "metadata": {} if media is None else {"cuttingroom": dict(media)},
    }
    return node | more


def of_file(connector_id: str, file_id: str) -> Node:
    """What the metadata of a clip of a file say."""
    return {"connectorId": connector_id, "fileId": file_id}


def of_channel(connector_id: str, channel_id: str, **more: Any) -> Node:
    """What the metadata of a clip of a channel say."""
    return {"connectorId": connector_id, "channelId": channel_id, **more}


def a_gap(frames: float, rate: float = 25.0) -> Node:
    """A gap."""
    return {"OTIO_SCHEMA": "Gap.1", "name": "", "source_range": span(0, frames, rate)}


def a_transition(offset: float = 5, rate: float = 25.0) -> Node:
    """A dissolve."""
    return {
        "OTIO_SCHEMA": "Transition.1",
        "name": "dissolve",
        "transition_type": "SMPTE_Dissolve",
        "in_offset": time(offset, rate),
        "out_offset": time(offset, rate),
    }


def a_track(*children: Node, kind: str = "Video", **more: Any) -> Node:
    """A track of items that follow each other."""
    node: Node = {"OTIO_SCHEMA": "Track.1", "name": kind, "kind": kind}
    return node | {"children": list(children)} | more


def a_stack(*children: Node, **more: Any) -> Node:
    """Items that lie over one another, the lowest first."""
    return {"OTIO_SCHEMA": "Stack.1", "name": "stack", "children": list(children)} | more


def a_timeline(*tracks: Node, name: str = "Cut", **more: Any) -> Node:
    """A timeline of these tracks."""
    return {"OTIO_SCHEMA": "Timeline.1", "name": name, "tracks": a_stack(*tracks)} | more
