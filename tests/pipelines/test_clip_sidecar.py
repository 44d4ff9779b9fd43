"""A clip of which something is known has an XMP packet beside it; any other stands alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines import clip_sidecar
from pipelines.clip import OUTPUT, ClipFacts, CutFile
from schemas.connectors import Destination, Published
from schemas.cuts import CutReport
from schemas.metadata import Carried, Marker
from schemas.plans import Publish, WriteText
from tests.builders import START_MS, a_clip_command
from tests.xmp_reader import read_xmp

GOAL = Marker(view="Sport log", name="goal", start_ms=START_MS + 2040, end_ms=START_MS + 3040)
KNOWN = Carried(metadata={"title": "Channel", "publisher": "ORF"}, markers=(GOAL,))


def a_report(**changes: Any) -> CutReport:
    values: dict[str, Any] = {
        "start_ms": START_MS, "end_ms": START_MS + 10_000, "first_pts": 0, "last_pts": 1,
        "timebase": Fraction(1, 90_000), "frames": 250, "duration_ms": 10_000, "mode": "exact",
        "clock": "pdt", "reencoded_ms": 0, "copied_frames": 250, "encoded_frames": 0,
        "av_offset_ms": 0.0, "coverage": 1.0, "frame_rate": Fraction(25),
        "start_timecode": "10:00:00:00",
    }  # fmt: skip
    return CutReport(**values | changes)


def made(**changes: Any) -> ClipFacts:
    return ClipFacts(made=CutFile(report=a_report(**changes), sha256="ab" * 32, size=9))


def a_published(key: str) -> Published:
    return Published(destination="d", key=key, url="u", size=1, sha256="0" * 64)


def test_a_clip_of_which_nothing_is_known_stands_alone() -> None:
    command = a_clip_command()

    plan = clip_sidecar.publish_plan(command, ClipFacts())

    assert not clip_sidecar.is_wanted(command)
    assert plan.steps == (Publish(name=OUTPUT, to=command.destination),)


@pytest.mark.parametrize(
    ("key", "beside"),
    [
        ("clips/t/goal.mp4", "clips/t/goal.xmp"),
        ("v1.2/goal", "v1.2/goal.xmp"),
        ("goal.final.mp4", "goal.final.xmp"),
    ],
)
def test_the_packet_is_published_under_the_clips_name_before_it(key: str, beside: str) -> None:
    command = a_clip_command(carried=KNOWN, destination=Destination(key=key))

    write, first, last = clip_sidecar.publish_plan(command, made()).steps

    assert isinstance(write, WriteText)
    assert isinstance(first, Publish)
    assert isinstance(last, Publish)
    assert (first.name, first.to.key, first.to.content_type) == (
        write.name, beside, "application/rdf+xml",
    )  # fmt: skip
    assert (last.name, last.to) == (OUTPUT, command.destination)
    assert first.together
    assert last.together


def test_the_packet_tells_what_is_known_and_what_the_request_says_before_it(
    tmp_path: Path,
) -> None:
    command = a_clip_command(carried=KNOWN, metadata={"title": "Goal"})

    (write, *_) = clip_sidecar.publish_plan(command, made()).steps

    assert isinstance(write, WriteText)
    found = read_xmp(write.text, tmp_path)
    assert found["Xmp.dc.title"] == 'lang="x-default" Goal'
    assert found["Xmp.dc.publisher"] == "ORF"
    assert found["Xmp.dc.identifier"] == "ab" * 32
    assert found["Xmp.xmpDM.startTimecode/xmpDM:timeValue"] == "10:00:00:00"
    marker = "Xmp.xmpDM.Tracks[2]/xmpDM:markers[1]/xmpDM"
    assert (found[f"{marker}:startTime"], found[f"{marker}:duration"]) == ("51", "25")


def test_sound_alone_is_counted_in_milliseconds(tmp_path: Path) -> None:
    command = a_clip_command(carried=KNOWN)

    (write, *_) = clip_sidecar.publish_plan(command, made(frame_rate=None, frames=0)).steps

    assert isinstance(write, WriteText)
    found = read_xmp(write.text, tmp_path)
    assert found["Xmp.xmpDM.Tracks[2]/xmpDM:markers[1]/xmpDM:startTime"] == "2040"


def test_the_result_lists_the_packet_beside_the_clip() -> None:
    published = [a_published("goal.xmp"), a_published("goal.mp4")]

    answer = clip_sidecar.result(a_clip_command(), a_report(), published)

    assert answer.file.key == "goal.mp4"
    assert [one.key for one in answer.sidecars] == ["goal.xmp"]
    assert clip_sidecar.result(a_clip_command(), a_report(), published[1:]).sidecars == ()
