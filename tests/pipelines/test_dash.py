"""DASH manifests are read as the standard means them, whoever wrote them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipelines import dash
from pipelines.dash import Mpd, Repeat, Track
from schemas.errors import CorruptMedia, CuttingRoomError
from schemas.media import ByteRange
from tests.hostile_manifests import (
    HOSTILE,
    TEMPLATE,
    TIMELINE,
    VIDEO,
    Hostile,
    live,
    mpd,
    one,
)

URL = "https://origin.test/live/channel/manifest.mpd?token=1"
EPOCH_US = 1_643_957_046_000_000  # 2022-02-04T06:44:06Z


def read(raw: bytes) -> Mpd:
    """The manifest, read from its usual place."""
    return dash.parse(raw, URL)


def only(raw: bytes) -> Track:
    """Its only track."""
    (track,) = [track for period in read(raw).periods for track in period.tracks]
    return track


# ---- times


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("PT0S", 0),
        ("PT1.5S", 1_500_000),
        ("PT1H2M3S", 3_723_000_000),
        ("P1DT0.000001S", 86_400_000_001),
        ("P1Y", 365 * 86_400_000_000),
        ("P1M", 30 * 86_400_000_000),
        ("PT0.1234567S", 123_456),
        ("PT634.566S", 634_566_000),
    ],
)
def test_durations_are_those_of_xml_schema(text: str, us: int) -> None:
    assert dash.duration_us(text) == us


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "-PT1S", "PT1", "PT1S2M", "P9999999D", "∞"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|thousand"):
        dash.duration_us(text)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2022-02-04T06:44:06Z", EPOCH_US),
        ("2022-02-04T06:44:06", EPOCH_US),
        ("2022-02-04T07:44:06.250+01:00", EPOCH_US + 250_000),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_moments_are_those_of_xml_schema(text: str, us: int) -> None:
    assert dash.moment_us(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2022-02-30T00:00:00Z",
        "2022-02-04",
        "now",
        "9999-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|day|range"):
        dash.moment_us(text)


# ---- periods


@pytest.mark.parametrize(
    ("attributes", "spans_s"),
    [
        (['start="PT0S"'], [(0, 60)]),
        ([""], [(0, 60)]),
        (['duration="PT20S"', ""], [(0, 20), (20, 60)]),
        (['start="PT0S"', 'start="PT25S"'], [(0, 25), (25, 60)]),
        (['duration="PT20S"', 'start="PT30S"'], [(0, 20), (30, 60)]),
        (['duration="PT40S"', 'start="PT30S"'], [(0, 30), (30, 60)]),
        (['start="PT0S"', 'start="PT0S"'], [(0, 60)]),
        (['start="PT10S" duration="PT5S"'], [(10, 15)]),
    ],
    ids=["all", "unsaid", "by duration", "by start", "a hole", "cut off", "none at all", "part"],
)
def test_a_period_lasts_as_the_standard_says(
    attributes: list[str], spans_s: list[tuple[int, int]]
) -> None:
    found = read(mpd("".join(one(period=a) for a in attributes))).periods

    seconds = [(p.start_us // 1_000_000, (p.end_us or 0) // 1_000_000) for p in found]
    assert seconds == spans_s


def test_a_live_period_that_does_not_say_when_it_starts_is_not_there_yet() -> None:
    raw = live(one(period='id="now" start="PT0S"') + one(period='id="announced"'))

    (period,) = read(raw).periods

    assert (period.id, period.end_us) == ("now", None)


def test_periods_that_run_backwards_are_refused() -> None:
    with pytest.raises(CorruptMedia, match="starts before"):
        read(mpd(one(period='start="PT9S"') + one(period='start="PT3S"')))


@pytest.mark.parametrize(
    ("raw", "zero_us"),
    [
        (live(one()), EPOCH_US),
        (mpd(one()), None),
        (
            mpd(
                one(),
                'availabilityStartTime="2022-02-04T06:44:06Z" mediaPresentationDuration="PT1S"',
            ),
            EPOCH_US,
        ),
        (
            mpd(
                one(),
                'availabilityStartTime="1970-01-01T00:00:00Z" mediaPresentationDuration="PT1S"',
            ),
            0,
        ),
    ],
    ids=["live", "on demand", "was live", "the epoch"],
)
def test_the_wall_clock_is_that_of_its_availability(raw: bytes, zero_us: int | None) -> None:
    assert read(raw).zero_us == zero_us


def test_a_live_presentation_without_a_clock_is_refused() -> None:
    with pytest.raises(CorruptMedia, match="availabilityStartTime"):
        read(mpd(one(), 'type="dynamic"'))


# ---- tracks


def test_what_only_helps_to_choose_need_not_make_sense() -> None:
    track = only(mpd(one(rep='mimeType="video/mp4" width="1920.0" height="-1" lang="ümlaut"')))

    assert (track.width, track.height, track.language) == (None, None, None)


def test_what_an_adaptation_set_says_holds_for_its_representations() -> None:
    raw = mpd(
        '<Period><AdaptationSet mimeType="audio/mp4" lang="de" codecs="mp4a.40.2">'
        '<Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/><Label>Deutsch</Label>'
        '<AudioChannelConfiguration schemeIdUri="x" value="6"/>'
        f'{TEMPLATE}<Representation id="a" bandwidth="96000"/></AdaptationSet></Period>'
    )

    track = only(raw)

    assert (track.kind, track.language, track.role, track.label) == (
        "audio",
        "de",
        "main",
        "Deutsch",
    )
    assert (track.codecs, track.channels, track.bandwidth_bps) == ("mp4a.40.2", "6", 96_000)


@pytest.mark.parametrize(
    ("rep", "kind"),
    [
        ('mimeType="video/mp4"', "video"),
        ('mimeType="audio/mp4"', "audio"),
        ('contentType="video"', "video"),
        ('codecs="hvc1.1.6"', "video"),
        ('codecs="ec-3"', "audio"),
        ('mimeType="video/webm"', None),
        ('mimeType="video/mp2t"', None),
        ('mimeType="application/mp4" codecs="stpp"', None),
        ('mimeType="text/vtt"', None),
        ('mimeType="image/jpeg"', None),
        ('mimeType="video/mp4" contentType="image"', None),
    ],
)
def test_only_pictures_and_sound_in_iso_files_are_tracks(rep: str, kind: str | None) -> None:
    found = [t.kind for p in read(mpd(one(rep=rep))).periods for t in p.tracks]

    assert found == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("text", "rate"),
    [("25", Fraction(25)), ("30000/1001", Fraction(30_000, 1001)), ("25/0", None), ("fast", None)],
)
def test_frame_rates_are_exact(text: str, rate: Fraction | None) -> None:
    assert only(mpd(one(rep=f'{VIDEO} frameRate="{text}"'))).frame_rate == rate


@pytest.mark.parametrize(
    ("property_", "left"),
    [
        ('<SupplementalProperty schemeIdUri="urn:whatever:2020" value="1"/>', 1),
        ('<EssentialProperty schemeIdUri="urn:mpeg:mpegB:cicp:ColourPrimaries" value="1"/>', 1),
        ('<EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="1"/>', 0),
        ('<EssentialProperty schemeIdUri="urn:mpeg:dash:srd:2014" value="0,0"/>', 0),
    ],
    ids=["supplemental", "colours", "trick mode", "a tile"],
)
def test_a_track_with_something_essential_nobody_knows_is_ignored(
    property_: str, left: int
) -> None:
    found = read(mpd(one(around=property_)))

    assert sum(len(p.tracks) for p in found.periods) == left
    assert len(found.left_out) == 1 - left


def test_protection_is_noticed_wherever_it_stands() -> None:
    inside = f'<ContentProtection schemeIdUri="urn:uuid:edef8ba9"/>{TEMPLATE}'

    assert only(mpd(one(around='<ContentProtection schemeIdUri="urn:x"/>'))).encrypted == "urn:x"
    assert only(mpd(one(inside))).encrypted == "urn:uuid:edef8ba9"
    assert only(mpd(one())).encrypted is None


# ---- addresses


@pytest.mark.parametrize(
    ("bases", "base"),
    [
        (["", "", "", ""], URL),
        (["media/", "", "", ""], "https://origin.test/live/channel/media/"),
        (["media/", "p1/", "video/", "hd/"], "https://origin.test/live/channel/media/p1/video/hd/"),
        (["media/", "/top/", "", "v/"], "https://origin.test/top/v/"),
        (["", "https://cdn.test/x/", "../y/", ""], "https://cdn.test/y/"),
        (["", "//cdn.test/", "", ""], "https://cdn.test/"),
    ],
)
def test_base_urls_build_on_one_another(bases: list[str], base: str) -> None:
    told = [f"<BaseURL>{b}</BaseURL>" if b else "" for b in bases]
    raw = mpd(
        f"{told[0]}<Period>{told[1]}<AdaptationSet>{told[2]}"
        f'<Representation id="v" bandwidth="1" {VIDEO}>{told[3]}{TEMPLATE}</Representation>'
        "</AdaptationSet></Period>"
    )

    assert only(raw).base == base


def test_of_several_base_urls_the_first_is_used() -> None:
    raw = mpd("<BaseURL>https://a.test/</BaseURL><BaseURL>https://b.test/</BaseURL>" + one())

    assert only(raw).base == "https://a.test/"


@pytest.mark.parametrize("base", ["file:///etc/", "ftp://x/", "javascript:1", "data:,x", "http://"])
def test_nothing_but_http_is_fetched(base: str) -> None:
    with pytest.raises(CorruptMedia, match=r"manifest line \d+ \(BaseURL\)"):
        read(mpd(f"<BaseURL>{base}</BaseURL>{one()}"))


def test_template_attributes_are_inherited_one_by_one() -> None:
    raw = mpd(
        '<Period><SegmentTemplate timescale="90000" startNumber="7"/>'
        '<AdaptationSet><SegmentTemplate duration="180000" media="a-$Number$"/>'
        f'<Representation id="v" bandwidth="1" {VIDEO}><SegmentTemplate media="b-$Number$" '
        'presentationTimeOffset="90"/></Representation></AdaptationSet></Period>'
    )

    found = only(raw).addressing

    assert (found.timescale, found.start_number, found.duration) == (90_000, 7, 180_000)
    assert (found.media, found.offset) == ("b-$Number$", 90)


def test_a_timeline_is_read_with_its_repetitions() -> None:
    line = '<S t="10" d="5" r="2"/><S d="4"/><S t="99" d="3" r="-1"/>'
    raw = mpd(one(TIMELINE.format(line)))

    assert only(raw).addressing.timeline == (
        Repeat(10, 5, 3),
        Repeat(25, 4, 1),
        Repeat(99, 3, None),
    )


def test_a_file_with_an_index_names_it_and_its_header() -> None:
    raw = mpd(one('<BaseURL>v.mp4</BaseURL><SegmentBase indexRange="800-899"/>'))

    found = only(raw).addressing

    assert found.index is not None
    assert found.index.span == ByteRange(offset=800, length=100)
    assert found.init is not None
    assert found.init.span == ByteRange(offset=0, length=800)


@pytest.mark.parametrize(
    ("attributes", "early_us"),
    [
        ("", 0),
        ('availabilityTimeOffset="1.5"', 1_500_000),
        ('availabilityTimeOffset="INF"', None),
        ('availabilityTimeOffset="1.9" availabilityTimeComplete="false"', 0),
    ],
    ids=["unsaid", "early", "at once", "in part only"],
)
def test_how_early_a_segment_is_whole(attributes: str, early_us: int | None) -> None:
    raw = live(one(f'<SegmentTemplate duration="2" media="$Number$" {attributes}/>'))

    assert only(raw).addressing.early_us == early_us


# ---- what is hostile, or somebody's mistake


@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: row.name)
def test_what_makes_no_sense_is_refused_by_its_kind(row: Hostile) -> None:
    with pytest.raises(CuttingRoomError) as raised:
        read(row.body)

    assert raised.value.code == row.code
    assert "token" not in raised.value.message
    assert "passwd" not in raised.value.message


def test_a_manifest_is_read_from_http_alone() -> None:
    with pytest.raises(CorruptMedia, match="http and https"):
        dash.parse(mpd(one()), "file:///tmp/a.mpd")


def test_a_linked_part_that_is_resolved_to_nothing_is_left_out() -> None:
    gone = (
        '<Period xmlns:x="http://www.w3.org/1999/xlink" '
        'x:href="urn:mpeg:dash:resolve-to-zero:2013"/>'
    )

    assert len(read(mpd(gone + one())).periods) == 1


def test_a_thousand_tracks_share_one_long_timeline() -> None:
    # Each of them reading it for itself would take minutes.
    line = '<S d="1"/>' * 50_000
    tracks = f'<Representation id="v" bandwidth="1" {VIDEO}/>' * 1000
    raw = mpd(f"<Period><AdaptationSet>{TIMELINE.format(line)}{tracks}</AdaptationSet></Period>")

    (period,) = read(raw).periods

    assert len({id(track.addressing.timeline) for track in period.tracks}) == 1
    assert len(period.tracks) == 1000
