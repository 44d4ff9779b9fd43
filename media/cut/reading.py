"""Held segments read once and in order, for pictures and sounds alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from media.cut.source import EVERYTHING, Mp4Pictures, Opener, OpenSegment, TsPictures, Wants
from media.cut.ts import unwrapped
from schemas.cuts import PacketAt, RunFiles
from schemas.errors import CorruptMedia

KEEP = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A coded picture and the PTS it bears in its run."""

    pts: int
    source: TsPictures | Mp4Pictures
    index: int

    def nals(self) -> tuple[bytes, ...]:
        """Its NAL units."""
        return self.source.nals(self.index)


class Segments:
    """The segments of a plan's runs; a few of the latest stay open."""

    def __init__(
        self, folder: Path, runs: tuple[RunFiles, ...], wants: Wants = EVERYTHING, keep: int = KEEP
    ) -> None:
        self._folder = folder
        self._runs = runs
        self._wants = wants
        self._keep = keep
        self._open: OrderedDict[tuple[int, int], OpenSegment] = OrderedDict()
        self._openers: dict[int, tuple[int, Opener]] = {}

    def at(self, run: int, number: int) -> OpenSegment:
        """One segment of a run."""
        found = self._open.get((run, number))
        if found is None:
            found = self._opened(run, number)
            self._open[run, number] = found
            while len(self._open) > self._keep:
                self._open.popitem(last=False)
        self._open.move_to_end((run, number))
        return found

    def count(self, run: int) -> int:
        """How many segments a run has."""
        return len(self._runs[run].files)

    def _opened(self, run: int, number: int) -> OpenSegment:
        upcoming, opener = self._openers.get(run, (-1, None))
        if opener is None or upcoming != number:
            opener = Opener(self._folder, self._wants)
        file = self._runs[run].files[number]
        found = opener.open(file.name, file.init_name)
        self._openers[run] = number + 1, opener
        return found

    def pictures(self, run: int, first: PacketAt, stop: PacketAt) -> Iterator[Picture]:
        """The pictures of a run from `first` up to, without, `stop`, in decode order."""
        files = self._runs[run].files
        for number in range(first.segment, min(stop.segment + 1, len(files))):
            begin = first.packet if number == first.segment else 0
            end = stop.packet if number == stop.segment else files[number].pictures
            if end <= begin:
                continue
            yield from self._pictures(run, number, begin, end)

    def _pictures(self, run: int, number: int, begin: int, end: int) -> Iterator[Picture]:
        files = self._runs[run].files
        source = self.at(run, number).pictures
        if source is None or len(source.pts) < end:
            raise CorruptMedia("a segment holds fewer pictures than it was seen to hold")
        goes_on = number + 1 < len(files) and files[number + 1].continues
        if isinstance(source, TsPictures) and goes_on:
            source.tail = self.at(run, number + 1).lead
        near = files[number].first_pts
        wraps = isinstance(source, TsPictures)
        for index in range(begin, end):
            pts = source.pts[index]
            yield Picture(
                unwrapped(pts, near) if wraps and near is not None else pts, source, index
            )
