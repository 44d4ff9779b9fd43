"""WebVTT as origins send it, and as it is written anew."""

from __future__ import annotations

import pytest

from pipelines import webvtt
from pipelines.webvtt import Cue, TextDocument
from schemas.errors import CorruptMedia, TooLarge

WHOLE = """WEBVTT - with a title
X-TIMESTAMP-MAP=LOCAL:00:00:01.000,MPEGTS:900000

STYLE
::cue { color: lime }

REGION
id:fred
width:40%

NOTE nothing to see
here

first
00:01.000 --> 00:02.500 region:fred align:left
<v Ann>Hello
there

01:00:00.000 --> 01:00:01.000
Later
"""


def test_a_document_is_read_whole() -> None:
    found = webvtt.read(WHOLE.encode())

    assert (found.local_ms, found.mpegts) == (1000, 900_000)
    assert found.blocks == ("STYLE\n::cue { color: lime }", "REGION\nid:fred\nwidth:40%")
    assert found.cues == (
        Cue(
            start_ms=1000,
            end_ms=2500,
            text="<v Ann>Hello\nthere",
            settings="region:fred align:left",
            id="first",
        ),
        Cue(start_ms=3_600_000, end_ms=3_601_000, text="Later"),
    )


@pytest.mark.parametrize(
    ("spelled", "cues"),
    [
        ("\ufeffWEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\na", 1),
        ("WEBVTT\r\r00:01.000 --> 00:02.000\ra\r", 1),
        ("WEBVTT\n\n00:02.000 --> 00:01.000\nends before it begins", 0),
        ("WEBVTT\n\n00:01 --> 00:02\nno fractions", 0),
        ("WEBVTT\n\n00:61.000 --> 00:62.000\nno such second", 0),
        ("WEBVTT\n\nname\nname again\n00:01.000 --> 00:02.000\ntoo late", 0),
        ("WEBVTT\n\n00:01.000 --> 00:02.000", 1),
        ("WEBVTT", 0),
    ],
)
def test_what_makes_no_sense_is_passed_over(spelled: str, cues: int) -> None:
    assert len(webvtt.read(spelled.encode()).cues) == cues


@pytest.mark.parametrize("body", [b"", b"WEBVTTX", b"1\n00:00:01,000", b"\x47@\0"])
def test_what_is_no_webvtt_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptMedia):
        webvtt.read(body)


def test_endless_cues_are_refused() -> None:
    many = "WEBVTT\n\n" + "00:01.000 --> 00:02.000\nx\n\n" * (webvtt.MAX_CUES + 1)

    with pytest.raises(TooLarge):
        webvtt.read(many.encode())


def test_what_is_written_reads_back_as_it_was() -> None:
    found = webvtt.read(WHOLE.encode())

    again = webvtt.read(webvtt.written(found).encode())

    assert again == TextDocument(cues=found.cues, blocks=found.blocks)


def test_times_inside_a_cue_move_with_it_and_go_where_they_are_outside() -> None:
    text = "<00:00:04.000>a <00:05.250>b <00:00:09.000>c <i>d</i>"

    assert webvtt.retimed(text, -5000, 0, 2000) == "a <00:00:00.250>b c <i>d</i>"
