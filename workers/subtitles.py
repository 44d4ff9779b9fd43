"""Reads the subtitles beside a channel; whatever is wrong with them never fails the job."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.base import Live, playlist_of
from pipelines import subtitles, webvtt
from pipelines.clip import checked_media
from pipelines.export import Channel
from pipelines.subtitles import Piece, TextReading, Texts, TextSource
from pipelines.webvtt import TextDocument
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    Encrypted,
    OutsideWindow,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
    UnsupportedMedia,
)
from schemas.media import MediaPlaylist
from workers.playlists import read_playlist
from workers.run import Run
from workers.world import world_of

OF_THE_SOURCE = (
    AccessDenied,
    CorruptMedia,
    Encrypted,
    OutsideWindow,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
    UnsupportedMedia,
)


def follow(channel: Channel, before: Texts, run: Run) -> Texts:
    """One more look at the subtitle playlists of a channel."""
    live, readings = world_of(run).live(channel.connector), before.readings
    if readings is None:
        try:
            readings = tuple(TextReading(source=s) for s in _sources(channel, live, run))
        except OF_THE_SOURCE as error:
            return Texts(problem=f"the subtitles cannot be read: {error.message}")
    return Texts(readings=tuple(_read(reading, live, run) for reading in readings))


def _sources(channel: Channel, live: Live, run: Run) -> tuple[TextSource, ...]:
    url = playlist_of(live, channel.channel_id, channel.span)
    top = read_playlist(live, url, run.clock(), run.check)
    return subtitles.sources(top, channel.prefix)


def _read(before: TextReading, live: Live, run: Run) -> TextReading:
    if before.playlist is not None and before.playlist.ended:
        return before
    try:
        return subtitles.updated(before, _playlist(before.source, live, run), run.clock())
    except OF_THE_SOURCE as error:
        return before.model_copy(update={"problem": error.message})


def _playlist(source: TextSource, live: Live, run: Run) -> MediaPlaylist:
    read = read_playlist(live, source.uri, run.clock(), run.check, source.variables)
    return checked_media(read)


def documents(pieces: Sequence[Piece], run: Run) -> dict[str, TextDocument]:
    """Every segment that arrived and is WebVTT, by its file's name."""
    found: dict[str, TextDocument] = {}
    cues = 0
    for name in subtitles.names(pieces):
        run.check()
        path = run.workspace / name
        if not path.is_file() or cues > subtitles.MAX_CUES:
            continue
        try:
            found[name] = webvtt.read(path.read_bytes())
        except (CorruptMedia, TooLarge):
            continue
        cues += len(found[name].cues)
    return found
