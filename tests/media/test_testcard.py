"""The test card shows when it is, and beeps on the second."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

from media.testcard import (
    BEEP_HZ,
    SAMPLE_RATE_HZ,
    Card,
    CardEncoder,
    beep_second,
    canvas,
    clock_text,
    code_bits,
)
from tests.marks import code, read_fields
from tests.oracle import continuity_errors, inspect, sounds

SMALL = Card(width=192, height=112)
START_MS = 1_643_957_046_000


@pytest.fixture(scope="module")
def segments() -> list[bytes]:
    card = CardEncoder(SMALL, START_MS)
    made = [card.next_segment() for _ in range(3)]
    card.close()
    return made


@pytest.fixture(scope="module")
def recording(segments: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("card") / "card.ts"
    path.write_bytes(b"".join(segments))
    return path


def test_every_frame_is_there_once_in_order_and_at_its_time(recording: Path) -> None:
    seen = inspect(recording)

    assert seen.numbers == list(range(150))
    assert seen.clean
    times = [f.time for f in seen.frames if f.time is not None]
    assert times == [10 + Fraction(n, 25) for n in range(150)]


def test_each_segment_stands_alone(segments: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "second.ts"
    path.write_bytes(segments[1])

    seen = inspect(path)

    assert seen.numbers == list(range(50, 100))
    assert seen.frames[0].key
    assert seen.clean


def test_continuity_counters_run_on_across_segments(segments: list[bytes]) -> None:
    assert continuity_errors(b"".join(segments)) == 0
    assert continuity_errors(segments[0] + segments[2]) > 0


def test_the_beep_begins_on_the_second(recording: Path) -> None:
    heard = sounds(recording)[0]
    beep = np.frombuffer(beep_second(), np.float32)[: SAMPLE_RATE_HZ // 10]
    second = round((11 - heard.first_s) * heard.rate)
    around = heard.samples[second - 2400 : second + len(beep) + 2400]

    place = int(np.argmax(np.correlate(around, beep, "valid"))) - 2400

    assert abs(place) <= 2
    assert BEEP_HZ * len(beep) // SAMPLE_RATE_HZ == 100
    # Half a second later there is silence.
    assert np.abs(heard.samples[second + 24_000 : second + 40_000]).max() < 0.01


def test_the_code_is_the_one_the_tests_read() -> None:
    for number in (0, 1, 137, (1 << 18) - 1):
        assert tuple(code(number, 0)) == code_bits(number)
    assert code_bits(1 << 18) == code_bits(0)


@pytest.mark.parametrize("size", [(192, 112), (640, 352), (1280, 720)])
def test_the_number_can_be_read_at_every_size(size: tuple[int, int]) -> None:
    card = Card(width=size[0], height=size[1])
    luma = np.frombuffer(canvas(card).luma(4711, START_MS), np.uint8).reshape(size[::-1])

    assert read_fields(luma) == ((4711, 0), (4711, 0))


def test_the_clock_in_the_picture_changes_with_each_frame() -> None:
    drawn = canvas(SMALL)
    band = slice(2 * 112 // 7, 5 * 112 // 7)

    one, other = (
        np.frombuffer(drawn.luma(7, START_MS + ms), np.uint8).reshape(112, 192)[band]
        for ms in (0, 40)
    )

    assert clock_text(START_MS + 40) == "06:44:06.040 UTC"
    assert (one != other).any()


def test_a_segment_must_hold_whole_frames_of_whole_milliseconds() -> None:
    with pytest.raises(ValidationError, match="whole number of ms"):
        Card(fps=30)
    with pytest.raises(ValidationError, match="whole number of ms"):
        Card(segment_ms=1990)
    with pytest.raises(ValueError, match="whole second"):
        CardEncoder(SMALL, START_MS + 1)


def test_sound_never_falls_behind_the_pictures() -> None:
    card = CardEncoder(SMALL, START_MS)

    starts = []
    for _ in range(20):
        with av.open(io.BytesIO(card.next_segment())) as container:
            starts.append(
                {p.stream.type: p.pts for p in reversed(list(container.demux())) if p.size}
            )

    assert all(abs(s["audio"] - s["video"]) < 9000 for s in starts)
