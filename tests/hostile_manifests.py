"""DASH manifests that lie, break or bite, each with the code it is refused with.

The failure table of the documentation is made from these rows.
"""

from __future__ import annotations

from tests.hostile_playlists import Hostile

__all__ = ["HOSTILE", "TEMPLATE", "TIMELINE", "VIDEO", "Hostile", "live", "mpd", "one"]

TEMPLATE = '<SegmentTemplate duration="2" media="$Number$.m4s" initialization="i.mp4"/>'
VIDEO = 'mimeType="video/mp4" codecs="avc1.640028" width="1280" height="720"'


def mpd(body: str, head: str = 'type="static" mediaPresentationDuration="PT60S"') -> bytes:
    """A manifest around its periods."""
    text = f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {head}>{body}</MPD>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def live(body: str, **head: str) -> bytes:
    """A dynamic manifest that began at 2022-02-04T06:44:06Z."""
    named = {"availabilityStartTime": "2022-02-04T06:44:06Z", **head}
    attributes = " ".join(f'{name}="{value}"' for name, value in named.items())
    return mpd(body, f'type="dynamic" {attributes}')


def one(addressing: str = TEMPLATE, *, around: str = "", rep: str = VIDEO, period: str = "") -> str:
    """A period with one track."""
    return (
        f"<Period {period}><AdaptationSet>{around}"
        f'<Representation id="v" bandwidth="1000" {rep}>{addressing}</Representation>'
        "</AdaptationSet></Period>"
    )


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">&b;</MPD>'
)
OUTSIDE = (
    b'<?xml version="1.0"?><!DOCTYPE MPD SYSTEM "http://127.0.0.1:9/x.dtd">'
    b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>'
)
TIMELINE = "<SegmentTemplate media='$Time$'><SegmentTimeline>{}</SegmentTimeline></SegmentTemplate>"
HOSTILE: tuple[Hostile, ...] = (
    Hostile("an empty body", b"", "manifest_unreachable"),
    Hostile("blanks alone", b" \n ", "manifest_unreachable"),
    Hostile("a web page", b"<!DOCTYPE html><html></html>", "manifest_unreachable"),
    Hostile("a web page without a type", b"<html><body/></html>", "manifest_unreachable"),
    Hostile("not XML", b"#EXTM3U\n", "media_invalid"),
    Hostile("a manifest cut off", mpd(one())[:-40], "media_invalid"),
    Hostile("another root", b"<SmoothStreamingMedia/>", "media_invalid"),
    Hostile("an entity bomb", BOMB, "media_invalid"),
    Hostile("an entity bomb in UTF-16", BOMB.decode().encode("utf-16"), "media_invalid"),
    Hostile("an outside document type", OUTSIDE, "media_invalid"),
    Hostile(
        "a codec nobody has", b"<?xml version='1.0' encoding='klingon'?><MPD/>", "media_invalid"
    ),
    Hostile("elements nested 5,000 deep", b"<MPD>" * 5000 + b"</MPD>" * 5000, "media_invalid"),
    Hostile("21 MiB", mpd("<x>" + "y" * 21 * 1024 * 1024 + "</x>"), "too_large"),
    Hostile("over 300,000 tags", mpd("<x/>" * 300_001), "too_large"),
    Hostile("over 2,000 periods", mpd(one() * 2001), "too_large"),
    Hostile("no period", mpd(""), "media_invalid"),
    Hostile("neither static nor dynamic", mpd(one(), 'type="later"'), "media_invalid"),
    Hostile(
        "a period in another document",
        mpd('<Period xmlns:x="http://www.w3.org/1999/xlink" x:href="http://127.0.0.1/p"/>'),
        "media_invalid",
    ),
    Hostile(
        "an essential property nobody knows, on all of it",
        mpd('<EssentialProperty schemeIdUri="urn:mpeg:dash:urlparam:2014"/>' + one()),
        "media_invalid",
    ),
    Hostile(
        "a date that never was",
        mpd(one(), 'type="dynamic" availabilityStartTime="2022-02-31T00:00:00Z"'),
        "media_invalid",
    ),
    Hostile("a length of words", mpd(one(), 'mediaPresentationDuration="long"'), "media_invalid"),
    Hostile(
        "no timescale",
        mpd(one('<SegmentTemplate media="$Number$" duration="1" timescale="0"/>')),
        "media_invalid",
    ),
    Hostile(
        "a negative number",
        mpd(one('<SegmentTemplate media="$Number$" duration="-1"/>')),
        "media_invalid",
    ),
    Hostile(
        "a huge number",
        mpd(one(f'<SegmentTemplate media="$Number$" duration="{2**63}"/>')),
        "media_invalid",
    ),
    Hostile(
        "segments nothing times", mpd(one('<SegmentTemplate media="$Number$"/>')), "media_invalid"
    ),
    Hostile("a segment without duration", mpd(one(TIMELINE.format('<S t="1"/>'))), "media_invalid"),
    Hostile("a segment of no duration", mpd(one(TIMELINE.format('<S d="0"/>'))), "media_invalid"),
    Hostile(
        "an entry after an endless one, without a time",
        mpd(one(TIMELINE.format('<S d="1" r="-1"/><S d="1"/>'))),
        "media_invalid",
    ),
    Hostile(
        "sequences of segments", mpd(one(TIMELINE.format('<S d="4" k="4"/>'))), "media_invalid"
    ),
    Hostile("a range that runs back", mpd(one('<SegmentBase indexRange="9-5"/>')), "media_invalid"),
    Hostile(
        "an index without header", mpd(one('<SegmentBase indexRange="0-5"/>')), "media_invalid"
    ),
    Hostile(
        "a base in another scheme",
        mpd("<BaseURL>file:///etc/passwd</BaseURL>" + one()),
        "media_invalid",
    ),
    Hostile(
        "a place in another scheme",
        live("<Location>gopher://x/</Location>" + one()),
        "media_invalid",
    ),
    Hostile("a base with a line break", mpd("<BaseURL>a&#10;b</BaseURL>" + one()), "media_invalid"),
    Hostile(
        "an early time of words",
        mpd(one('<SegmentTemplate media="a" duration="1" availabilityTimeOffset="soon"/>')),
        "media_invalid",
    ),
)
