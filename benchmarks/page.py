"""Writes `docs/reference/benchmarks.md` from the files in `benchmarks/results`.

python -m benchmarks.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"
WHAT = {
    "warm": "cuttingroom, a worker that is up",
    "cold": "`cuttingroom clip`, a new process",
    "copy": "ffmpeg `-c copy` on the playlist",
    "encode": "ffmpeg, all encoded again",
    "smartcut": "smartcut on the joined file",
    "limit": "the segments fetched and written once",
}
HEAD = """# Benchmarks

Every number here was taken side by side with its peers in one interleaved run; ratios say more than
seconds, which drift with the machine and with what else it does. This page is written by
`python -m benchmarks.page` from the files in `benchmarks/results`.
"""
CLIPS = """
## Clips of a 1080p stream

25 frames a second, H.264 with B-frames at 6 Mb/s, AAC, 4 s segments, keyframes 2 s apart; the clip
begins 13.48 s in. Pictures carry their numbers, so the output says itself which frames it shows:
*right* is every wanted frame and no other, none hidden behind the edit list. Memory is that of all
processes of a peer at once, shared pages counted by share. `python -m benchmarks.clip` measures it.

![Clips of a 1080p stream](../../benchmarks/results/clip.svg)
"""
COLUMNS = (
    "| length | peer | frames | time / limit | CPU / limit | s | CPU s | MB fetched | peak MB |"
)


def main() -> None:
    """Write the page."""
    parts = [HEAD]
    if clips := _read("clip.json"):
        parts += [CLIPS, *_table(clips)]
    if export := _read("export.json"):
        parts += _export(export)
    if rendition := _read("rendition.json"):
        parts += _rendition(rendition)
    if sprite := _read("sprite.json"):
        parts += _sprite(sprite)
    if epg := _read("epg.json"):
        parts += _epg(epg)
    if localize := _read("localize.json"):
        parts += _localize(localize)
    if publish := _read("publish.json"):
        parts += _publish(publish)
    if ingress := _read("ingress.json"):
        parts += _ingress(ingress)
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


def _read(name: str) -> Any:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def _export(found: dict[str, Any]) -> list[str]:
    what = {
        "export": "`cuttingroom export`, a new process",
        "concat": "ffmpeg `-c copy` a range, then concat",
        "encode": "ffmpeg, each range encoded, then concat",
    }
    low, high = found["load"]
    return [
        f"""
## Joined ranges of a stream

Ranges of {found["rangeS"]} s of a stream of {found["stream"]}, joined into one file. *Frames* are
those of the file against those that were wanted; *sound* is how much longer the sound lasts than
the pictures. Medians of {found["runs"]} interleaved rounds. `python -m benchmarks.export`
measures it.

| ranges | peer | frames / wanted | sound | time / concat | CPU / concat | s | CPU s |
|---|---|---|---|---|---|---|---|""",
        *(
            f"| {r['ranges']} | {what[r['peer']]} | {r['frames']} / {r['wanted']} "
            f"| {r['soundLongerMs']:+} ms | {r['wallRatio']} | {r['cpuRatio']} | {r['wallS']} "
            f"| {r['cpuS']} |"
            for r in found["rows"]
        ),
        f"\n{found['cores']} cores; the machine's load average was {low} to {high}.",
    ]


def _rendition(found: dict[str, Any]) -> list[str]:
    what = {"four runs": "ffmpeg, once a rung", "one run": "one ffmpeg run, as we plan it"}
    low, high = found["load"]
    return [
        f"""
## A ladder of four rungs

{found["source"]}: {found["ladder"]}, the same encoder settings everywhere. `cuttingroom render` is
the whole product in a new process: it also probes, decodes both ends of every file, hashes and
publishes. Medians of {found["rounds"]} interleaved rounds, ffmpeg {found["ffmpeg"]}.
`python -m benchmarks.rendition` measures it.

| | frames | time / four runs | CPU / four runs | s | CPU s |
|---|---|---|---|---|---|""",
        *(
            f"| {what.get(name, name)} | {found['frames'][name]} | {ratio} "
            f"| {found['cpu_ratio'][name]} | {found['wall_s'][name]} | {found['cpu_s'][name]} |"
            for name, ratio in found["wall_ratio"].items()
        ),
        f"\n{found['cores']} cores; the machine's load average was {low} to {high}.",
    ]


def _sprite(found: dict[str, Any]) -> list[str]:
    film = found["film"]
    width, height = film["size"]
    return [
        f"""
## Sprites

A picture every {film["every_s"]} s of a film of {film["minutes"]} minutes at {width}x{height};
*error* is how far the worst picture is from its time. `python -m benchmarks.sprite` measures it.

| | s | time / ffmpeg's fps filter | error s |
|---|---|---|---|""",
        *(
            f"| {name} | {took} | {found['ratio_to_ffmpeg'][name]} "
            f"| {found['largest_error_s'][name]} |"
            for name, took in found["seconds"].items()
        ),
    ]


def _epg(found: dict[str, Any]) -> list[str]:
    what = {"all": "cuttingroom, every station", "mapped": "cuttingroom, the mapped stations"}
    runs = found["runs"]
    peer = runs["py-xmltv"]
    return [
        f"""
## Reading a guide

An XMLTV file of {found["programmes"]} programmes, {found["megabytes"]} MB. *Grown* is the memory
that reading took. `python -m benchmarks.epg` measures it.

| | programmes | CPU / py-xmltv | s | CPU s | grown MB | peak MB |
|---|---|---|---|---|---|---|""",
        *(
            f"| {what.get(name, name)} | {run['count']:.0f} | {run['cpu_s'] / peer['cpu_s']:.2f} "
            f"| {run['wall_s']} | {run['cpu_s']} | {run['grown_mb']} | {run['peak_mb']} |"
            for name, run in runs.items()
        ),
    ]


def _localize(found: dict[str, Any]) -> list[str]:
    rate, size = found["bytes_per_s_a_connection"] // 10**6, found["size_mb"]
    rows = sorted(found["medians"].items(), key=lambda item: -item[1]["mb_per_s_once_up"])
    return [
        f"""
## Localizing a long file

A file of {size} MB from a loopback server that gives each connection {rate} MB/s; the number
behind a name is how many connections it may open. *Once up* is what the transfer itself took: the
rest of a run is Python starting. `python -m benchmarks.localize` measures it.

| | MB/s | once up | of the connections' limit | peak MB | CPU s |
|---|---|---|---|---|---|""",
        *(
            f"| {name} | {n['mb_per_s']:.0f} | {n['mb_per_s_once_up']:.0f} "
            f"| {n['of_limit']:.2f} | {n['peak_mb']:.0f} | {n['cpu_s']:.1f} |"
            for name, n in rows
        ),
        f"\n{found['cpus']} cores; the machine's load average was {found['load_average']}.",
    ]


def _table(found: dict[str, Any]) -> list[str]:
    rows = found["summary"]
    limits = {r["length_s"]: r for r in rows if r["peer"] == "limit"}
    loads = [s["load"] for s in found["samples"]]
    lines = [COLUMNS, "|" + "---|" * 9, *(_row(r, limits[r["length_s"]]) for r in rows)]
    told = f"{found['cpus']} cores; the machine's load average was {min(loads)} to {max(loads)}."
    return [*lines, "", told]


def _row(row: dict[str, Any], limit: dict[str, Any]) -> str:
    cells = (
        f"{row['length_s']} s", WHAT[row["peer"]], _verdict(row), row["wall_vs_limit"],
        round(row["cpu_s"] / limit["cpu_s"], 1), row["wall_s"], row["cpu_s"], row["fetched_mb"],
        row["peak_mb"],
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _verdict(row: dict[str, Any]) -> str:
    if row["peer"] == "limit":
        return "–"
    wrong = []
    extra = row["frames"] - row["wanted"]
    if extra:
        wrong.append(f"{abs(extra)} {'extra' if extra > 0 else 'missing'}")
    if row["hidden"]:
        wrong.append(f"{row['hidden']} hidden")
    if row["first_off"]:
        wrong.append(f"starts {row['first_off']:+d}")
    if row["last_off"]:
        wrong.append(f"ends {row['last_off']:+d}")
    return ", ".join(wrong) or "right"


def _publish(found: dict[str, Any]) -> list[str]:
    return [
        "",
        "## From POST to a published clip of 10 s",
        "",
        (
            f"{found['samples']} clips, one after the other, through the whole service: median "
            f"{found['p50_s']} s, {found['least_s']} to {found['most_s']} s, at a load average of "
            f"{found['load']}. `python -m benchmarks.publish` measures it."
        ),
    ]


def _ingress(found: dict[str, Any]) -> list[str]:
    inline = found["inline"]["requests_per_s"]
    what = {"ours": "cuttingroom", "inline": "FastAPI, plain dramatiq", "bare": "FastAPI, nothing"}
    lines = [
        f"| {name} | {round(found[key]['requests_per_s'] / inline, 2)} | "
        f"{round(found[key]['cpu_ms'] / found['inline']['cpu_ms'], 2)} | "
        f"{found[key]['requests_per_s']} | {found[key]['p50_ms']} | {found[key]['p99_ms']} |"
        for key, name in what.items()
    ]
    return [
        "",
        "## Accepting clips on one core",
        "",
        (
            "32 connections; ours checks the credential and stores job, event and message before "
            f"its 202. Load average {found['load']}. `python -m benchmarks.ingress` measures it."
        ),
        "",
        "| gateway | rate / plain dramatiq | CPU / plain dramatiq | a second | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


if __name__ == "__main__":
    main()
