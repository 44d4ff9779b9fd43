"""What the jailed child does for thumbnails: take pictures by their time, lay them on sheets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from PIL import Image
from pydantic import JsonValue

from media import sniff
from media.sprite_image import still
from media.sprite_search import Search
from schemas.errors import CorruptMedia
from schemas.plans import TakePictures
from schemas.thumbnails import Pictures, PictureSource, Shot, Wanted

Report = Callable[[Mapping[str, JsonValue]], None]
THREADS = 2
_MAX_PIXELS = 8192 * 4320
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Found:
    wanted: Wanted
    at_us: int
    key: bool
    image: Image.Image


def take(argument: JsonValue, report: Report) -> Pictures:
    """The pictures of a TakePictures step, written on sheets in the working directory."""
    step = TakePictures.model_validate(argument, strict=False)
    found = _gathered(step, report)
    if not found:
        raise CorruptMedia("none of the wanted pictures could be decoded")
    names = tuple(_sheets(found, step))
    shots = tuple(Shot(number=f.wanted.number, at_us=f.at_us, key=f.key) for f in found)
    return Pictures(sheets=names, shots=shots)


def _gathered(step: TakePictures, report: Report) -> list[_Found]:
    """Every picture found, in order of time; of a keyframe that is nearest twice, only one."""
    total = sum(len(source.wanted) for source in step.sources)
    found: list[_Found] = []
    lock = threading.Lock()

    def keep(wanted: Wanted, at_us: int, key: bool, frame: Any) -> None:
        one = _Found(wanted, at_us, key, still(frame, (step.grid.width, step.grid.height)))
        with lock:
            found.append(one)
            report({"done": len(found), "total": total})

    def look(source: PictureSource) -> None:
        opened = partial(_opened, _path(source.names))
        with closing(Search(opened, keep, whole=not source.joined)) as search:
            (search.exactly if step.seek == "exact" else search.keyframes)(source.wanted)

    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        list(pool.map(look, _shares(step.sources)))
    found.sort(key=lambda one: one.wanted.number)
    if step.seek == "exact":
        return found
    return list(
        {
            (one.wanted.number if step.sources[0].joined else 0, one.at_us): one
            for one in reversed(found)
        }.values()
    )[::-1]


def _shares(sources: Sequence[PictureSource]) -> Iterator[PictureSource]:
    """The work in pieces for several threads: a long list of one file is split in order."""
    for source in sources:
        share = -(-len(source.wanted) // THREADS)
        if source.joined or share < THREADS:
            yield source
            continue
        for at in range(0, len(source.wanted), share):
            yield source.model_copy(update={"wanted": source.wanted[at : at + share]})


def _sheets(found: Sequence[_Found], step: TakePictures) -> Iterator[str]:
    grid = step.grid
    for sheet in range(grid.sheets(len(found))):
        part = found[sheet * grid.cells : (sheet + 1) * grid.cells]
        canvas = Image.new("RGB", grid.size(len(part)))
        for number, one in enumerate(part):
            _, left, top = grid.place(number)
            canvas.paste(one.image, (left, top))
        yield _saved(canvas, step, sheet)


def _saved(canvas: Image.Image, step: TakePictures, sheet: int) -> str:
    name = f"{step.sheets.format(number=sheet)}.{step.format}"
    if step.format == "webp":
        canvas.save(name, "WEBP", quality=step.quality, method=2)
    else:
        canvas.save(name, "JPEG", quality=step.quality)
    return name


def _path(names: Sequence[str]) -> Path:
    """The file, or several one after the other as the one stream they are parts of."""
    if len(names) == 1:
        return Path(names[0])
    path = Path(f"joined-{names[-1]}")
    with path.open("wb") as out:
        for name in names:
            with Path(name).open("rb") as part:
                while chunk := part.read(_CHUNK):
                    out.write(chunk)
    return path


def _opened(path: Path) -> InputContainer:
    with path.open("rb") as file:
        container = sniff.sniff(file.read(sniff.HEAD_BYTES))
    demuxer = sniff.demuxer(container) if container else None
    if demuxer is None:
        raise CorruptMedia("it begins like no media we know")
    options = {"protocol_whitelist": "file", "max_pixels": str(_MAX_PIXELS)}
    try:
        return av.open(
            f"file:{path.absolute()}",
            "r",
            format=demuxer,
            options=options,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise CorruptMedia(f"not readable as {container}: {type(error).__name__}") from error
