"""A typed address of a stream tells what it is by its name."""

from __future__ import annotations

import pytest

from cli.addresses import stream_type


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://host/live/manifest.mpd", "dash"),
        ("https://host/live/Manifest.MPD?token=1", "dash"),
        ("https://host/live.isml/.mpd", "dash"),
        ("https://host/live.ism/manifest(format=mpd-time-csf)", "dash"),
        ("https://host/play?format=mpd", "dash"),
        ("https://host/live/index.m3u8", "hls"),
        ("https://host/live/index.m3u8?from=a.mpd", "hls"),
        ("https://mpd.host/live", "hls"),
    ],
)
def test_the_type_of_a_typed_stream(url: str, kind: str) -> None:
    assert stream_type(url) == kind
