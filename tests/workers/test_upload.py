"""An upload is let in when it is what was announced; anything else is removed, and says why."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from connectors.local import Folder
from tests.uploading import Desk, a_desk, a_recording


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_recording(tmp_path_factory.mktemp("recording"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with a_desk(tmp_path) as made:
        yield made


def a_picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, kind)
    return out.getvalue()


def test_what_is_as_announced_is_let_in(desk: Desk, recording: bytes) -> None:
    sha256 = hashlib.sha256(recording).hexdigest()

    job = desk.check(desk.sent(recording), sha256=sha256, allowed_types=("video/*",))

    assert job.state == "succeeded", job.error
    result = job.result or {}
    assert desk.lying() == ["in/goal.mp4"]
    assert (desk.media / "in/goal.mp4").read_bytes() == recording
    assert (result["key"], result["size"]) == ("in/goal.mp4", len(recording))
    assert (result["sha256"], result["type"]) == (sha256, "video/mp4")
    assert 1000 <= result["durationMs"] < 1030


def test_nothing_lies_there_by_its_name_before_it_was_checked(desk: Desk, recording: bytes) -> None:
    desk.sent(recording)

    assert desk.lying() == ["in/.cuttingroom-upl_1.part"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sha256": "0" * 64}, "hash_mismatch"),
        ({"content_type": "video/webm"}, "media_invalid"),
        ({"content_type": "image/jpeg"}, "media_invalid"),
        ({"content_type": "audio/mp4", "allowed_types": ("image/*",)}, "media_invalid"),
    ],
    ids=["another hash", "another container", "a picture", "a type that is not allowed"],
)
def test_what_is_not_as_announced_is_removed(
    desk: Desk, recording: bytes, changes: dict[str, object], code: str
) -> None:
    job = desk.check(desk.sent(recording), **changes)

    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == code
    assert desk.lying() == []


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\nfile:///etc/passwd\n" * 20,
        b"<html><script>1</script></html>" * 20,
        b"\0" * 4096,
        b"\0\0\0\x18ftypisom" + b"\0" * 4096,
    ],
    ids=["a playlist", "a page", "zeros", "only a head"],
)
def test_what_is_no_media_is_removed(desk: Desk, data: bytes) -> None:
    job = desk.check(desk.sent(data))

    assert job.error is not None
    assert job.error.code == "media_invalid"
    assert desk.lying() == []


def test_a_recording_cut_off_in_the_middle_is_refused(desk: Desk, recording: bytes) -> None:
    job = desk.check(desk.sent(recording[: len(recording) // 2]))

    assert job.error is not None
    assert job.error.code == "media_invalid"
    assert desk.lying() == []


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "image/jpeg"), ("PNG", "image/png")])
def test_pictures_are_let_in(desk: Desk, kind: str, name: str) -> None:
    data = a_picture(kind)

    job = desk.check(desk.sent(data, key="in/a.pic"), content_type=name)

    assert job.state == "succeeded", job.error
    assert (job.result or {})["type"] == name
    assert (job.result or {})["durationMs"] is None


def test_a_name_somebody_else_took_meanwhile_is_a_conflict(desk: Desk, recording: bytes) -> None:
    intent = desk.sent(recording)
    (desk.media / "in/goal.mp4").write_bytes(b"another's")

    job = desk.check(intent)

    assert job.error is not None
    assert job.error.code == "destination_conflict"
    assert (desk.media / "in/goal.mp4").read_bytes() == b"another's"
    assert desk.lying() == ["in/goal.mp4"]


def test_a_name_taken_before_is_made_another(desk: Desk, recording: bytes) -> None:
    (desk.media / "in").mkdir()
    (desk.media / "in/goal.mp4").write_bytes(b"another's")

    job = desk.check(desk.sent(recording))

    assert (job.result or {})["key"] == "in/goal.upl_1.mp4"


def test_a_second_attempt_finds_what_the_first_let_in(desk: Desk, recording: bytes) -> None:
    intent = desk.sent(recording)
    sha256 = hashlib.sha256(recording).hexdigest()
    Folder(desk.media).admit(intent, sha256, lambda: None)

    job = desk.check(intent)

    assert job.state == "succeeded", job.error
    assert desk.lying() == ["in/goal.mp4"]


def test_an_upload_that_is_gone_fails(desk: Desk, recording: bytes) -> None:
    intent = desk.sent(recording)
    Folder(desk.media).abandon(intent)

    job = desk.check(intent)

    assert job.error is not None
    assert job.error.code == "source_not_found"
