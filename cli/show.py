"""What every command shows alike: the progress of a job, and what a clip delivered."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from schemas.jobs import FINAL, Job
from schemas.times import rfc3339


def progress_bar(console: Console) -> Progress:
    """The bar every command shows on a terminal: what is done, how far, how long."""
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
        console=console,
        disable=not console.is_terminal,
    )


def shown(bar: Progress, task: TaskID, job: Job) -> None:
    """Put the job's state on the bar."""
    words = job.state if job.state in FINAL or job.state in {"queued", "waiting"} else job.stage
    done = 1.0 if job.state == "succeeded" else job.progress
    eta = "" if job.eta_seconds is None else f"ready in about {job.eta_seconds:.0f} s"
    bar.update(task, description=words or job.state, completed=done or 0.0, eta=eta)


def show_result(result: dict[str, object], place: str, out: Console) -> None:
    """What was asked and what was delivered, for people."""
    asked, made = _part(result, "requested"), _part(result, "delivered")
    file = _part(result, "file")
    size_mb = int(str(file["size"])) / 1e6
    out.print(f"[bold]{place}[/bold]  {size_mb:.1f} MB, {_seconds(file['durationMs'])}")
    for one in _listed(asked, "ranges") or [asked]:
        if isinstance(one, dict):
            out.print(f"  asked      {_span(one)}")
    out.print(f"  delivered  {_span(made)}, {made['frames']} frames, {result['clock']} clock")
    out.print(
        f"  {result['mode']}: {_seconds(result['reencodedMs'])} encoded again, the rest copied; "
        f"sound within {result['avOffsetMs']} ms"
    )
    for note in _listed(result, "notes"):
        out.print(f"  note: {note}", markup=False)
    for gap in _listed(result, "gaps"):
        out.print(f"  gap: {gap}", markup=False)


def show_renditions(result: dict[str, object], place: str, out: Console) -> None:
    """What was made of each recipe, for people."""
    size_mb = int(str(result["bytes"])) / 1e6
    out.print(f"[bold]{place}[/bold]  {size_mb:.1f} MB in {result['files']} file(s)")
    for made in _listed(result, "renditions"):
        if isinstance(made, dict):
            out.print(f"  {_rendition_line(made)}", markup=False)
            for note in _listed(made, "notes"):
                out.print(f"    note: {note}", markup=False)
    for note in _listed(result, "notes"):
        out.print(f"  note: {note}", markup=False)


def _rendition_line(made: dict[str, object]) -> str:
    video, sounds = made.get("video"), _listed(made, "audio")
    parts = [f"{made['name']}: {_seconds(made['durationMs'])}"]
    if isinstance(video, dict):
        copied = " copied" if video["copied"] else ""
        parts.append(f"{video['codec']} {video['width']}x{video['height']}{copied}")
    for sound in sounds:
        if isinstance(sound, dict):
            copied = " copied" if sound["copied"] else ""
            parts.append(f"{sound['codec']} {sound['channels']} ch{copied}")
    return ", ".join(parts)


def _part(result: dict[str, object], name: str) -> dict[str, object]:
    part = result[name]
    return part if isinstance(part, dict) else {}


def _listed(result: dict[str, object], name: str) -> list[object]:
    found = result.get(name)
    return list(found) if isinstance(found, list | tuple) else []


def _span(part: dict[str, object]) -> str:
    start_ms, end_ms = int(str(part["startMs"])), int(str(part["endMs"]))
    return f"{rfc3339(start_ms)} to {rfc3339(end_ms)} ({_seconds(end_ms - start_ms)})"


def _seconds(ms: object) -> str:
    return f"{int(str(ms)) / 1000:.3f} s"
