"""WebVTT: times as it writes them, and storyboards whose cues name a part of a picture."""

from __future__ import annotations

from collections.abc import Callable

from schemas.thumbnails import Storyboard


def timestamp(ms: int) -> str:
    """A time as WebVTT writes it.

    >>> timestamp(3_723_004), timestamp(0)
    ('01:02:03.004', '00:00:00.000')
    """
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{rest:03d}"


def storyboard(board: Storyboard, address: Callable[[int], str]) -> str:
    """The cues of a storyboard; `address` answers where a sheet lies, by its number."""
    blocks = [
        f"{timestamp(cue.start_ms)} --> {timestamp(cue.end_ms)}\n"
        f"{address(cue.sheet)}#xywh={cue.x},{cue.y},{cue.w},{cue.h}\n"
        for cue in board.cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])
