"""Tiny real media for tests: frames carry their number, sound carries its time, HLS carries both.

Start here; the parts live in tests/streams.py, tests/hls_builder.py and tests/marks.py.

    from tests.media_builder import StreamSpec, AudioSpec, build, segment, continued, multivariant

    spec = StreamSpec(fps=Fraction(30000, 1001), gop=30, bframes=2, open_gop=True, seconds=8)
    stream = build(spec)                                  # cached for the process
    asset = segment(stream, container="ts", segment_s=2)  # or "fmp4"
    asset.files["main-0.ts"]                              # bytes by name
    asset.playlist().text()                               # the playlist as an origin would say it
    asset.write_to(tmp_path)                              # playlists, keys and segments on disk
    asset.wall_ms(137)                                    # exact wall clock of frame 137 (Fraction)
    asset.numbers_between(start_ms, end_ms)               # the frames a clip [start, end) must hold

Frame `n` of a spec shows number `first_number + n`; frame 0 stands at `asset.epoch_ms`.
More regions: `segment(a, b)` writes EXT-X-DISCONTINUITY between two streams; with
`b = build(continued(a.spec, start_pts_90k=0))` numbers and sound go on in `b`.
`segment(a, discontinuities=(Discontinuity(at_segment=2, pts_jump_90k=-5, pdt_jump_ms=0),))` jumps
inside one encode. `write_mp4(stream, path)` makes an ordinary progressive MP4 of a stream.
Others: `separate_audio`, `packed_audio`, `byte_range`, `encrypt=Encryption(...)`, `pdt="first"`,
`gaps`, `missing`, `region_jumps_ms`; `multivariant({"hi": a, "lo": b})`; `StreamSpec(timecode=)`.
A live edge near the present: `segment(stream, epoch_ms=int(time.time() * 1000))` served by
tests/origin.py with `Live(wall_clock_ms)`. tests/oracle.py judges what comes out.
"""

from tests.hls_builder import (
    Discontinuity,
    Encryption,
    HlsAsset,
    MediaPlaylist,
    MediaSegment,
    multivariant,
    segment,
    write_mp4,
)
from tests.streams import (
    EPOCH_MS,
    TICKS,
    AudioSpec,
    Stream,
    StreamSpec,
    build,
    continued,
    cut_anywhere,
)

__all__ = [
    "EPOCH_MS",
    "TICKS",
    "AudioSpec",
    "Discontinuity",
    "Encryption",
    "HlsAsset",
    "MediaPlaylist",
    "MediaSegment",
    "Stream",
    "StreamSpec",
    "build",
    "continued",
    "cut_anywhere",
    "multivariant",
    "segment",
    "write_mp4",
]
