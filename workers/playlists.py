"""Reads a channel's playlists, in whichever format its connector says they are."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import structlog

from connectors.base import Control, Live, presentation_of
from pipelines import dash, dash_index, dash_playlist, hls
from pipelines.dash import Mpd, Resource
from pipelines.dash_index import Indexed
from pipelines.dash_timeline import MAX_SEGMENTS
from schemas.errors import (
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    LeaseLost,
    TooLarge,
    WorkerInterrupted,
)
from schemas.media import MediaPlaylist, MultivariantPlaylist
from schemas.times import EPOCH, TimeRange

log = structlog.get_logger(__name__)
MAX_PLAYLIST_BYTES = 20 * 1024 * 1024
MAX_TIME_BYTES = 4096
CLOCK = "clock-offset-us"
# A server that is further off than this has no idea what time it is.
MOST_OFF_US = 365 * 24 * 3600 * 1_000_000
_HEAD = "urn:mpeg:dash:utc:http-head:"
_TIMES = ("urn:mpeg:dash:utc:http-xsdate:", "urn:mpeg:dash:utc:http-iso:")
_DIRECT = "urn:mpeg:dash:utc:direct:"


def read_playlist(
    live: Live,
    url: str,
    now_ms: int,
    control: Control,
    variables: Mapping[str, str] | None = None,
) -> MediaPlaylist | MultivariantPlaylist:
    """The playlist behind a URL, fetched now."""
    return Playlists(live, now_ms, control).read(url, variables)


class Playlists:
    """One look at the playlists of a channel: what they share is fetched once.

    Addresses are those a connector gives, and those that stand in what was read; `variables` those
    of the playlist that named this one. What lies far from `span`, the wanted range, need not be
    listed.
    """

    def __init__(
        self, live: Live, now_ms: int, control: Control, span: TimeRange | None = None
    ) -> None:
        self._live, self._now_us, self._control = live, now_ms * 1000, control
        self._span = span
        self._manifests: dict[str, Mpd] = {}

    def read(
        self, url: str, variables: Mapping[str, str] | None = None
    ) -> MediaPlaylist | MultivariantPlaylist:
        """The playlist behind an address."""
        match presentation_of(self._live, url):
            case "dash":
                return self._dash(url, variables or {})
            case "hls":
                body = self._live.fetch(url, max_bytes=MAX_PLAYLIST_BYTES, control=self._control)
                return hls.parse(
                    body.data, body.url, fetched_at_us=self._now_us, variables=variables
                )

    # -- DASH

    def _dash(self, url: str, variables: Mapping[str, str]) -> MediaPlaylist | MultivariantPlaylist:
        address, _, fragment = url.partition("#")
        mpd = self._manifest(address)
        if dash_playlist.names_track(fragment):
            return self._track(mpd, url, self._offset_us(mpd, variables))
        top = dash_playlist.multivariant(mpd, mpd.location or address)
        offset_us = self._offset_us(mpd, variables)
        alone = dash_playlist.sound_alone(top)
        if alone is not None:
            return self._track(mpd, alone, offset_us)
        return top.model_copy(update={"variables": {CLOCK: str(offset_us)}})

    def _manifest(self, address: str) -> Mpd:
        if address not in self._manifests:
            body = self._live.fetch(address, max_bytes=MAX_PLAYLIST_BYTES, control=self._control)
            self._manifests[address] = dash.parse(body.data, body.url)
        return self._manifests[address]

    def _track(self, mpd: Mpd, url: str, offset_us: int) -> MediaPlaylist:
        needed = dash_playlist.indexes_needed(mpd, url)
        indexes = {index: self._index(index) for index in needed}
        return dash_playlist.media(mpd, url, self._now_us + offset_us, indexes, self._span)

    def _index(self, index: Resource) -> tuple[Indexed, ...]:
        span = index.span
        if span is None:
            raise CorruptMedia("an index without a byte range is not read")
        if span.length > dash_index.MAX_BYTES:
            raise TooLarge(f"a segment index of {span.length} bytes is over the limit")
        body = self._live.fetch(
            index.uri, max_bytes=span.length, byte_range=span, control=self._control
        )
        return dash_index.subsegments(body.data, span.offset, MAX_SEGMENTS)

    # -- the origin's clock

    def _offset_us(self, mpd: Mpd, variables: Mapping[str, str]) -> int:
        """How far the origin's clock is ahead of ours, asked once a channel."""
        known = variables.get(CLOCK)
        if known is not None:
            return int(known)
        if not dash_playlist.needs_clock(mpd):
            return 0
        for scheme, value in mpd.timings:
            offset_us = self._told(mpd, scheme, value)
            if offset_us is not None and abs(offset_us) <= MOST_OFF_US:
                return offset_us
        return 0

    def _told(self, mpd: Mpd, scheme: str, value: str) -> int | None:
        """What one UTCTiming says; None where it cannot be asked or makes no sense."""
        try:
            if scheme.startswith(_DIRECT):
                return dash.moment_us(value) - self._now_us
            if scheme.startswith((*_TIMES, _HEAD)):
                return self._asked(dash.resolved(mpd.uri, value.split()[0]), scheme)
        except (Cancelled, LeaseLost, WorkerInterrupted):
            raise
        except (CuttingRoomError, ValueError, LookupError, OverflowError) as error:
            log.info("a clock of the manifest is of no use", reason=type(error).__name__)
        return None

    def _asked(self, url: str, scheme: str) -> int | None:
        body = self._live.fetch(url, max_bytes=MAX_TIME_BYTES, control=self._control)
        if scheme.startswith(_TIMES):
            return dash.moment_us(body.data.decode("ascii")) - self._now_us
        if body.date is None:
            return None
        moment = parsedate_to_datetime(body.date)
        return round((moment - EPOCH).total_seconds() * 1_000_000) - self._now_us
