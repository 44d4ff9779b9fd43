"""What was tried of renditions and what came out: data for the tests, and the table of the docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.jobs import Job
from tests import sources

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "renditions.md"
BEGIN, END = "<!-- tried: begin -->", "<!-- tried: end -->"
FAST = {"codec": "h264", "speed": "fast"}
SOUND = {"codec": "aac", "bitrate": 48_000, "channels": 1}
SMALL: dict[str, Any] = {"name": "small", "video": {**FAST, "height": 48}, "audio": SOUND}


@dataclass(frozen=True)
class Tried:
    """A source, a recipe in few words, and what must come out."""

    what: str
    outcome: str
    source: Callable[[], Path]
    recipe: dict[str, Any] = field(default_factory=lambda: SMALL)
    wanted: str = "H.264 of 48 lines, AAC"
    note: str = ""


def _kind(what: str) -> Callable[[], Path]:
    return lambda: sources.made(what)


def _video(**changes: Any) -> dict[str, Any]:
    return {"name": "small", "video": {**FAST, **changes}, "audio": SOUND}


def _bytes(name: str, data: bytes) -> Callable[[], Path]:
    def write() -> Path:
        path = sources.folder() / name
        path.write_bytes(data)
        return path

    return write


def _named(what: str, name: str) -> Callable[[], Path]:
    def copy() -> Path:
        path = sources.folder() / name
        path.write_bytes(sources.made(what).read_bytes())
        return path

    return copy


_SAME = "h264 64x48 at 25; aac 1 ch; 2000 ms"
_PLAIN: Mapping[str, str] = {
    "h264 and aac in mp4": _SAME,
    "h264 and aac in mpeg-ts": _SAME,
    "h264 and ac-3 in mkv": _SAME,
    "hevc and aac in mp4": _SAME,
    "vp9 and opus in webm": _SAME,
    "av1 and opus in mp4": _SAME,
    "mpeg-2 and mp2 in mpeg-ps": _SAME,
    "mpeg-4 and mp3 in avi": "h264 64x48 at 25; aac 1 ch; 2040 ms",
    "prores and pcm in mov": _SAME,
    "h264 and aac in flv": _SAME,
    "odd size": "h264 64x48 at 25; no sound; 2000 ms",
    "pixels that are not square": "h264 86x48 at 25; aac 1 ch; 2000 ms",
    "29.97 frames a second": "h264 64x48 at 30000/1001; aac 1 ch; 2002 ms",
    "50 frames a second": "h264 64x48 at 50; aac 1 ch; 2000 ms",
    "a variable rate": _SAME,
    "sound only, in mp4": "no picture; aac 1 ch; 2000 ms",
    "sound only, as mp3": "no picture; aac 1 ch; 2040 ms",
    "sound only, as wav": "no picture; aac 1 ch; 2000 ms",
    "a picture only": "h264 64x48 at 25; no sound; 2000 ms",
    "10 bits": _SAME,
    "HDR, perceptual quantizer": "h264 64x48 at 25, smpte2084; aac 1 ch; 2000 ms",
    "interlaced": _SAME,
    "six channels": _SAME,
    "a silent track": _SAME,
}
_MP4 = _kind("h264 and aac in mp4")
_SHAPES = (
    Tried("a quarter turn", "h264 36x48 at 25; aac 1 ch; 2000 ms", sources.rotated),
    Tried(
        "a quarter turn, kept",
        "h264 64x48 at 25 turned 270; aac 1 ch; 2000 ms",
        sources.rotated,
        _video(height=48, rotation="keep"),
        "rotation kept",
    ),
    Tried("128x96", "h264 64x64 at 25; aac 1 ch; 2000 ms", _MP4,
          _video(width=64, height=64, fit="crop"), "square crop"),
    Tried("128x96", "h264 54x96 at 25; aac 1 ch; 2000 ms", _MP4,
          _video(width=1080, height=1920, fit="crop"), "vertical crop of more than there is"),
    Tried("128x96", "h264 128x64 at 25; aac 1 ch; 2000 ms", _MP4,
          _video(width=128, height=64, fit="pad"), "bars at the sides"),
    Tried("128x96", "h264 160x120 at 25; aac 1 ch; 2000 ms", _MP4,
          _video(height=120, upscale=True), "more pixels than there are, permitted"),
    Tried("129x97", "h264 128x96 at 25; no sound; 2000 ms", _kind("odd size"),
          _video(), "its own size"),
    Tried("128x96 at 25", "h264 64x48 at 50; aac 1 ch; 2000 ms", _MP4,
          _video(height=48, fps=50), "50 frames a second"),
    Tried("50 frames a second", "h264 64x48 at 25; aac 1 ch; 2000 ms", _kind("50 frames a second"),
          _video(height=48, fps=25), "25 frames a second"),
)  # fmt: skip
_CODECS = (
    Tried("128x96", "hevc 64x48 at 25; aac 1 ch; 2000 ms", _MP4,
          _video(codec="hevc", height=48), "HEVC"),
    Tried("10 bits", "hevc 64x48 at 25 in 10 bits; aac 1 ch; 2000 ms", _kind("10 bits"),
          _video(codec="hevc", height=48), "HEVC"),
    Tried("128x96", "av1 86x64 at 25; opus 1 ch; 2000 ms",
          _MP4, {"name": "a", "video": {"codec": "av1", "height": 64, "speed": "fast"},
                 "audio": {"codec": "opus", "bitrate": 64_000}}, "AV1 and Opus in MP4"),
    Tried("128x96", "vp9 64x48 at 25; opus 1 ch; 2000 ms",
          _MP4, {"name": "v", "container": "webm",
                 "video": {"codec": "vp9", "height": 48, "speed": "fast"},
                 "audio": {"codec": "opus", "bitrate": 64_000}}, "VP9 and Opus in WebM"),
    Tried("HDR, perceptual quantizer", "hevc 64x48 at 25 in 10 bits, smpte2084; aac 1 ch; 2000 ms",
          _kind("HDR, perceptual quantizer"), _video(codec="hevc", height=48), "HEVC, tags kept"),
    Tried("HDR, perceptual quantizer", "h264 64x48 at 25, bt709; aac 1 ch; 2000 ms",
          _kind("HDR, perceptual quantizer"), _video(height=48, toneMap="sdr"), "tone-mapped"),
    Tried("128x96", "h264 128x96 at 25 copied; aac 1 ch copied; 2000 ms", _MP4,
          {"name": "same", "video": {"codec": "h264"}, "audio": {"codec": "aac"}},
          "H.264 and AAC, which it is"),
    Tried("mpeg-ts", "h264 128x96 at 25 copied; aac 1 ch copied; 2000 ms",
          _kind("h264 and aac in mpeg-ts"),
          {"name": "same", "container": "mkv", "video": {"codec": "h264"},
           "audio": {"codec": "aac"}}, "H.264 and AAC in MKV"),
    Tried("six channels", "no picture; opus 6 ch; 20", _kind("six channels"),
          {"name": "s", "container": "mkv",
           "audio": {"codec": "opus", "channels": 6, "bitrate": 256_000}}, "Opus, six channels"),
    Tried("a silent track", "no picture; aac 1 ch; 2000 ms", _kind("a silent track"),
          {"name": "s", "audio": {**SOUND, "loudnessLufs": -23}}, "-23 LUFS", "silent"),
)  # fmt: skip
_ODD = (
    Tried("a cover beside sound, as mp3", "no picture; aac 1 ch; 2040 ms",
          lambda: sources.covered("sound only, as mp3")),
    Tried("a cover beside sound, in mp4", "no picture; aac 1 ch; 2000 ms",
          lambda: sources.covered("sound only, in mp4")),
    Tried("a cover beside a picture", _SAME, lambda: sources.covered("h264 and aac in mp4")),
    Tried("an edit list that hides the beginning", "h264 64x48 at 25; aac 1 ch; 1400 ms",
          sources.trimmed),
    Tried("a mirrored picture, kept", "h264 64x48 at 25 turned 180 and mirrored; aac 1 ch; 2000 ms",
          sources.mirrored, _video(height=48, rotation="keep"), "rotation kept"),
    Tried("times beside any rate, in mpeg-ts", "h264 64x48 at 27; aac 1 ch; 1842 ms",
          _kind("times beside any rate, in mpeg-ts"), note="names no rate"),
)  # fmt: skip
_REFUSED = (
    Tried("sound only", "media_invalid", _kind("sound only, as wav"),
          {"name": "v", "video": {**FAST, "height": 48}}, "only a picture", "has none"),
    Tried("a picture only", "media_invalid", _kind("a picture only"),
          {"name": "a", "audio": SOUND}, "only sound", "has none"),
    Tried("no byte", "media_invalid", _bytes("empty.mp4", b""), note="empty"),
    Tried("a text named .mp4", "media_invalid", _bytes("text.mp4", b"hello " * 500),
          note="no media"),
    Tried("a playlist named .mp4", "media_invalid",
          _bytes("list.mp4", b"#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n"), note="a playlist"),
    Tried("an mp4 named .txt", _SAME, _named("h264 and aac in mp4", "film.txt")),
    Tried("an mp4 named .ts", _SAME, _named("h264 and aac in mp4", "film.ts")),
    Tried("an mp4 cut off, its index in front", "media_invalid",
          lambda: sources.cut_off(sources.made("h264 and aac in mp4"), 0.4, "front.mp4"),
          note="cut off"),
    Tried("an mp4 cut off, its index gone", "media_invalid",
          lambda: sources.cut_off(sources.made("h264 and ac-3 in mkv"), 0.001, "gone.mkv")),
    Tried("an mkv cut off", "media_invalid",
          lambda: sources.cut_off(sources.made("h264 and ac-3 in mkv"), 0.4, "cut.mkv"),
          note="cut off"),
    Tried("a webm cut off", "media_invalid",
          lambda: sources.cut_off(sources.made("vp9 and opus in webm"), 0.4, "cut.webm"),
          note="cut off"),
    Tried("an avi cut off", "media_invalid",
          lambda: sources.cut_off(sources.made("mpeg-4 and mp3 in avi"), 0.2, "cut.avi"),
          note="cut off"),
    Tried("a wav cut off", "media_invalid",
          lambda: sources.cut_off(sources.made("sound only, as wav"), 0.5, "cut.wav"),
          note="cut off"),
    Tried("an flv cut off", "media_invalid",
          lambda: sources.cut_off(sources.made("h264 and aac in flv"), 0.4, "cut.flv"),
          note="cut off"),
    Tried("an mpeg-ts cut off", "h264 64x48 at 25; aac 1 ch; shorter",
          lambda: sources.cut_off(sources.made("h264 and aac in mpeg-ts"), 0.6, "cut.ts")),
)  # fmt: skip
TRIED: tuple[Tried, ...] = (
    *(Tried(what, outcome, _kind(what)) for what, outcome in _PLAIN.items()),
    *_SHAPES,
    *_CODECS,
    *_ODD,
    *_REFUSED,
)


def outcome_of(job: Job, transfer: str | None, deep: bool, turned: str) -> str:
    """A job in few words."""
    if job.state != "succeeded" or job.result is None:
        return job.error.code if job.error else job.state
    made = job.result["renditions"][0]
    sounds = [f"{s['codec']} {s['channels']} ch{_copied(s)}" for s in made["audio"]]
    picture = _picture(made["video"], transfer, deep, turned)
    return "; ".join((picture, ", ".join(sounds) or "no sound", f"{made['durationMs']} ms"))


def _picture(video: dict[str, Any] | None, transfer: str | None, deep: bool, turned: str) -> str:
    if video is None:
        return "no picture"
    told = f"{video['codec']} {video['width']}x{video['height']}"
    told += f" at {video['frameRate'].removesuffix('/1')}{_copied(video)}"
    told += turned
    told += " in 10 bits" if deep else ""
    return told + (f", {transfer}" if transfer else "")


def _copied(part: dict[str, Any]) -> str:
    return " copied" if part["copied"] else ""


def table() -> str:
    """The table of the docs."""
    rows = ["| source | asked for | outcome |", "|---|---|---|"]
    rows += [f"| {one.what} | {one.wanted} | {one.outcome} |" for one in TRIED]
    return "\n".join(rows)


def page_with_table(page: str) -> str:
    """The page, its table made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
