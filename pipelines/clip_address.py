"""Where a clip lies in the media store: derived from what it is, so that everybody finds it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from urllib.parse import quote

from schemas.file_id import ClipFileId
from schemas.times import EPOCH

_LONGEST_PLAIN = 120


def clip_key(tenant_id: str, fingerprint: str, clip: ClipFileId) -> str:
    """The key of the clip's file: derived from the request, so that a second run meets the first.

    The fingerprint stands for the connector: an equal one made later finds the same clips.
    """
    day = (EPOCH + timedelta(milliseconds=clip.range.start_ms)).strftime("%Y/%m/%d")
    span = f"{clip.range.start_ms:013d}-{clip.range.end_ms:013d}"
    owner = f"{_safe(tenant_id)}/{fingerprint[:16]}"
    return f"clips/{owner}/{_safe(clip.channel_id)}/{day}/{span}-{clip.clip_id}.mp4"


def _safe(text: str) -> str:
    """The text as one path segment that any file system and bucket takes, different for
    different texts."""
    plain = quote(text, safe="").replace("~", "%7E").replace("%", "~")
    # A leading dot would hide the folder, or leave it.
    plain = plain.replace(".", "~2E", 1) if plain.startswith(".") else plain
    if len(plain) <= _LONGEST_PLAIN:
        return plain
    return f"~{hashlib.sha256(text.encode()).hexdigest()}"
