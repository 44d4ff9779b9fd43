"""Playlists that lie, break or bite, each with the code it is refused with.

The failure table of the documentation is made from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

URI = "https://origin.test/live/media.m3u8"
_HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
_ONE = "#EXTINF:4,\na.ts\n"


@dataclass(frozen=True)
class Hostile:
    """One row: what it is, the body, and the code of the refusal."""

    name: str
    body: bytes
    code: str = "media_invalid"


def _media(lines: str) -> bytes:
    return f"{_HEAD}{lines}".encode()


def _variant(attributes: str, uri: str = "v.m3u8") -> bytes:
    return f"#EXTM3U\n#EXT-X-STREAM-INF:{attributes}\n{uri}\n".encode()


def _extinf(text: str) -> bytes:
    return _media(f"#EXTINF:{text},\na.ts\n")


def _doubling() -> bytes:
    """Each variable holds two of the one before: 2^40 characters, if anybody asked."""
    lines = ['#EXT-X-DEFINE:NAME="v0",VALUE="lol"']
    lines += [f'#EXT-X-DEFINE:NAME="v{i}",VALUE="{{$v{i - 1}}}{{$v{i - 1}}}"' for i in range(1, 41)]
    return _media("\n".join([*lines, "#EXTINF:4,", "{$v40}.ts\n"]))


def _swelling() -> bytes:
    """Every line stays within bounds; together they would fill the memory."""
    define = f'#EXT-X-DEFINE:NAME="a",VALUE="{"x" * 4000}"\n'
    return _media(define + "#EXTINF:4,\n{$a}.ts\n" * 20_000)


HOSTILE: tuple[Hostile, ...] = (
    Hostile("an empty body", b"", "manifest_unreachable"),
    Hostile("blank lines alone", b"\n\r\n  \n", "manifest_unreachable"),
    Hostile("a web page", b"<!DOCTYPE html><html></html>", "manifest_unreachable"),
    Hostile("XML with an entity bomb", b'<!DOCTYPE x [<!ENTITY a "&a;">]>', "manifest_unreachable"),
    Hostile("an MP4 file", b"\x00\x00\x00\x20ftypisom"),
    Hostile("JSON", b'{"error":"nope"}'),
    Hostile("UTF-16", "\ufeff#EXTM3U\n#EXTINF:4,\na.ts\n".encode("utf-16")),
    Hostile("another first line", b"#EXTINF:4,\na.ts\n"),
    Hostile("a first line that only begins alike", b"#EXTM3U8\n#EXTINF:4,\na.ts\n"),
    Hostile("nothing listed, no target", b"#EXTM3U\n"),
    Hostile("a million lines", b"#EXTM3U\n" + b"#EXTINF:4,\na.ts\n" * 500_000, "too_large"),
    Hostile("a million blank lines", b"#EXTM3U" + b"\n" * 1_000_000, "too_large"),
    Hostile("21 MiB on one line", b"#EXTM3U\n#" + b"x" * (21 << 20), "too_large"),
    Hostile("a tag of 100 KB", _media(f"#EXT-X-KEY:{'A' * 100_000}\n{_ONE}"), "too_large"),
    Hostile("a URI of 9 KB", _media(f"#EXTINF:4,\n{'a' * 9000}.ts\n")),
    Hostile("a NUL byte in a URI", _media("#EXTINF:4,\na\0.ts\n")),
    Hostile("a NUL byte in a comment", _media(f"# \0\n{_ONE}")),
    Hostile("a control character in a URI", _media("#EXTINF:4,\na\x1b[31m.ts\n")),
    Hostile("a line separator in a URI", _media("#EXTINF:4,\na\u2028b.ts\n")),
    Hostile("a blank in a URI", _media("#EXTINF:4,\na b.ts\n")),
    Hostile("lone carriage returns", b"#EXTM3U\r#EXTINF:4,\ra.ts\r"),
    Hostile("bytes that are not UTF-8 in a URI", _HEAD.encode() + b"#EXTINF:4,\n\xff\xfe.ts\n"),
    Hostile("a negative duration", _extinf("-4")),
    Hostile("a channel list of -1 s", _media("#EXTINF:-1 tvg-id=x,News\nhttp://n.test/1\n")),
    Hostile("a duration of NaN", _extinf("nan")),
    Hostile("an infinite duration", _extinf("inf")),
    Hostile("a duration of 1e309", _extinf("1e309")),
    Hostile("a duration of 10^400", _extinf("1" + "0" * 400)),
    Hostile("a segment longer than a day", _extinf("86401")),
    Hostile("a hexadecimal duration", _extinf("0x10")),
    Hostile("digits of another script", _extinf("\u0664")),
    Hostile("an empty duration", _extinf("")),
    Hostile("a URI without a duration", _media("a.ts\n")),
    Hostile("two durations over one URI", _media(f"#EXTINF:4,\n{_ONE}")),
    Hostile("an ended list cut short", _media(f"{_ONE}#EXTINF:4,\n#EXT-X-ENDLIST\n")),
    Hostile("a sequence number of 2^63", _media(f"#EXT-X-MEDIA-SEQUENCE:{2**63}\n{_ONE}")),
    Hostile(
        "sequence numbers that pass 2^63",
        _media(f"#EXT-X-MEDIA-SEQUENCE:{2**63 - 1}\n{_ONE}{_ONE}"),
    ),
    Hostile(
        "a sequence number of 5000 digits", _media(f"#EXT-X-MEDIA-SEQUENCE:{'9' * 5000}\n{_ONE}")
    ),
    Hostile("a negative sequence number", _media(f"#EXT-X-MEDIA-SEQUENCE:-1\n{_ONE}")),
    Hostile("a sequence number too late", _media(f"{_ONE}#EXT-X-MEDIA-SEQUENCE:3\n")),
    Hostile(
        "two sequence numbers",
        _media(f"#EXT-X-MEDIA-SEQUENCE:3\n#EXT-X-MEDIA-SEQUENCE:4\n{_ONE}"),
    ),
    Hostile("two target durations", _media(f"#EXT-X-TARGETDURATION:9\n{_ONE}")),
    Hostile("a target duration in words", b"#EXTM3U\n#EXT-X-TARGETDURATION:four\n"),
    Hostile("a byte range of nothing", _media(f"#EXT-X-BYTERANGE:0@0\n{_ONE}")),
    Hostile("a byte range past 2^63", _media(f"#EXT-X-BYTERANGE:2@{2**63 - 1}\n{_ONE}")),
    Hostile("a byte range of 30 digits", _media(f"#EXT-X-BYTERANGE:{'9' * 30}@0\n{_ONE}")),
    Hostile("a negative byte range", _media(f"#EXT-X-BYTERANGE:-5@0\n{_ONE}")),
    Hostile("two byte ranges", _media(f"#EXT-X-BYTERANGE:1@0\n#EXT-X-BYTERANGE:2@0\n{_ONE}")),
    Hostile("a date of words", _media(f"#EXT-X-PROGRAM-DATE-TIME:yesterday\n{_ONE}")),
    Hostile(
        "the 30th of February", _media(f"#EXT-X-PROGRAM-DATE-TIME:2024-02-30T00:00:00Z\n{_ONE}")
    ),
    Hostile("the year 9999", _media(f"#EXT-X-PROGRAM-DATE-TIME:9999-12-31T23:59:59Z\n{_ONE}")),
    Hostile("the year 1", _media(f"#EXT-X-PROGRAM-DATE-TIME:0001-01-01T00:00:00+14:00\n{_ONE}")),
    Hostile("a file: segment", _media("#EXTINF:4,\nfile:///etc/passwd\n")),
    Hostile("a data: segment", _media("#EXTINF:4,\ndata:video/mp2t;base64,AAAA\n")),
    Hostile("a concat: segment", _media("#EXTINF:4,\nconcat:http://a.test/1|file:///etc/passwd\n")),
    Hostile("a gopher: segment", _media("#EXTINF:4,\ngopher://127.0.0.1:6379/_FLUSHALL\n")),
    Hostile("a URI without a host", _media("#EXTINF:4,\nhttp:///a.ts\n")),
    Hostile("a URI with a broken address", _media("#EXTINF:4,\nhttp://[::1/a.ts\n")),
    Hostile("a URI with port 99999", _media("#EXTINF:4,\nhttp://a.test:99999/a.ts\n")),
    Hostile("a playlist that names itself", _media("#EXTINF:4,\nmedia.m3u8\n")),
    Hostile("a variant that is the playlist", _variant("BANDWIDTH=1", "media.m3u8")),
    Hostile(
        "a rendition that is the playlist",
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="../live/media.m3u8"\n',
    ),
    Hostile("a file: key", _media(f'#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/shadow"\n{_ONE}')),
    Hostile("a key without an address", _media(f"#EXT-X-KEY:METHOD=AES-128\n{_ONE}")),
    Hostile("a key without a method", _media(f'#EXT-X-KEY:URI="k"\n{_ONE}')),
    Hostile("an IV too long", _media(f'#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x{"0" * 33}\n{_ONE}')),
    Hostile("an IV of words", _media(f'#EXT-X-KEY:METHOD=AES-128,URI="k",IV=none\n{_ONE}')),
    Hostile("a file: map", _media(f'#EXT-X-MAP:URI="file:///etc/passwd"\n{_ONE}')),
    Hostile("a map without an address", _media(f'#EXT-X-MAP:BYTERANGE="5@0"\n{_ONE}')),
    Hostile("an attribute twice", _media(f'#EXT-X-MAP:URI="a",URI="b"\n{_ONE}')),
    Hostile("a quote that never ends", _media(f'#EXT-X-MAP:URI="a\n{_ONE}')),
    Hostile(
        "a thousand attributes", _media(f"#EXT-X-MAP:{','.join(f'A{i}=1' for i in range(1000))}\n")
    ),
    Hostile("a delta update", _media(f"#EXT-X-SKIP:SKIPPED-SEGMENTS=100\n{_ONE}")),
    Hostile("I-frames alone", _media(f"#EXT-X-I-FRAMES-ONLY\n{_ONE}"), "media_invalid"),
    Hostile("variants and segments in one", _variant("BANDWIDTH=1") + _ONE.encode()),
    Hostile("a bandwidth of 20 digits", _variant("BANDWIDTH=" + "9" * 20)),
    Hostile("a resolution of words", _variant("BANDWIDTH=1,RESOLUTION=big")),
    Hostile("a frame rate of 10^9", _variant("BANDWIDTH=1,FRAME-RATE=1000000000")),
    Hostile("two variants, one URI", _variant("BANDWIDTH=1\n#EXT-X-STREAM-INF:BANDWIDTH=2")),
    Hostile(
        "5000 variants", b"#EXTM3U\n" + b"#EXT-X-STREAM-INF:BANDWIDTH=1\nv.ts\n" * 5000, "too_large"
    ),
    Hostile("a rendition without a group", b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,NAME="a"\n'),
    Hostile("variables that double", _doubling(), "too_large"),
    Hostile("variables that swell", _swelling(), "too_large"),
    Hostile("a variable of itself", _media('#EXT-X-DEFINE:NAME="a",VALUE="{$a}"\n')),
    Hostile("a variable nobody defined", _media("#EXTINF:4,\n{$who}.ts\n")),
    Hostile("a variable defined twice", _media('#EXT-X-DEFINE:NAME="a",VALUE="1"\n' * 2)),
    Hostile("a variable nobody exports", _media('#EXT-X-DEFINE:IMPORT="token"\n')),
    Hostile(
        "a thousand variables",
        _media("".join(f'#EXT-X-DEFINE:NAME="v{i}",VALUE="1"\n' for i in range(1000))),
    ),
)
