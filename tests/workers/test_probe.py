"""A probe reads little of a long file, and tells what it holds or why that cannot be said."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cli.inprocess import carried_out
from connectors.local import Folder
from connectors.sealing import new_key
from pipelines import probe as pipeline
from schemas.commands import ProbeFile
from schemas.connectors import ConnectorRef
from schemas.jobs import Job
from schemas.probes import Probed
from schemas.settings import Settings
from tests.media_builder import StreamSpec, build, segment, write_mp4
from workers import handlers
from workers.local_ledger import LocalLedger
from workers.probe import WORK
from workers.runtime import Runtime

MIB = 1024 * 1024
SPEC = StreamSpec(seconds=4, timecode="10:00:00:00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "media").mkdir()
    return tmp_path / "files"


def carry_out(folder: Path, name: str, stored_key: str | None = None) -> Job:
    """The finished job of looking at a file of the folder."""
    work = folder.parent / "work"
    settings = Settings(
        data_dir=str(folder.parent),
        work_dir=str(work),
        local_folders=(str(folder),),
        secret_keys=new_key(),
    )
    made, world = handlers.build(settings)
    world.media.start()
    runtime = Runtime(
        ledger=LocalLedger(),
        works={"probe": WORK},
        handlers=made,
        world=replace(world, media_store=Folder(folder.parent / "media")),
        work_dir=work,
        owner="test",
    )
    ref = ConnectorRef(id="c", tenant_id="t", type="local", config={"folder": str(folder)})
    command = ProbeFile(
        tenant_id="t", requested_by="u", connector=ref, file_id=name, stored_key=stored_key
    )
    return carried_out(command, runtime, Console(file=StringIO()), 1)


def looked_at(folder: Path, name: str, stored_key: str | None = None) -> Probed:
    """What the job answered."""
    job = carry_out(folder, name, stored_key)
    assert job.error is None
    return Probed.model_validate(job.result)


def boxes(path: Path) -> dict[str, tuple[int, int]]:
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data) and (box := pipeline.box_at(data[at : at + 16], at, len(data))):
        found[box.kind] = (box.offset, box.length)
        at = box.end
    return found


def test_all_of_a_small_file_is_told(folder: Path) -> None:
    write_mp4(build(SPEC), folder / "a.mp4")

    found = looked_at(folder, "a.mp4")

    info = found.info
    assert info is not None
    assert (info.container, info.size) == ("mp4", (folder / "a.mp4").stat().st_size)
    assert info.duration_ms == pytest.approx(4000, abs=60)
    video = next(stream for stream in info.streams if stream.kind == "video")
    assert (video.codec, video.frame_rate) == ("h264", Fraction(25))
    assert found.read_bytes == info.size
    assert found.validators.size == info.size


def test_of_a_long_file_little_is_read_wherever_its_index_stands(folder: Path) -> None:
    write_mp4(build(SPEC), folder / "short.mp4")
    plain = (folder / "short.mp4").read_bytes()
    offset, length = boxes(folder / "short.mp4")["moov"]
    index = plain[offset : offset + length]
    gap = struct.pack(">I4s", 48 * MIB, b"free")
    with (folder / "long.mp4").open("wb") as out:
        # The old index is kept as a box nobody reads, so that no media moves.
        out.write(plain[: offset + 4] + b"free" + plain[offset + 8 :])
        for part in (gap, index, gap):
            out.seek(0, 2)
            out.write(part)
            if part is gap:
                out.truncate(out.tell() + 48 * MIB - len(gap))
    size = (folder / "long.mp4").stat().st_size
    assert size > 96 * MIB

    found = looked_at(folder, "long.mp4")

    info = found.info
    assert info is not None
    assert info.size == size
    assert info.duration_ms == pytest.approx(4000, abs=60)
    assert {stream.kind for stream in info.streams} >= {"video", "audio"}
    assert found.read_bytes == 12 * MIB + length


def test_a_long_transport_stream_is_as_long_as_its_last_timestamp_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = segment(build(SPEC))
    segments = [asset.files[name] for name in sorted(asset.files) if name.endswith(".ts")]
    (folder / "a.ts").write_bytes(b"".join(segments))
    size = (folder / "a.ts").stat().st_size
    monkeypatch.setattr(pipeline, "WHOLE_BYTES", size // 2)
    monkeypatch.setattr(pipeline, "HEAD_BYTES", size // 3 // 188 * 188)
    monkeypatch.setattr(pipeline, "TAIL_BYTES", size // 4 // 188 * 188)

    found = looked_at(folder, "a.ts")

    assert found.info is not None
    assert found.info.duration_ms == pytest.approx(4000, abs=150)
    assert found.read_bytes < size


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "media_invalid"), (b"words " * 100, "media_invalid"), (b"#EXTM3U\n", "media_invalid")],
)
def test_what_is_no_media_is_an_answer_and_no_failure(
    folder: Path, content: bytes, code: str
) -> None:
    (folder / "a.txt").write_bytes(content)

    found = looked_at(folder, "a.txt")

    assert found.media is None
    assert found.failure is not None
    assert found.failure.code == code


def test_a_clip_is_looked_at_in_the_media_store(folder: Path) -> None:
    write_mp4(build(SPEC), folder.parent / "media" / "clip.mp4")

    found = looked_at(folder, "ch1/2022/02/04/range-1-2-clip-x", "clip.mp4")

    assert found.info is not None
    assert found.info.container == "mp4"


def test_a_file_that_is_not_there_fails(folder: Path) -> None:
    job = carry_out(folder, "none.mp4")

    assert job.error is not None
    assert job.error.code == "source_not_found"
