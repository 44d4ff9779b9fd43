"""What a channel's playlists have listed so far, kept beside what was fetched for the next attempt.

Whoever begins again finds the media in the workspace; without this they could not be placed once
the DVR window has rolled past them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from schemas.base import Value
from schemas.media import MediaPlaylist

NAME = "readings.json"
MOST_BYTES = 64 * 2**20
# A window holds three target durations at least, so what it lists joins what was kept.
EVERY_TARGETS = 2
# The folder is also that of jailed children: what they may have put there is not followed.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class History(Value):
    """Playlists by their addresses."""

    playlists: dict[str, MediaPlaylist]


def keep(path: Path, playlists: Mapping[str, MediaPlaylist]) -> None:
    """Put them there, whole or not at all; a workspace without room goes without."""
    part = path.with_name(f"{path.name}.part")
    text = History(playlists=dict(playlists)).model_dump_json().encode()
    with suppress(OSError):
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, _WRITE, 0o600), "wb") as kept:
            kept.write(text)
        part.replace(path)


def known(path: Path) -> Mapping[str, MediaPlaylist]:
    """What an earlier attempt kept there; nothing where that cannot be read."""
    try:
        with os.fdopen(os.open(path, _READ), "rb") as kept:
            text = kept.read(MOST_BYTES)
        return History.model_validate_json(text).playlists
    except (OSError, ValidationError):
        return {}
