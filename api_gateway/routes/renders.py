"""Rendering a project: its timeline through the export pipeline, as one file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import Field, field_validator
from starlette.responses import Response

from api_gateway.annotations import by_parts
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.destination import destination
from api_gateway.jobviews import JobView, job_answer
from api_gateway.params import Id, IdempotencyKey
from api_gateway.problems import about, wrong
from api_gateway.routes.connectors import known_connector
from api_gateway.routes.exports import ExportDestination, check_parts, one_recipe
from api_gateway.routes.projects import refused, stored_timeline
from api_gateway.routing import operation, router
from pipelines import render
from pipelines.otio import TimelineRefused
from schemas.base import WireValue
from schemas.commands import MAX_METADATA_BYTES, ExportPart, ExportSegment, Sidecar
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.errors import NotFound
from schemas.projects import Project
from schemas.timelines import Timeline

renders: APIRouter = router("projects")
_MAX_NOTES = 20
_MAX_METADATA_FIELDS = 200


class RenderBody(WireValue):
    """Where the file goes, and how it is made.

    `gaps` says what media that is missing becomes. Gaps of the timeline itself follow it too: they
    are left out with `skip`, hold the frame before them with `hold`, and are black otherwise.
    """

    destination: ExportDestination
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    rendition_id: str | None = Field(default=None, min_length=1, max_length=200)
    metadata: dict[str, str] = Field(default={}, max_length=_MAX_METADATA_FIELDS)
    sidecars: tuple[Sidecar, ...] = Field(default=("json", "xmp"), max_length=6)

    @field_validator("metadata")
    @classmethod
    def _bounded(cls, metadata: dict[str, str]) -> dict[str, str]:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"metadata is {size} bytes, above {MAX_METADATA_BYTES}")
        return metadata


@renders.post(
    "/v1/projects/{id}/render",
    operation_id="renderProject",
    summary="Render a project's timeline as one file, copied wherever it can be",
    status_code=202,
    response_model=JobView,
    **operation(
        "jobs",
        400,
        404,
        409,
        413,
        415,
        422,
        425,
        501,
        example={"destination": {"path": "{date}/{title}-{id}.mp4"}, "gaps": "black"},
    ),
)
async def render_project(
    deps: Deps,
    caller: Caller,
    project_id: Id,
    body: RenderBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The timeline as it stands now: what is written later changes nothing of the job."""
    held, timeline = await in_thread(stored_timeline, deps, caller.tenant_id, project_id)
    parts = await _parts(deps, caller.tenant_id, timeline, body)
    streamed = tuple(part for part in parts if part.file_id is None)
    if streamed:
        with about("#path/id"):
            check_parts(deps.settings, streamed, body.on_future, deps.clock())
    check_length(timeline, deps.settings.max_clip_ms)
    recipe = await in_thread(one_recipe, deps, caller.tenant_id, body.rendition_id)
    to = await destination(deps, caller.tenant_id, body.destination, "exports")
    if parts[0].file_id is not None:
        to = to.model_copy(update={"key": dated(to.key, deps.clock())})
    command = ExportSegment(
        tenant_id=caller.tenant_id,
        requested_by=caller.subject,
        request=_words(held, body, parts),
        connector=parts[0].connector,
        channel_id=parts[0].channel_id,
        parts=parts,
        mode=body.mode,
        gaps=body.gaps,
        on_future=body.on_future,
        metadata=body.metadata,
        carried=await by_parts(deps, caller.tenant_id, parts),
        sidecars=tuple(dict.fromkeys(body.sidecars)),
        title=held.title,
        rendition_id=body.rendition_id,
        recipe=recipe,
        notes=_notes(timeline),
        destination=to,
    )
    accepted = await in_thread(
        deps.jobs.accept,
        command,
        idempotency_key=idempotency_key,
        body_hash=f"render\n{held.id}\n{body.model_dump_json()}",
    )
    return job_answer(accepted.job)


def dated(template: str, now_ms: int) -> str:
    """The path of a timeline that begins with a file, which is of no day: this one stands for it.

    >>> dated("{date}/{time}-{title}.mp4", 1643957046000)
    '2022-02-04/064406-{title}.mp4'
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return template.replace("{date}", f"{now:%Y-%m-%d}").replace("{time}", f"{now:%H%M%S}")


def check_length(timeline: Timeline, most_ms: int) -> None:
    """Refuse a timeline that is longer than any file may be."""
    length_ms = round(timeline.length * 1000)
    if length_ms > most_ms:
        message = f"the timeline is {length_ms} ms long; at most {most_ms} ms"
        raise wrong("#path/id", message, "too_long")


async def _parts(
    deps: Gateway, tenant_id: str, timeline: Timeline, body: RenderBody
) -> tuple[ExportPart, ...]:
    sources = await _sources(deps, tenant_id, timeline)
    try:
        return await in_thread(render.parts, timeline, sources, body.gaps)
    except TimelineRefused as error:
        raise refused(error) from None


async def _sources(deps: Gateway, tenant_id: str, timeline: Timeline) -> dict[str, render.Source]:
    """Every connector that a clip which is seen names; 422 where one is gone."""
    named = {e.media.connector_id: e.pointer for e in reversed(timeline.edits) if e.media}
    found = {}
    for connector_id, pointer in named.items():
        try:
            connector = await known_connector(deps, tenant_id, connector_id)
        except NotFound as error:
            raise wrong(pointer, error.message, "connector_unknown") from None
        capabilities = deps.registry.capabilities(connector.type)
        found[connector_id] = render.Source(
            ref=connector.ref, streams="live" in capabilities, files="reads" in capabilities
        )
    return found


def _notes(timeline: Timeline) -> tuple[str, ...]:
    """What of the timeline is not in the file, once a kind."""
    return tuple(dict.fromkeys(one.message for one in timeline.warnings))[:_MAX_NOTES]


def _words(held: Project, body: RenderBody, parts: tuple[ExportPart, ...]) -> dict[str, Any]:
    """The request as it is echoed in the job, with what it came to."""
    resolved = [
        {
            "connectorId": part.connector.id,
            ("fileId" if part.file_id else "channelId"): part.file_id or part.channel_id,
            "startMs": part.range.start_ms,
            "endMs": part.range.end_ms,
        }
        for part in parts
    ]
    said = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**said, "projectId": held.id, "version": held.version, "resolvedRanges": resolved}
