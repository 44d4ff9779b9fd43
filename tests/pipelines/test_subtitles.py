"""Which subtitle segments are needed, how long a lagging playlist is waited for, and the clocks."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipelines import hls, subtitles
from pipelines.clock import WallClock
from pipelines.spans import Shown
from pipelines.subtitles import Piece, TextReading, Texts, TextSource
from pipelines.webvtt import Cue, TextDocument
from schemas.media import MediaPlaylist, SubtitleRendition
from schemas.times import TimeRange

S = 1_000_000
START_MS = 1_643_957_046_000
SPAN = TimeRange(start_ms=START_MS + 4000, end_ms=START_MS + 8000)


def playlist(
    *, segments: int = 5, dated: bool = True, ended: bool = True, key: str = ""
) -> MediaPlaylist:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2"]
    lines += ["#EXT-X-PROGRAM-DATE-TIME:2022-02-04T06:44:06Z"] if dated else []
    lines += [key] if key else []
    for number in range(segments):
        lines += ["#EXTINF:2,", f"{number}.vtt"]
    text = "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else [])])
    found = hls.parse(text, "https://o.test/en.m3u8", fetched_at_us=(START_MS + 10_000) * 1000)
    assert isinstance(found, MediaPlaylist)
    return found


def texts(listed: MediaPlaylist, *, moved_ms: int = 0, language: str = "en") -> Texts:
    rendition = SubtitleRendition(
        group_id="s", name=language, language=language, uri="https://o.test/en.m3u8"
    )
    source = TextSource(uri=rendition.uri, prefix="c0t0", rendition=rendition)
    reading = TextReading(source=source, playlist=listed, moved_ms=moved_ms)
    return Texts(readings=(reading,))


def test_the_segments_of_the_range_and_their_neighbours_are_fetched() -> None:
    found = subtitles.fetches(texts(playlist(segments=7)), SPAN, playlist(segments=7), START_MS)

    assert [step.uri.rpartition("/")[2] for step in found] == [f"{n}.vtt" for n in (1, 2, 3, 4)]
    assert all(step.spare and step.optional for step in found)
    assert all(step.max_bytes <= subtitles.MAX_SEGMENT_BYTES for step in found)


def test_a_playlist_without_dates_lies_where_the_pictures_lie() -> None:
    found = subtitles.fetches(
        texts(playlist(segments=7, dated=False)), SPAN, playlist(segments=7), START_MS
    )

    assert [step.uri.rpartition("/")[2] for step in found] == [f"{n}.vtt" for n in (1, 2, 3, 4)]


def test_nothing_is_fetched_of_what_is_protected_and_that_is_told() -> None:
    sealed = texts(playlist(key='#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"'))

    found = subtitles.fetches(sealed, SPAN, playlist(), START_MS)
    _, notes = subtitles.files([piece(sealed)], {})

    assert found == ()
    assert any("protected" in note for note in notes)


@pytest.mark.parametrize(
    ("segments", "ended", "still_ms", "waits"),
    [(2, False, 1_000, True), (2, False, 7_000, False), (2, True, 0, False), (5, False, 0, False)],
    ids=["it lags", "it stands still", "it has ended", "it has all"],
)
def test_a_playlist_that_lags_is_waited_for_a_while(
    segments: int, ended: bool, still_ms: int, waits: bool
) -> None:
    now_ms = START_MS + 20_000
    lagging = texts(playlist(segments=segments, ended=ended), moved_ms=now_ms - still_ms)

    at_ms = subtitles.look_again_ms(lagging, SPAN, playlist(), now_ms)

    assert (at_ms is not None) == waits
    assert at_ms is None or at_ms > now_ms


def piece(of: Texts, pts0: int = 0) -> Piece:
    """All of the range, shown from the file's zero; stream time zero is `pts0`."""
    clock = WallClock(Fraction(1, 90_000), ((0, pts0, Fraction(START_MS * 1000)),), stated=True)
    shown = Shown(
        0,
        clock,
        Fraction(SPAN.start_ms * 1000),
        Fraction(SPAN.end_ms * 1000),
        Fraction(pts0, 90_000) + 4,
        Fraction(0),
        Fraction(4),
    )
    return Piece((shown,), Fraction(0), SPAN, playlist(), of)


@pytest.mark.parametrize(
    ("document", "starts"),
    [
        (TextDocument(mpegts=900_000), [1000]),
        (TextDocument(mpegts=900_000 + 90_000, local_ms=1000), [1000]),
        (TextDocument(mpegts=(900_000 - 2**33) % 2**33), [1000]),
        (TextDocument(mpegts=900_000 + 90_000 * 3600), []),
    ],
    ids=["mapped", "mapped elsewhere", "a turn of the counter", "an hour off"],
)
def test_cues_are_placed_by_the_streams_own_clock(
    document: TextDocument, starts: list[int]
) -> None:
    said = document.model_copy(update={"cues": (Cue(start_ms=5000, end_ms=6000, text="x"),)})

    (written,), notes = subtitles.files(
        [piece(texts(playlist()), 900_000)], {"c0t0-0-000002.vtt": said}
    )

    assert [line for line in written.text.splitlines() if "-->" in line] == [
        f"00:00:0{ms // 1000}.000 --> 00:00:0{ms // 1000 + 1}.000" for ms in starts
    ]
    assert any("not those of the pictures" in note for note in notes) == (not starts)


def test_ids_and_repeats_are_told_once() -> None:
    one = Cue(start_ms=4000, end_ms=6000, text="over two segments", id="1")
    other = Cue(start_ms=6000, end_ms=7000, text="later", id="1")
    said = {
        "c0t0-0-000002.vtt": TextDocument(cues=(one,), blocks=("STYLE\n::cue{}",)),
        "c0t0-0-000003.vtt": TextDocument(cues=(one, other), blocks=("STYLE\n::cue{}",)),
    }

    (written,), _ = subtitles.files([piece(texts(playlist()))], said)

    assert written.text.count("over two segments") == 1
    assert written.text.count("STYLE") == 1
    assert written.text.count("\n1\n") == 1
    assert written.ending == ".en.vtt"
