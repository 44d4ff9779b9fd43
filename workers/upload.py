"""Uploads: what to gather for each phase of `pipelines.upload`; what fails is removed."""

from __future__ import annotations

from typing import Any

from media.jail import Jail
from media.probe import probe, recognised
from pipelines import upload
from pipelines.upload import UploadFacts
from schemas.commands import CheckUpload
from schemas.connectors import Published
from schemas.plans import Plan
from schemas.uploads import TakenUpload
from workers.phases import Phase, Work
from workers.receiving import removed_where_refused
from workers.run import Run
from workers.world import world_of


def nothing_new(command: CheckUpload, facts: UploadFacts, run: Run) -> UploadFacts:
    """All facts are known."""
    return facts


def look_inside(command: CheckUpload, facts: UploadFacts, run: Run) -> UploadFacts:
    """Judge what came: its bytes, what they begin like, what a jailed probe finds in them."""
    (taken,) = run.outcomes("take")
    if not isinstance(taken, TakenUpload):
        raise TypeError("the step answers what was taken")
    with removed_where_refused(command.destination, taken.intent, run):
        upload.judge_bytes(command, taken)
        path = run.workspace / taken.name
        container = upload.judged_container(command, recognised(path)[0])
        media = probe(
            world_of(run).media,
            path,
            jail=Jail(workspace=run.workspace),
            # A picture has no two ends.
            edges=container not in upload.IMAGES,
            control=run.check,
        )
        known = UploadFacts(taken=taken, container=container, media=media)
        upload.true_type(command, known)
    return known


def no_steps(command: CheckUpload, facts: UploadFacts) -> Plan:
    """Looking was all."""
    return Plan(steps=())


def result(command: CheckUpload, facts: UploadFacts, run: Run) -> dict[str, Any]:
    """What the upload turned out to be, and where it lies."""
    (published,) = run.outcomes("admit")
    if not isinstance(published, Published):
        raise TypeError("the step answers what was let in")
    return dict(upload.result(command, facts, published))


WORK: Work[CheckUpload, UploadFacts] = Work(
    command=CheckUpload,
    begin=lambda _command: UploadFacts(),
    phases=(
        Phase("take", "fetching", 60, nothing_new, upload.take_plan),
        Phase("check", "probing", 30, look_inside, no_steps),
        Phase("admit", "publishing", 10, nothing_new, upload.admit_plan),
    ),
    result=result,
)
