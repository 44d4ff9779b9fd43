"""A track over all periods is one playlist, and the same one whenever it is read."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines import dash, dash_playlist, refresh
from pipelines.dash_index import Indexed
from pipelines.dash_playlist import multivariant
from pipelines.locate import located
from pipelines.variants import audio_of, best, smallest
from pipelines.window import select
from schemas.errors import CorruptMedia, Encrypted, OutsideWindow, UnsupportedMedia
from schemas.media import ByteRange, MediaPlaylist
from schemas.times import TimeRange

URL = "https://origin.test/live.mpd"
ZERO = "2022-02-04T06:44:06Z"
ZERO_US = 1_643_957_046_000_000
S = 1_000_000


def mpd(*periods: str, live: bool = True, head: str = "") -> dash.Mpd:
    """A manifest of periods, live since `ZERO` or on demand."""
    kind = f'type="dynamic" availabilityStartTime="{ZERO}"' if live else 'type="static"'
    text = f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {kind} {head}>{"".join(periods)}</MPD>'
    return dash.parse(text.encode(), URL)


def a_period(*sets: str, **attributes: str) -> str:
    """A period of adaptation sets."""
    told = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<Period {told}>{''.join(sets)}</Period>"


def a_set(*reps: str, body: str = "", **attributes: str) -> str:
    """An adaptation set, of pictures where nothing else is said."""
    values = {"mimeType": "video/mp4"} | attributes
    told = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f"<AdaptationSet {told}>{body}{''.join(reps)}</AdaptationSet>"


def a_rep(id_: str = "v", template: str | None = None, **attributes: Any) -> str:
    """A representation in numbered segments of two seconds."""
    values = {"bandwidth": 1000, "codecs": "avc1.640028"} | attributes
    told = " ".join(f'{name}="{value}"' for name, value in values.items())
    body = template or (
        '<SegmentTemplate duration="2" media="$RepresentationID$-$Number$.m4s" '
        'initialization="$RepresentationID$.mp4"/>'
    )
    return f'<Representation id="{id_}" {told}>{body}</Representation>'


def sliding(*entries: tuple[int, int], media: str = "v-$Time$.m4s", **attributes: Any) -> str:
    """A representation with a timeline of `(t, d)` in seconds."""
    line = "".join(f'<S t="{t}" d="{d}"/>' for t, d in entries)
    told = "".join(f' {name}="{value}"' for name, value in attributes.items())
    template = (
        f'<SegmentTemplate media="{media}" initialization="v.mp4"{told}>'
        f"<SegmentTimeline>{line}</SegmentTimeline></SegmentTemplate>"
    )
    return a_period(a_set(a_rep(template=template)), id="p", start="PT0S")


def pictures(found: dash.Mpd, now_s: float = 60, **about: Any) -> MediaPlaylist:
    """The playlist of the best pictures so many seconds after the start."""
    top = multivariant(found, URL)
    return dash_playlist.media(found, best(top).uri, ZERO_US + round(now_s * S), **about)


# ---- which tracks


def test_variants_are_ranked_by_what_a_manifest_says_of_them() -> None:
    reps = (
        a_rep("low", width=640, height=360, bandwidth=500),
        a_rep("high", width=1920, height=1080, bandwidth=5000),
        a_rep("mid", width=1280, height=720, bandwidth=9000),
    )

    top = multivariant(mpd(a_period(a_set(*reps))), URL)

    assert "id=high" in best(top).uri
    assert "id=low" in smallest(top).uri


def test_sounds_are_told_apart_by_language_role_codec_and_channels() -> None:
    sets = (
        a_set(a_rep(), contentType="video"),
        a_set(
            a_rep("de-64", codecs="mp4a.40.5", bandwidth=64),
            a_rep("de-128", codecs="mp4a.40.2", bandwidth=128),
            mimeType="audio/mp4",
            lang="de",
        ),
        a_set(
            a_rep("en", codecs="mp4a.40.2"),
            body='<Role schemeIdUri="x" value="main"/><Label>English</Label>',
            mimeType="audio/mp4",
            lang="en",
        ),
        a_set(a_rep("ac3", codecs="ac-3"), mimeType="audio/mp4", lang="de"),
    )
    top = multivariant(mpd(a_period(*sets)), URL)

    found = audio_of(top, best(top))

    assert [(r.language, r.name, r.default) for r in found] == [
        ("en", "English", True),
        ("de", "de", False),
        ("de", "de", False),
    ]
    assert ["de-128" in (r.uri or "") for r in found] == [False, True, False]


def test_clear_tracks_are_taken_before_encrypted_ones() -> None:
    locked = '<ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011"/>'
    sets = (
        a_set(a_rep("uhd", width=3840, height=2160), body=locked),
        a_set(a_rep("hd", width=1920, height=1080)),
    )

    assert "id=hd" in best(multivariant(mpd(a_period(*sets)), URL)).uri


@pytest.mark.parametrize(
    ("roles", "chosen"),
    [(("", "sign"), "0"), (("alternate", "main"), "1"), (("sign", "alternate"), "1")],
)
def test_another_view_is_not_taken_for_the_programme(roles: tuple[str, str], chosen: str) -> None:
    sets = (
        a_set(
            a_rep(str(number), width=1920, height=1080, bandwidth=1000 + number),
            body=f'<Role schemeIdUri="urn:mpeg:dash:role:2011" value="{role}"/>' if role else "",
        )
        for number, role in enumerate(roles)
    )

    assert f"id={chosen}&" in best(multivariant(mpd(a_period(*sets)), URL)).uri


def test_where_all_is_encrypted_its_segments_say_so() -> None:
    locked = '<ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011"/>'
    found = pictures(mpd(a_period(a_set(a_rep(), body=locked))))
    wanted = TimeRange(start_ms=ZERO_US // 1000 + 10_000, end_ms=ZERO_US // 1000 + 12_000)

    with pytest.raises(Encrypted, match="mp4protection"):
        located(select(found, wanted, 0))


def test_a_manifest_of_nothing_that_can_be_read_says_what_was_left_out() -> None:
    trick = '<EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode"/>'

    with pytest.raises(UnsupportedMedia, match="trickmode"):
        multivariant(mpd(a_period(a_set(a_rep(), body=trick))), URL)


def test_sound_alone_is_a_playlist_of_its_own() -> None:
    found = mpd(a_period(a_set(a_rep("a", codecs="mp4a.40.2"), mimeType="audio/mp4")))
    top = multivariant(found, URL)

    alone = dash_playlist.sound_alone(top)

    assert alone is not None
    assert len(dash_playlist.media(found, alone, ZERO_US + 10 * S).segments) == 5


@pytest.mark.parametrize(
    "fragment", ["kind=video", "kind=video&pixels=many&bandwidth_bps=-1", "kind=audio&id=%00"]
)
def test_any_fragment_leads_to_some_track_or_none(fragment: str) -> None:
    found = dash_playlist.media(mpd(a_period(a_set(a_rep()))), f"{URL}#{fragment}", ZERO_US + 9 * S)

    assert len(found.segments) == (0 if "audio" in fragment else 4)


# ---- where segments lie


def test_segments_lie_on_the_wall_clock_and_tell_their_place() -> None:
    found = pictures(
        mpd(a_period(a_set(a_rep()), start="PT10S"), head='timeShiftBufferDepth="PT6S"'), 21
    )

    (region,) = found.regions
    assert [s.sequence for s in found.segments] == [3, 4, 5]
    assert [(s.start_us - ZERO_US) // S for s in found.segments] == [14, 16, 18]
    assert found.segments[0].uri == "https://origin.test/v-3.m4s"
    assert found.segments[0].init is not None
    assert found.segments[0].init.uri == "https://origin.test/v.mp4"
    assert (region.clock, region.discontinuity_sequence) == ("pdt", ZERO_US // 1000 + 10_000)
    assert region.pts_clock is not None
    assert region.pts_clock.zero_us == ZERO_US + 10 * S
    assert (found.ended, found.target_duration_us, found.slack_us) == (False, 2 * S, S)


def test_each_track_has_the_clock_of_its_own_offset() -> None:
    template = (
        '<SegmentTemplate timescale="90000" presentationTimeOffset="450030" media="$Time$" '
        'initialization="i"><SegmentTimeline><S t="450000" d="180000"/></SegmentTimeline>'
        "</SegmentTemplate>"
    )

    found = pictures(mpd(a_period(a_set(a_rep(template=template)))))

    clock = found.regions[0].pts_clock
    assert clock is not None
    assert clock.zero_us == ZERO_US - Fraction(450_030 * S, 90_000)
    # It begins 30 ticks before the period, which it is not shown in.
    assert (found.segments[0].start_us, found.segments[0].end_us) == (ZERO_US, ZERO_US + 1_999_666)


def test_without_a_clock_a_presentation_starts_at_zero() -> None:
    found = pictures(
        mpd(a_period(a_set(a_rep())), live=False, head='mediaPresentationDuration="PT5S"')
    )

    assert found.ended
    assert [(s.start_us, s.duration_us) for s in found.segments] == [
        (0, 2 * S), (2 * S, 2 * S), (4 * S, S),
    ]  # fmt: skip
    assert found.regions[0].clock == "estimated"


@pytest.mark.parametrize(
    ("start", "clock"),
    [(0, "estimated"), (600, "estimated"), (1_643_957_046, "pdt")],
    ids=["nothing meant", "an offset", "media time is the wall clock"],
)
def test_the_epoch_as_a_beginning_on_demand_means_little(start: int, clock: str) -> None:
    text = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'availabilityStartTime="1970-01-01T00:00:00Z">'
        f"{sliding((start, 2))}</MPD>"
    )

    found = pictures(dash.parse(text.encode(), URL))

    assert found.regions[0].clock == clock
    assert found.segments[0].start_us == start * S


def test_each_period_is_a_region_with_its_own_init_and_end() -> None:
    second = a_period(
        a_set(a_rep("ad", width=640, height=360, template=_template("ad", offset=100))),
        start="PT6S",
    )
    found = pictures(mpd(a_period(a_set(a_rep()), start="PT0S"), second), 10)

    assert [r.discontinuity_sequence - ZERO_US // 1000 for r in found.regions] == [0, 6000]
    assert [r.pts_clock.end_us for r in found.regions if r.pts_clock] == [ZERO_US + 6 * S, None]
    assert [s.init.uri[-6:] for s in found.segments if s.init] == ["/v.mp4"] * 3 + ["ad.mp4"] * 2
    clock = found.regions[1].pts_clock
    assert clock is not None
    assert clock.zero_us == ZERO_US + (6 - 100) * S


def _template(name: str, *, offset: int) -> str:
    return (
        f'<SegmentTemplate duration="2" presentationTimeOffset="{offset}" '
        f'media="{name}-$Number$.m4s" initialization="{name}.mp4"/>'
    )


def test_a_track_goes_on_as_what_comes_nearest_to_it() -> None:
    many = a_set(
        a_rep("1", width=640, height=360, bandwidth=900),
        a_rep("2", width=1920, height=1080, bandwidth=5000),
    )
    # The identifiers mean something else here.
    spot = a_set(
        a_rep("1", width=1920, height=1080, bandwidth=4000),
        a_rep("2", width=640, height=360, bandwidth=700),
        a_rep("3", width=1920, height=1080, bandwidth=100, codecs="vp09.00"),
    )
    found = pictures(mpd(a_period(many, start="PT0S"), a_period(spot, start="PT4S")), 8)

    assert [s.uri.rpartition("/")[2][0] for s in found.segments] == ["2", "2", "1", "1"]


def test_a_period_that_speaks_another_language_alone_is_not_silent() -> None:
    def sound(*languages: str) -> str:
        return "".join(
            a_set(a_rep(lang or "x", codecs="mp4a.40.2"), mimeType="audio/mp4", lang=lang)
            for lang in languages
        )

    found = mpd(
        a_period(a_set(a_rep()), sound("de", "en"), start="PT0S"),
        a_period(a_set(a_rep()), sound("und"), start="PT4S"),
        a_period(a_set(a_rep()), sound("fr", "en"), start="PT8S"),
    )
    german = multivariant(found, URL).audio[0]

    listed = dash_playlist.media(found, german.uri or "", ZERO_US + 12 * S)

    assert [s.uri.rpartition("/")[2].partition("-")[0] for s in listed.segments] == [
        "de", "de", "und", "und",
    ]  # fmt: skip


def test_an_index_gives_each_segment_its_bytes() -> None:
    rep = a_rep(
        template='<BaseURL>v.mp4</BaseURL><SegmentBase timescale="10" indexRange="100-199"/>'
    )
    found = mpd(a_period(a_set(rep)), live=False, head='mediaPresentationDuration="PT4S"')
    uri = best(multivariant(found, URL)).uri
    (needed,) = dash_playlist.indexes_needed(found, uri)
    indexed = (
        Indexed(0, 180_000, 90_000, ByteRange(offset=200, length=50)),
        Indexed(180_000, 180_000, 90_000, ByteRange(offset=250, length=60)),
    )

    listed = dash_playlist.media(found, uri, 0, {needed: indexed}).segments

    assert needed.span == ByteRange(offset=100, length=100)
    assert [(s.start_us, s.byte_range) for s in listed] == [
        (0, ByteRange(offset=200, length=50)),
        (2 * S, ByteRange(offset=250, length=60)),
    ]


def test_of_a_file_that_several_periods_show_each_lists_its_part() -> None:
    def part(offset: int) -> str:
        rep = a_rep(
            template="<BaseURL>v.mp4</BaseURL>"
            f'<SegmentBase presentationTimeOffset="{offset}" indexRange="100-199"/>'
        )
        return a_period(a_set(rep), duration="PT4S")

    found = mpd(part(0), part(20), live=False)
    uri = best(multivariant(found, URL)).uri
    (needed,) = dash_playlist.indexes_needed(found, uri)
    indexed = tuple(
        Indexed(at * 3, 3, 1, ByteRange(offset=1000 + at, length=1)) for at in range(10)
    )

    listed = dash_playlist.media(found, uri, 0, {needed: indexed})

    # 0 to 4 and 20 to 24 of the file, in segments of three seconds.
    places = [s.byte_range.offset - 1000 for s in listed.segments if s.byte_range]
    assert places == [0, 1, 6, 7]
    assert [s.start_us // S for s in listed.segments] == [0, 3, 4, 5]
    assert listed.held == TimeRange(start_ms=0, end_ms=8000)


@pytest.mark.parametrize(
    ("head", "now_s", "ended"),
    [
        ('minimumUpdatePeriod="PT2S"', 9999, False),
        ("", 9999, False),
        ('mediaPresentationDuration="PT20S"', 19, False),
        ('mediaPresentationDuration="PT20S"', 20, True),
        ('mediaPresentationDuration="PT20S" minimumUpdatePeriod="PT2S"', 21, False),
        ('mediaPresentationDuration="PT20S" minimumUpdatePeriod="PT2S"', 60, True),
    ],
)
def test_when_a_live_presentation_is_over(head: str, now_s: float, ended: bool) -> None:
    assert pictures(mpd(a_period(a_set(a_rep())), head=head), now_s).ended is ended


@pytest.mark.parametrize(
    ("manifest", "depends"),
    [
        (mpd(a_period(a_set(a_rep()))), True),
        (mpd(sliding((0, 2))), False),
        (mpd(a_period(a_set(a_rep())), live=False, head='mediaPresentationDuration="PT5S"'), False),
    ],
    ids=["a duration", "a timeline", "on demand"],
)
def test_only_some_manifests_need_to_know_the_time(manifest: dash.Mpd, depends: bool) -> None:
    assert dash_playlist.needs_clock(manifest) is depends


def test_media_far_beyond_any_calendar_is_refused() -> None:
    template = (
        '<SegmentTemplate media="$Time$" initialization="i"><SegmentTimeline>'
        f'<S t="{10**17}" d="2"/></SegmentTimeline></SegmentTemplate>'
    )

    with pytest.raises(CorruptMedia, match="3000"):
        pictures(mpd(a_period(a_set(a_rep(template=template)))))


# ---- readings of one presentation over time


def merged(*manifests: dash.Mpd, now_s: float = 60) -> MediaPlaylist:
    """What is known after reading one after the other."""
    known: MediaPlaylist | None = None
    for found in manifests:
        known = refresh.merged(known, pictures(found, now_s))
    assert known is not None
    return known


def starts(playlist: MediaPlaylist) -> list[int]:
    """Where segments start, in seconds after the beginning."""
    return [(s.start_us - ZERO_US) // S for s in playlist.segments]


def test_what_slides_out_of_a_timeline_is_kept_under_its_number() -> None:
    first = mpd(sliding((10, 2), (12, 2), (14, 2)))
    second = mpd(sliding((14, 2), (16, 2)))

    known = merged(first, second)

    before = {s.start_us: s.sequence for s in pictures(first).segments}
    assert starts(known) == [10, 12, 14, 16]
    assert all(s.sequence == before.get(s.start_us, s.sequence) for s in known.segments)
    numbers = [s.sequence for s in known.segments]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_two_first_readings_never_give_one_number_to_two_segments() -> None:
    # A later attempt begins anew: its files must not be taken for those of the first.
    early, late = pictures(mpd(sliding((10, 2), (12, 2)))), pictures(mpd(sliding((12, 2), (14, 2))))

    named = {s.sequence: s.start_us for s in early.segments}
    assert all(named.get(s.sequence, s.start_us) == s.start_us for s in late.segments)


def test_a_stale_manifest_adds_and_takes_nothing() -> None:
    old, new = mpd(sliding((10, 2), (12, 2))), mpd(sliding((12, 2), (14, 2)))

    assert merged(old, new, old).segments == merged(old, new).segments


def test_a_token_that_changes_renews_the_address_alone() -> None:
    old = mpd(sliding((10, 2), media="v-$Time$.m4s?t=1"))
    new = mpd(sliding((10, 2), media="v-$Time$.m4s?t=2"))

    (one,) = merged(old, new).segments

    assert one.uri.endswith("?t=2")
    assert one.sequence == pictures(old).segments[0].sequence


def test_a_window_that_jumped_ahead_leaves_a_hole() -> None:
    known = merged(mpd(sliding((10, 2), (12, 2))), mpd(sliding((30, 2), (32, 2))))

    assert starts(known) == [10, 12, 30, 32]
    numbers = [s.sequence for s in known.segments]
    assert numbers[2] > numbers[1] + 1


def test_a_period_that_has_gone_is_kept() -> None:
    both = mpd(
        a_period(a_set(a_rep()), start="PT0S", id="a"),
        a_period(a_set(a_rep()), start="PT4S", id="b"),
    )
    later = mpd(a_period(a_set(a_rep()), start="PT4S", id="b"))

    assert starts(merged(both, later, now_s=8)) == [0, 2, 4, 6]


def test_an_origin_that_starts_anew_is_another_region() -> None:
    restarted = dash.parse(
        b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" '
        b'availabilityStartTime="2022-02-04T06:44:36Z">'
        + sliding((0, 2), (2, 2)).encode()
        + b"</MPD>",
        URL,
    )

    known = merged(mpd(sliding((10, 2), (12, 2))), restarted)

    assert starts(known) == [10, 12, 30, 32]
    assert len(known.regions) == 2


def test_a_presentation_that_loses_its_clock_when_it_ends_is_set_back() -> None:
    over = mpd(
        sliding((12, 2), (14, 2), (16, 2)), live=False, head='mediaPresentationDuration="PT18S"'
    )

    known = merged(mpd(sliding((12, 2), (14, 2))), over)

    assert known.ended
    assert starts(known) == [12, 14, 16]
    assert [r.clock for r in known.regions] == ["pdt"]
    clock = known.regions[0].pts_clock
    assert clock is not None
    assert clock.zero_us == ZERO_US


# ---- through the window of every clip


def test_a_range_before_the_time_shift_buffer_is_outside_the_window() -> None:
    found = pictures(mpd(a_period(a_set(a_rep())), head='timeShiftBufferDepth="PT10S"'), 60)
    early = TimeRange(start_ms=ZERO_US // 1000 + 30_000, end_ms=ZERO_US // 1000 + 55_000)

    with pytest.raises(OutsideWindow) as raised:
        select(found, early, 0)

    assert raised.value.held == (ZERO_US // 1000 + 50_000, ZERO_US // 1000 + 60_000)


def test_a_range_at_the_live_edge_waits_for_the_next_segment() -> None:
    found = pictures(mpd(a_period(a_set(a_rep()))), 61)
    wanted = TimeRange(start_ms=ZERO_US // 1000 + 57_000, end_ms=ZERO_US // 1000 + 61_000)

    chosen = select(found, wanted, ZERO_US + 61 * S)

    assert [s.sequence for s in chosen.segments] == [29, 30]
    assert chosen.pending_from_ms == ZERO_US // 1000 + 60_000


def test_neighbours_of_nominal_segments_are_fetched_too() -> None:
    # Numbered by duration, a segment may hold what its neighbour should: half of one.
    found = pictures(mpd(a_period(a_set(a_rep()))), 60)
    wanted = TimeRange(start_ms=ZERO_US // 1000 + 10_500, end_ms=ZERO_US // 1000 + 11_500)

    chosen = select(found, wanted, 0)

    assert [s.sequence for s in chosen.segments] == [6]
    assert [s.sequence for s in chosen.extras] == [5, 7]


def test_a_minute_out_of_a_window_of_years_is_found_as_out_of_one_of_minutes() -> None:
    long = mpd(a_period(a_set(a_rep())), head='timeShiftBufferDepth="P3Y"')
    year_s = 365 * 86_400
    begin_ms = ZERO_US // 1000 + 90 * 86_400_000
    wanted = TimeRange(start_ms=begin_ms + 300, end_ms=begin_ms + 60_500)

    found = pictures(long, year_s, span=wanted)
    chosen = select(found, wanted, 0)

    assert len(found.segments) < 60
    assert found.held == TimeRange(start_ms=ZERO_US // 1000, end_ms=ZERO_US // 1000 + year_s * 1000)
    assert [s.sequence for s in chosen.segments] == list(range(3_888_001, 3_888_032))
    assert chosen.holes == ()
    assert chosen.complete


@pytest.mark.parametrize(
    ("body", "ends_s", "shown_to_s"),
    [
        (a_period(a_set(a_rep())), 11.5, None),
        (a_period(a_set(a_rep()), duration="PT11.5S"), 11.5, 11.5),
        (sliding((0, 6), (6, 6)).replace(' start="PT0S"', ""), 12, None),
        (sliding((0, 6), (6, 6)).replace('start="PT0S"', 'duration="PT11.5S"'), 11.5, 11.5),
    ],
    ids=["about, by number", "to the tick, by number", "about, listed", "to the tick, listed"],
)
def test_where_the_last_period_ends(body: str, ends_s: float, shown_to_s: float | None) -> None:
    # How long a whole presentation is said to be is rounded; what a period says of itself is not.
    found = pictures(mpd(body, live=False, head='mediaPresentationDuration="PT11.5S"'))

    (region,) = found.regions
    assert region.pts_clock is not None
    assert region.segments[-1].end_us == round(ends_s * S)
    assert region.pts_clock.end_us == (None if shown_to_s is None else round(shown_to_s * S))


def test_the_end_of_what_is_only_numbered_is_in_doubt() -> None:
    head = 'mediaPresentationDuration="PT11.5S"'
    numbered = pictures(mpd(a_period(a_set(a_rep())), live=False, head=head))
    listed = pictures(mpd(sliding((0, 6), (6, 6)), live=False, head=head))
    whole, part = TimeRange(start_ms=0, end_ms=11_500), TimeRange(start_ms=0, end_ms=7000)

    assert select(numbered, whole, 0).end_doubt_us == S
    assert select(numbered, part, 0).end_doubt_us == 0
    assert select(listed, TimeRange(start_ms=0, end_ms=12_000), 0).end_doubt_us == 0
