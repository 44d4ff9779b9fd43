"""The sound of one output track, frame by frame in order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from media.cut.reading import Segments
from media.cut.silence import silent_frame
from media.cut.source import Sounds, TsSounds
from media.cut.ts import unwrapped
from schemas.cuts import CopiedSound, SoundTrack
from schemas.errors import CorruptMedia

# Frames, each with the sample of the output it begins at.
Placed = Iterator[tuple[int, bytes]]


class SoundFeed:
    """Hands out frames up to wherever the pictures stand."""

    def __init__(self, frames: Placed) -> None:
        self._frames = frames
        self._waiting: tuple[int, bytes] | None = None

    def until(self, sample: int | None) -> list[bytes]:
        """The next frames that begin before a sample; all that are left for None."""
        found: list[bytes] = []
        while True:
            if self._waiting is None:
                self._waiting = next(self._frames, None)
            if self._waiting is None or (sample is not None and self._waiting[0] >= sample):
                return found
            found.append(self._waiting[1])
            self._waiting = None


def copied_frames(track: SoundTrack, segments: Segments) -> Placed:
    """The source's own frames, and coded silence where it has none."""
    silence = b""
    for piece in track.pieces:
        if isinstance(piece, CopiedSound):
            yield from source_frames(track, piece, segments)
            continue
        silence = silence or silent_frame(track)
        for number in range(piece.frames):
            yield piece.at_sample + number * track.frame_samples, silence


def source_frames(track: SoundTrack, piece: CopiedSound, segments: Segments) -> Placed:
    """The source's own frames of one piece."""
    for number, frame in enumerate(_copied(track, piece, segments)):
        yield piece.at_sample + number * track.frame_samples, frame


def _copied(track: SoundTrack, piece: CopiedSound, segments: Segments) -> Iterator[bytes]:
    left = piece.frames
    for number in range(piece.segment, segments.count(piece.run)):
        heard = segments.at(piece.run, number).sounds.get(piece.stream_id)
        if heard is None:
            continue
        start = 0 if left < piece.frames else _start(track, heard, piece)
        for index in range(start, min(len(heard.pts), start + left)):
            yield heard.data(index)
            left -= 1
        if not left:
            return
    raise CorruptMedia(f"the sound ends {left} frames before its time")


def _start(track: SoundTrack, heard: Sounds, piece: CopiedSound) -> int:
    """The first frame of a segment that belongs to a piece."""
    rate = Fraction(heard.timescale, track.sample_rate_hz)
    first = piece.first_pts - int(track.frame_samples * rate / 2)
    wraps = isinstance(heard, TsSounds)
    for index, pts in enumerate(heard.pts):
        if (unwrapped(pts, first) if wraps else pts) >= first:
            return index
    return len(heard.pts)
