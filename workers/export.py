"""Exports of ranges of channels: what to gather for each phase of `pipelines.export`."""

from __future__ import annotations

import hashlib
from typing import Any

from pipelines import export
from pipelines.clip import ClipFacts
from pipelines.export import ExportFacts
from schemas.commands import ExportSegment
from schemas.connectors import Published
from schemas.cuts import CutReport
from workers import cutting
from workers.clip import follow
from workers.fetching import arrived
from workers.phases import Phase, Work
from workers.run import Run


def read_playlists(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Read the playlists of every channel once more."""
    channels = export.channels(command)
    known = facts.channels or tuple(ClipFacts() for _ in channels)
    read = tuple(
        follow(
            channel.connector,
            channel.channel_id,
            before,
            run,
            channel.due_ms,
            channel.prefix,
            lambda found: export.wanted_sources(command, found),
        )
        for channel, before in zip(channels, known, strict=True)
    )
    return facts.model_copy(update={"job_id": run.lease.job_id, "channels": read})


def gather_index(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Index what has arrived of every part."""
    sizes = arrived(run.workspace)
    known = facts.model_copy(
        update={"channels": tuple(c.model_copy(update={"sizes": sizes}) for c in facts.channels)}
    )
    requests = export.cut_requests(command, known)
    indexes = tuple(cutting.index(request, run) for request in requests)
    return known.model_copy(update={"requests": requests, "indexes": indexes})


def see_report(command: ExportSegment, facts: ExportFacts, run: Run) -> ExportFacts:
    """Take in what the cut really made, measured and hashed."""
    with (run.workspace / export.OUTPUT).open("rb") as made:
        digest, size = hashlib.file_digest(made, "sha256"), made.tell()
    told = {"report": _report(run), "sha256": digest.hexdigest(), "size": size}
    return facts.model_copy(update=told)


def result(command: ExportSegment, facts: ExportFacts, run: Run) -> dict[str, Any]:
    """The result of the contract."""
    published = [o for o in run.outcomes("publish") if isinstance(o, Published)]
    answer = export.result(command, _report(run), published)
    return answer.model_dump(mode="json", by_alias=True)


def _report(run: Run) -> CutReport:
    (report,) = run.outcomes("cut")
    if not isinstance(report, CutReport):
        raise TypeError("the cut step answers a report")
    return report


WORK: Work[ExportSegment, ExportFacts] = Work(
    command=ExportSegment,
    begin=lambda _command: ExportFacts(),
    phases=(
        Phase("fetch", "fetching", 50, read_playlists, export.fetch_plan, export.look_again_ms),
        Phase("cut", "cutting", 40, gather_index, export.plan_cut),
        Phase("publish", "publishing", 10, see_report, export.publish_plan),
    ),
    result=result,
)
