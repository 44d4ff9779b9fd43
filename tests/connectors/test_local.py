"""The local connector: nothing outside the listed folder, whatever it is called."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.base import Artifact, Query
from connectors.local import Auth, Config, Folder, connect
from connectors.publishing import artifact_of, publish_once
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DestinationRejected,
    DestinationUnavailable,
    DiskFull,
    FieldInvalid,
    SourceNotFound,
)
from schemas.settings import Settings
from tests.connectors.peer import FILES, Peer, env_for


@contextmanager
def _folder_peer(tmp_path: Path) -> Iterator[Peer]:
    root = tmp_path / "listed"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    yield Peer(config={"folder": str(root)}, settings=Settings(local_folders=(str(root),)))


PEERS = {"a folder": _folder_peer}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "in.txt").write_text("inside")
    (tmp_path / "out.txt").write_text("outside")
    (root / "link.txt").symlink_to(tmp_path / "out.txt")
    (root / "inner.txt").symlink_to("sub/in.txt")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return Folder(root)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../out.txt",
        "sub/../../out.txt",
        "sub/../in.txt",
        "sub/./in.txt",
        "./sub/in.txt",
        "sub//in.txt",
        "sub/",
        "sub/in.txt/",
        "sub/in.txt/x",
        "link.txt",
        "inner.txt",
        "up/out.txt",
        "up/root/sub/in.txt",
        "loop",
        "pipe",
        "sub",
        "sub\\..\\..\\out.txt",
        "sub/in.txt\0.mp4",
        "sub/in.txt\n",
        "x" * 300,
        "a/" * 600 + "b",
        ".cuttingroom-j1-0.part",
        "none.txt",
        "\ud800",
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, folder: Folder) -> None:
    for read in (lambda: folder.stat(name), lambda: folder.read_range(name, 0, 10)):
        with pytest.raises((FieldInvalid, SourceNotFound)):
            read()


@pytest.mark.parametrize("name", ["../out2.txt", "up/out2.txt", "/out2.txt", "link.txt", "sub"])
def test_nothing_is_published_outside_or_over_something(
    name: str, folder: Folder, tmp_path: Path
) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    artifact = artifact_of(source, key=name, job_id="j1")

    with pytest.raises((FieldInvalid, DestinationRejected)):
        publish_once(
            folder, artifact, earlier=None, remember=lambda _: None, check_fence=lambda: None
        )

    assert (tmp_path / "out.txt").read_text() == "outside"
    assert not (tmp_path / "out2.txt").exists()
    assert not list(tmp_path.rglob(".cuttingroom-*"))


def test_devices_are_not_files() -> None:
    with pytest.raises(SourceNotFound):
        Folder(Path("/dev")).stat("zero")


def test_links_and_devices_are_not_listed(folder: Folder) -> None:
    page = folder.query(Query(text=""))

    assert [entry.file_id for entry in page.items] == ["sub/in.txt", "sub"]


def test_a_link_swapped_in_meanwhile_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    root, ended = tmp_path / "root", threading.Event()
    (tmp_path / "in.txt").write_text("outside")

    def swap() -> None:
        while not ended.is_set():
            (root / "sub").rename(root / "aside")
            (root / "sub").symlink_to(tmp_path)
            (root / "sub").unlink()
            (root / "aside").rename(root / "sub")

    swapping = threading.Thread(target=swap)
    swapping.start()
    read = set()
    try:
        for _ in range(2000):
            try:
                read.add(folder.read_range("sub/in.txt", 0, 10))
            except SourceNotFound:
                read.add(b"inside")
    finally:
        ended.set()
        swapping.join()

    assert read == {b"inside"}


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("{root}/sub/..", FieldInvalid),
        ("{root}/../other", FieldInvalid),
        ("relative", FieldInvalid),
        ("{root}other", AccessDenied),
        ("/", AccessDenied),
        ("/etc", AccessDenied),
    ],
)
def test_only_listed_folders_are_opened(
    wanted: str, error: type[CuttingRoomError], tmp_path: Path
) -> None:
    env = env_for(Settings(local_folders=(str(tmp_path),)))

    with pytest.raises(error):
        connect(Config(folder=wanted.format(root=tmp_path)), Auth(), env)


def test_a_folder_below_a_listed_one_is_not_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to("/etc")
    env = env_for(Settings(local_folders=(str(tmp_path),)))

    with pytest.raises(SourceNotFound):
        connect(Config(folder=f"{tmp_path}/away"), Auth(), env).stat("passwd")


def test_a_file_system_without_links_publishes_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "to").mkdir()
    folder, source = Folder(tmp_path / "to"), tmp_path / "made.mp4"
    results = []
    for job_id in ("j1", "j2"):
        source.write_bytes(job_id.encode())
        artifact = artifact_of(source, key="x.mp4", job_id=job_id)
        try:
            publish_once(
                folder, artifact, earlier=None, remember=lambda _: None, check_fence=lambda: None
            )
            results.append("published")
        except DestinationRejected as error:
            results.append(error.error_code)

    assert results == ["published", "destination_conflict"]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x.mp4"]
    assert (tmp_path / "to" / "x.mp4").read_bytes() == b"j1"


def a_movable(source: Path) -> Artifact:
    return artifact_of(source, key="out/a.mp4", job_id="j1", movable=True)


def test_a_file_nobody_needs_any_more_is_moved_not_copied(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    made = source.stat().st_ino
    moved: list[int] = []

    published = publish_once(
        folder,
        a_movable(source),
        earlier=None,
        remember=lambda _: None,
        check_fence=lambda: None,
        on_bytes=moved.append,
    )

    found = tmp_path / "root" / "out" / "a.mp4"
    assert found.stat().st_ino == made
    assert found.read_bytes() == b"made"
    assert stat.S_IMODE(found.stat().st_mode) == 0o644
    assert (published.size, sum(moved), source.exists()) == (4, 4, False)


def test_a_moved_file_that_changed_on_the_way_is_not_published(
    folder: Folder, tmp_path: Path
) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    artifact = a_movable(source)
    intent = folder.put(folder.begin(artifact), artifact)
    (tmp_path / "root" / "out" / intent["temp"]).write_bytes(b"mode")

    with pytest.raises(DestinationUnavailable):
        folder.finish(intent, lambda: None)

    assert not (tmp_path / "root" / "out" / "a.mp4").exists()


def test_what_cannot_be_moved_is_copied(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_file_system(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    monkeypatch.setattr(os, "rename", other_file_system)

    publish_once(
        folder,
        a_movable(source),
        earlier=None,
        remember=lambda _: None,
        check_fence=lambda: None,
    )

    assert (tmp_path / "root" / "out" / "a.mp4").read_bytes() == b"made"
    assert source.exists()


def test_a_file_that_could_not_be_written_whole_is_not_left_behind(
    folder: Folder, tmp_path: Path
) -> None:
    source = tmp_path / "made.mp4"
    source.write_bytes(b"made")
    artifact = artifact_of(source, key="out/a.mp4", job_id="job_1")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull):
        folder.put(folder.begin(artifact), artifact, on_bytes=full)

    assert list((tmp_path / "root" / "out").iterdir()) == []
