"""Containers are told by their first bytes, whatever the name or the header says."""

from __future__ import annotations

import pytest

from media.sniff import demuxer, sniff

TS = b"G" + bytes(187)
ADTS = bytes((0xFF, 0xF1, 0x50, 0x80, 0x01, 0x3F, 0xFC)) + b"\0\0"
ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x05" + b"TAG!!"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (TS * 5, "mpegts"),
        (TS, "mpegts"),
        ((b"\0\0\0\0" + TS) * 5, "m2ts"),
        (b"\0\0\0\x18ftypisom" + bytes(12), "mp4"),
        (b"\0\0\0\x18ftypiso5" + bytes(12), "fmp4"),
        (b"\0\0\0\x18stypmsdh" + bytes(12), "fmp4"),
        (b"\0\0\0\x68moof" + bytes(12), "fmp4"),
        (b"\0\0\0\x08wide", "mp4"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "matroska"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "webm"),
        (ADTS * 3, "adts"),
        (ID3 + ADTS * 3, "adts"),
        (ID3 + ID3 + ADTS * 3, "adts"),
        (b"\x0b\x77\0\0\0\x40\0\0", "ac3"),
        (b"\x0b\x77\0\0\0\x80\0\0", "eac3"),
        (b"\xff\xfb\x90\x64" + bytes(400), "mp3"),
        (ID3 + b"\xff\xfb\x90\x64" + bytes(400), "mp3"),
        (b"\x00\x00\x01\xba\x44", "mpegps"),
        (b"FLV\x01\x05", "flv"),
        (b"OggS\0", "ogg"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"fLaC\0", "flac"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "hls"),
        (b"\xef\xbb\xbf#EXTM3U\n", "hls"),
        (b"\n  #EXTM3U\n", "hls"),
        (b"WEBVTT\n", "webvtt"),
        (b"ffconcat version 1.0\n", "ffconcat"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "dash"),
        (b"<MPD>", "dash"),
        (b"<!DOCTYPE html><html>", "html"),
    ],
)
def test_a_container_is_told_by_its_magic(head: bytes, expected: str) -> None:
    assert sniff(head) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"G",
        b"Good morning",
        bytes(4096),
        b"\xff\xff\xff\xff" * 20,
        b"\xff\xf1\x50\x80\x00\x1f\xfc" * 3,
        TS + b"X" + bytes(187) + TS * 3,
        b"<?xml version='1.0'?><tv></tv>",
        b"RIFF\0\0\0\0EVIL",
        b"ID3",
    ],
)
def test_what_is_no_media_is_nothing(head: bytes) -> None:
    assert sniff(head) is None


def test_a_thousand_nested_tags_are_not_followed() -> None:
    assert sniff(ID3 * 1000 + ADTS) is None


@pytest.mark.parametrize("container", ["hls", "dash", "ffconcat", "html", "webvtt"])
def test_what_refers_to_other_files_has_no_demuxer(container: str) -> None:
    assert demuxer(container) is None  # type: ignore[arg-type]
