"""Tiny media files of many kinds, made by ffmpeg once a process: what renditions are made of."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from media.ffmpeg import locate

SECONDS = 2
_SUBTITLES = "1\n00:00:00,200 --> 00:00:01,500\nGood evening\n"
_PICTURE = f"testsrc2=s={{size}}:r={{rate}}:d={SECONDS}"
_SOUND = f"sine=f=440:r=48000:d={SECONDS}"


@dataclass(frozen=True)
class Kind:
    """How one file is made: its name, its pictures, its sound, its codecs."""

    name: str
    options: str = ""
    size: str = "128x96"
    rate: str = "25"
    picture: bool = True
    sound: str = _SOUND
    filters: str = ""


H264 = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -pix_fmt yuv420p"
AAC = "-c:a aac -b:a 64k"
_PQ = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv"
_PQ_FRAMES = (
    "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:"
    "colorspace=bt2020nc:range=tv"
)
KINDS: Mapping[str, Kind] = {
    "h264 and aac in mp4": Kind("a.mp4", f"{H264} {AAC} -movflags +faststart"),
    "h264 and aac in mpeg-ts": Kind("b.ts", f"{H264} {AAC}"),
    "h264 and ac-3 in mkv": Kind("c.mkv", f"{H264} -c:a ac3"),
    "hevc and aac in mp4": Kind(
        "d.mp4", f"-c:v libx265 -preset ultrafast -x265-params log-level=none {AAC} -tag:v hvc1"
    ),
    "vp9 and opus in webm": Kind(
        "e.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"
    ),
    "av1 and opus in mp4": Kind("f.mp4", "-c:v libsvtav1 -preset 13 -c:a libopus"),
    "mpeg-2 and mp2 in mpeg-ps": Kind("g.mpg", "-c:v mpeg2video -b:v 1M -c:a mp2 -f vob"),
    "mpeg-4 and mp3 in avi": Kind("h.avi", "-c:v mpeg4 -b:v 500k -c:a libmp3lame"),
    "prores and pcm in mov": Kind("i.mov", "-c:v prores_ks -profile:v 0 -c:a pcm_s16le"),
    "h264 and aac in flv": Kind("j.flv", f"{H264} {AAC}"),
    "odd size": Kind("k.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -an", size="129x97"),
    "pixels that are not square": Kind("l.mp4", f"{H264} {AAC}", filters="setsar=4/3"),
    "29.97 frames a second": Kind("m.mp4", f"{H264} {AAC}", rate="30000/1001"),
    "50 frames a second": Kind("n.ts", f"{H264} {AAC}", rate="50"),
    "a variable rate": Kind(
        "o.mkv", f"{H264} {AAC} -fps_mode passthrough", filters="select='not(mod(n,7)*mod(n,5))'"
    ),
    "sound only, in mp4": Kind("p.m4a", AAC, picture=False),
    "sound only, as mp3": Kind("q.mp3", "-c:a libmp3lame", picture=False),
    "sound only, as wav": Kind("r.wav", "-c:a pcm_s16le", picture=False),
    "a picture only": Kind("s.mp4", H264, sound=""),
    "10 bits": Kind(
        "t.mov", f"-c:v prores_ks -profile:v 0 {AAC}"
    ),
    "HDR, perceptual quantizer": Kind(
        "u.mkv", f"-c:v ffv1 -pix_fmt yuv420p10le {_PQ} {AAC}", filters=_PQ_FRAMES
    ),
    "HDR, its display named": Kind(
        "ua.mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:master-display="
        "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400 "
        f"{_PQ} {AAC}", filters="setparams=color_trc=smpte2084:color_primaries=bt2020",
    ),
    "interlaced": Kind(
        "v.ts", f"{H264} -flags +ilme+ildct -x264-params tff=1 {AAC}", rate="50",
        filters="tinterlace=interleave_top,fieldorder=tff",
    ),
    "six channels": Kind(
        "w.mkv", f"{H264} -c:a ac3", sound=f"aevalsrc=0.1*sin(880*t)|0|0|0|0|0:c=5.1:d={SECONDS}"
    ),
    "two channels, not alike": Kind(
        "y.wav", "-c:a pcm_s16le", picture=False,
        sound=f"aevalsrc=0.1*sin(5000*t)|0.1*sin(7000*t):s=48000:d={SECONDS}",
    ),
    "a pause in the last second": Kind(
        "za.mkv", f"{H264} {AAC} -fps_mode passthrough", filters="select='not(between(n,30,44))'"
    ),
    "times beside any rate": Kind(
        "z.mp4", f"{H264} {AAC} -enc_time_base 1:90000 -fps_mode passthrough",
        filters="settb=1/90000,setpts='(N*0.0371+0.013*sin(N))/TB'",
    ),
    "times beside any rate, in mpeg-ts": Kind(
        "zz.ts", f"{H264} {AAC} -enc_time_base 1:90000 -fps_mode passthrough",
        filters="settb=1/90000,setpts='(N*0.0371+0.013*sin(N))/TB'",
    ),
    "a silent track": Kind("x.mp4", f"{H264} {AAC}", sound=f"anullsrc=r=48000:d={SECONDS}"),
}  # fmt: skip


def ffmpeg() -> str:
    """The ffmpeg the product itself would use."""
    found = locate(None, search_path=os.environ.get("PATH", ""))
    assert found is not None
    return str(found.path)


def run(*arguments: str) -> None:
    """Run ffmpeg and let it fail loudly."""
    said = subprocess.run(
        [ffmpeg(), "-v", "error", "-nostdin", "-y", *arguments],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr.decode()[-2000:]


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where they lie, for as long as the process lives."""
    return Path(tempfile.mkdtemp(prefix="sources-"))


@lru_cache(maxsize=64)
def made(what: str) -> Path:
    """The file of a kind, made at the first call."""
    kind = KINDS[what]
    path = folder() / kind.name
    inputs: list[str] = []
    if kind.picture:
        source = _PICTURE.format(size=kind.size, rate=kind.rate)
        chain = ",".join(part for part in (source, kind.filters) if part)
        inputs += ["-f", "lavfi", "-i", chain]
    if kind.sound:
        inputs += ["-f", "lavfi", "-i", kind.sound]
    run(*inputs, *kind.options.split(), str(path))
    return path


@lru_cache(maxsize=1)
def rotated() -> Path:
    """A picture that is to be turned by a quarter."""
    path = folder() / "rotated.mp4"
    data = bytearray(made("h264 and aac in mp4").read_bytes())
    # The first track is the picture's; its matrix stands 44 bytes into a version 0 tkhd.
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@lru_cache(maxsize=1)
def mirrored() -> Path:
    """A picture that is to be shown as in a mirror."""
    path = folder() / "mirrored.mp4"
    data = bytearray(made("h264 and aac in mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", -(1 << 16), 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@lru_cache(maxsize=4)
def covered(what: str) -> Path:
    """The same, with a cover."""
    cover = folder() / "cover.jpg"
    source = made(what)
    path = folder() / f"covered-{source.name}"
    run("-f", "lavfi", "-i", "testsrc2=s=64x64:d=1", "-frames:v", "1", str(cover))
    maps = ["-map", "0", "-map", "1", "-c", "copy"]
    number = 1 if KINDS[what].picture else 0
    shown = [f"-disposition:v:{number}", "attached_pic"]
    run("-i", str(source), "-i", str(cover), *maps, *shown, str(path))
    return path


@lru_cache(maxsize=1)
def trimmed() -> Path:
    """An MP4 whose edit list hides its beginning up to the middle of a GOP."""
    path = folder() / "trimmed.mp4"
    run("-ss", "0.6", "-i", str(made("h264 and aac in mp4")), "-c", "copy", str(path))
    return path


@lru_cache(maxsize=1)
def subtitled() -> Path:
    """A picture with a text track."""
    text = folder() / "words.srt"
    text.write_text(_SUBTITLES, encoding="utf-8")
    path = folder() / "subtitled.mkv"
    source = str(made("h264 and aac in mp4"))
    run("-i", source, "-i", str(text), "-c", "copy", "-c:s", "srt", str(path))
    return path


@lru_cache(maxsize=1)
def bilingual() -> Path:
    """A picture with sound and a text track in two languages."""
    text = folder() / "both.srt"
    text.write_text(_SUBTITLES, encoding="utf-8")
    path = folder() / "bilingual.mkv"
    inputs = [
        "-i",
        str(made("h264 and aac in mp4")),
        "-f",
        "lavfi",
        "-i",
        _SOUND.replace("440", "880"),
    ]
    inputs += ["-i", str(text), "-i", str(text)]
    maps = [
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-map",
        "1:a",
        "-map",
        "2:s",
        "-map",
        "3:s",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        "-c:s",
        "srt",
    ]
    named = [
        part
        for number, language in enumerate(("eng", "deu"))
        for kind in "as"
        for part in (f"-metadata:s:{kind}:{number}", f"language={language}")
    ]
    run(*inputs, *maps, *named, str(path))
    return path


def cut_off(source: Path, share: float, name: str) -> Path:
    """The first part of a file's bytes."""
    path = folder() / name
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def reads_bitmaps() -> bool:
    """Whether this machine's ffmpeg decodes subtitles that are pictures; a small build does not."""
    said = subprocess.run(
        [ffmpeg(), "-hide_banner", "-decoders"], capture_output=True, check=True, timeout=60
    )
    return b" pgssub " in said.stdout


def with_bitmaps(path: Path) -> Path:
    """Two black seconds of Matroska, over whose first a white bar is laid as a bitmap subtitle."""
    told = path.with_suffix(".sup")
    told.write_bytes(_bar(0, shown=True) + _bar(90_000, shown=False))
    picture = "color=black:s=128x96:r=25:d=2"
    run(
        *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", _SOUND, "-i", str(told)),
        *("-map", "0", "-map", "1", "-map", "2", *H264.split(), *AAC.split()),
        *("-c:s", "copy", str(path)),
    )
    return path


def _bar(pts: int, *, shown: bool) -> bytes:
    """One display set of PGS: what is composed, and where shown its window, colours and lines."""
    width, height = 60, 20
    place = struct.pack(">HBBHH", 0, 0, 0, 32, 32) if shown else b""
    state = (0x80, 0, 0, 1) if shown else (0, 0, 0, 0)
    parts = [(0x16, struct.pack(">HHBHBBBB", 128, 96, 0x10, pts // 90_000, *state) + place)]
    parts.append((0x17, struct.pack(">BBHHHH", 1, 0, 32, 32, width, height)))
    if shown:
        lines = (b"\0" + bytes([0x80 | width]) + b"\x01" + b"\0\0") * height
        size = (len(lines) + 4).to_bytes(3, "big")
        parts.append((0x14, b"\0\0" + bytes([1, 235, 128, 128, 255])))
        parts.append((0x15, b"\0\0\0\xc0" + size + struct.pack(">HH", width, height) + lines))
    parts.append((0x80, b""))
    return b"".join(
        b"PG" + struct.pack(">IIBH", pts, 0, kind, len(data)) + data for kind, data in parts
    )
