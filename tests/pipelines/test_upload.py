"""Where an upload may lie, what is believed of it, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import upload
from pipelines.upload import UploadFacts
from schemas.commands import CheckUpload
from schemas.connectors import Destination, Published
from schemas.errors import CorruptMedia, FieldInvalid, TooLarge
from schemas.media import MediaInfo, StreamInfo
from schemas.plans import AdmitUpload, TakeUpload
from schemas.uploads import TakenUpload

VALUES = {
    "fileName": "goal.mp4",
    "date": "2022-02-04",
    "time": "064406",
    "uploadId": "upl_1",
    "user": "usr_1",
    "destination": "Phones",
}
INTENT = {"type": "local", "key": "in/goal.mp4", "job_id": "upl_1", "size": 10}


def a_check(**changes: Any) -> CheckUpload:
    values: dict[str, Any] = {
        "tenant_id": "t1",
        "requested_by": "user:u1",
        "upload_id": "upl_1",
        "size": 10,
        "content_type": "video/mp4",
        "intent": INTENT,
        "destination": Destination(key="in/goal.mp4"),
    }
    return CheckUpload(**values | changes)


def taken(**changes: Any) -> TakenUpload:
    values: dict[str, Any] = {"name": "upload", "size": 10, "sha256": "a" * 64, "intent": INTENT}
    return TakenUpload(**values | changes)


def facts(container: str, *kinds: Any) -> UploadFacts:
    streams = tuple(StreamInfo(index=n, kind=kind, codec="x") for n, kind in enumerate(kinds))
    media = MediaInfo(container=container, size=10, duration_ms=1000, streams=streams)
    return UploadFacts(taken=taken(), container=container, media=media)


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{fileName}", "goal.mp4"),
        ("{date}/{user}/{uploadId}-{fileName}", "2022-02-04/usr_1/upl_1-goal.mp4"),
        ("raw/{destination}/{time}.mov", "raw/Phones/064406.mov"),
    ],
)
def test_a_template_makes_a_key(template: str, key: str) -> None:
    assert upload.checked_template(template) == template
    assert upload.key(template, VALUES) == key


@pytest.mark.parametrize(
    "template",
    ["", "/", "../{fileName}", "a//b", "{fileName", "{channel}/x.mp4", "a/./b", " a", "a/", "{}"],
)
def test_a_template_that_makes_no_safe_key_is_refused(template: str) -> None:
    with pytest.raises(FieldInvalid):
        upload.checked_template(template)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\DCIM\\100APPLE\\IMG_1.MOV", "IMG_1.MOV"),
        ("..", "_"),
        ("con.mp4", "_con.mp4"),
        ("a:b*c?.mp4", "a_b_c_.mp4"),
        ("gol\u202egpm.4pm", "golgpm.4pm"),
        (".cuttingroom-x.part", "cuttingroom-x.part"),
        ("/", "_"),
        ("e\u0301t\u00e9.mp4", "\u00e9t\u00e9.mp4"),
    ],
)
def test_a_clients_name_is_a_name_and_nothing_else(told: str, name: str) -> None:
    assert upload.file_name(told) == name


def test_a_long_name_keeps_its_ending() -> None:
    name = upload.file_name("\u00fc" * 250 + ".mp4")

    assert name.endswith("\u00fc.mp4")
    assert len(name.encode()) <= 160


def test_every_type_that_can_be_checked_is_a_type() -> None:
    assert {upload.media_type(name) for name in upload.KNOWN} == upload.KNOWN


def test_bytes_are_those_announced() -> None:
    upload.judge_bytes(a_check(sha256="a" * 64), taken())

    with pytest.raises(TooLarge):
        upload.judge_bytes(a_check(), taken(size=11))
    with pytest.raises(CorruptMedia):
        upload.judge_bytes(a_check(), taken(size=9))
    with pytest.raises(CorruptMedia) as refused:
        upload.judge_bytes(a_check(sha256="b" * 64), taken())
    assert refused.value.error_code == "hash_mismatch"


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ("mp4", "video/quicktime"),
        ("fmp4", "video/mp4"),
        ("m2ts", "video/mp2t"),
        ("webm", "audio/webm"),
        ("jpeg", "image/jpeg"),
    ],
)
def test_a_container_has_several_names(container: str, told: str) -> None:
    assert upload.judged_container(a_check(content_type=told), container) == container


@pytest.mark.parametrize("container", ["webm", "hls", "html", "ffconcat", "jpeg"])
def test_another_container_is_refused(container: str) -> None:
    with pytest.raises(CorruptMedia):
        upload.judged_container(a_check(), container)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("video/mp4", facts("mp4", "audio", "video")),
        ("audio/mp4", facts("mp4", "audio")),
        ("audio/mp4", facts("mp4", "audio", "video")),
        ("application/mxf", facts("mxf", "video")),
        ("image/jpeg", facts("jpeg", "video")),
    ],
    ids=["a film", "sound", "sound with a cover", "mxf", "a picture"],
)
def test_a_type_that_fits_the_streams_is_believed(told: str, found: UploadFacts) -> None:
    assert upload.true_type(a_check(content_type=told), found) == told


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("video/mp4", facts("mp4", "audio")),
        ("audio/mp4", facts("mp4", "video")),
        ("video/mp4", facts("jpeg", "video")),
    ],
    ids=["no picture", "no sound", "a still"],
)
def test_a_type_that_does_not_fit_is_refused(told: str, found: UploadFacts) -> None:
    with pytest.raises(CorruptMedia):
        upload.true_type(a_check(content_type=told), found)


def test_plans_carry_what_was_agreed_and_what_was_found() -> None:
    check, known = a_check(), facts("mp4", "video")

    (take,) = upload.take_plan(check, UploadFacts()).steps
    (admit,) = upload.admit_plan(check, known).steps

    assert isinstance(take, TakeUpload)
    assert (take.intent, take.size) == (INTENT, 10)
    assert isinstance(admit, AdmitUpload)
    assert (admit.to, admit.sha256) == (check.destination, "a" * 64)


def test_the_result_tells_what_lies_where() -> None:
    lying = Published(destination="file:///d", key="in/goal.mp4", url="u", size=10, sha256="a" * 64)

    told = upload.result(a_check(), facts("mp4", "video"), lying)
    still = upload.result(a_check(content_type="image/jpeg"), facts("jpeg", "video"), lying)

    assert told["uploadId"] == "upl_1"
    assert (told["key"], told["size"], told["type"]) == ("in/goal.mp4", 10, "video/mp4")
    assert (told["durationMs"], still["durationMs"]) == (1000, None)
