"""Projects: timelines of clips, kept with who wrote them, told in the forms editors read."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, negotiation, paging
from api_gateway.answers import Answer, answer, conditional, once, page_of
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import (
    DEFAULT,
    Cursor,
    Id,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Limit,
    instant,
)
from api_gateway.patches import Lasting
from api_gateway.problems import FieldProblem, Problem
from api_gateway.routing import BodyLimits, operation, router
from catalog.engine import Transaction
from catalog.projects import Position, position
from pipelines import cut_lists, otio
from pipelines.otio import TimelineRefused
from pipelines.render import media_time
from schemas.base import WireValue
from schemas.errors import NotFound
from schemas.projects import Project, ProjectFilter, ProjectSort
from schemas.timelines import Edit, Timeline, Warned
from schemas.times import MAX_EPOCH_MS, rfc3339

projects: APIRouter = router("projects")
DOCUMENT = BodyLimits(most_bytes=4 * 1024 * 1024, depth=64)
WARNINGS_HEADER = "X-Cuttingroom-Warnings"
_KIND = "projects"
_DRAFT = "draft"
_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
_STATUS = r"^[A-Za-z][A-Za-z0-9_-]*$"
_FORMS = {
    "json": ("application/json",),
    "otio": ("application/vnd.pixar.opentimelineio+json", "application/vnd.opentimelineio+json"),
    "edl": ("text/plain", "application/x-edl"),
    "fcpxml": ("application/xml", "text/xml", "application/fcpxml+xml"),
}
_Id = Annotated[str, Field(pattern=r"^prj_[0-9a-z]{26}$")]
_BY_TIME = TypeAdapter(tuple[Annotated[int, Field(ge=0, le=MAX_EPOCH_MS)], _Id])
_BY_TITLE = TypeAdapter(tuple[Annotated[str, Field(pattern=_CONTROLS)], _Id])
Title = Annotated[str, Field(min_length=1, max_length=300, pattern=_CONTROLS)]
Status = Annotated[str, Field(min_length=1, max_length=40, pattern=_STATUS)]
_RATE = {"OTIO_SCHEMA": "RationalTime.1", "rate": 25.0}
EXAMPLE: dict[str, Any] = {
    "OTIO_SCHEMA": "Timeline.1",
    "name": "Morning highlights",
    "global_start_time": None,
    "tracks": {
        "OTIO_SCHEMA": "Stack.1",
        "children": [
            {
                "OTIO_SCHEMA": "Track.1",
                "kind": "Video",
                "children": [
                    {
                        "OTIO_SCHEMA": "Clip.2",
                        "name": "Goal",
                        "source_range": {
                            "OTIO_SCHEMA": "TimeRange.1",
                            "start_time": {**_RATE, "value": 50.0},
                            "duration": {**_RATE, "value": 250.0},
                        },
                        "media_references": {
                            "DEFAULT_MEDIA": {"OTIO_SCHEMA": "MissingReference.1"}
                        },
                        "active_media_reference_key": "DEFAULT_MEDIA",
                        "metadata": {
                            "cuttingroom": {
                                "connectorId": "con_01hx2m3n4p5q6r7s8t9v0w1x2y",
                                "fileId": "ch1/2022/02/04/range-1643957046-1643957106-clip-goal",
                            }
                        },
                    }
                ],
            }
        ],
    },
}


def _in_forms(declared: dict[str, Any]) -> dict[str, Any]:
    """A declaration whose answer comes in every form there is."""
    kinds = {kind: {"schema": {"type": "string"}} for kind, *_ in _FORMS.values()}
    told = {
        "description": "The project",
        "content": {k: v for k, v in kinds.items() if k != _FORMS["json"][0]},
        "headers": {
            WARNINGS_HEADER: {
                "description": "codes of what the form leaves out, or `none`; not with JSON",
                "schema": {"type": "string"},
            }
        },
    }
    return {**declared, "responses": {200: told, **declared["responses"]}}


class ProjectView(WireValue):
    """A project: `editedBy` wrote last, `contributedBy` are all who ever wrote."""

    id: str
    title: str
    status: str
    created_at: str
    updated_at: str
    created_by: str
    edited_by: str
    contributed_by: tuple[str, ...]
    etag: str


class ProjectPage(WireValue):
    """Some projects."""

    items: tuple[ProjectView, ...]
    next_cursor: str | None


class EditView(WireValue):
    """What is seen from `atMs` on: `startMs` counts from where its media begins."""

    name: str
    pointer: str
    at_ms: float
    duration_ms: float
    start_ms: float
    frame_rate: str
    connector_id: str | None = None
    file_id: str | None = None
    channel_id: str | None = None


class TimelineView(WireValue):
    """The timeline as it is rendered: one row of clips, layers and groups laid flat."""

    name: str
    kind: str
    frame_rate: str
    frames: int
    duration_ms: float
    tracks: int
    clips: int
    edits: tuple[EditView, ...]


class ProjectDetail(ProjectView):
    """A project with its timeline, and what rendering it or a format leaves out of it."""

    timeline: TimelineView
    warnings: tuple[Warned, ...]
    format_warnings: dict[str, tuple[Warned, ...]]


class ProjectPatch(WireValue):
    """What may be changed of a project beside its timeline."""

    title: Lasting[Title] = None
    status: Lasting[Status] = None


@projects.get(
    "/v1/projects",
    operation_id="listProjects",
    summary="The tenant's projects",
    response_model=ProjectPage,
    **operation("read", 422),
)
async def list_projects(
    deps: Deps,
    caller: Caller,
    title: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=300,
            pattern=_CONTROLS,
            description="any part of it, in any case",
        ),
    ] = None,
    edited_by: Annotated[
        str | None,
        Query(alias="editedBy", max_length=80, pattern=_CONTROLS, description="who wrote last"),
    ] = None,
    contributed_by: Annotated[
        str | None,
        Query(
            alias="contributedBy", max_length=80, pattern=_CONTROLS, description="who ever wrote"
        ),
    ] = None,
    status: Annotated[str | None, Query(max_length=40, pattern=_CONTROLS)] = None,
    updated_from: Annotated[
        str | None, Query(alias="updatedFrom", max_length=40, description="RFC 3339; is in")
    ] = None,
    updated_to: Annotated[
        str | None, Query(alias="updatedTo", max_length=40, description="RFC 3339; is out")
    ] = None,
    sort: Annotated[ProjectSort, Query(description="`-` begins with the last")] = "-updatedAt",
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Those last changed come first, unless asked otherwise."""
    wanted = ProjectFilter(
        title=title,
        edited_by=edited_by,
        contributed_by=contributed_by,
        status=status,
        updated_from_ms=instant("updatedFrom", updated_from),
        updated_to_ms=instant("updatedTo", updated_to),
        sort=sort,
    )
    kind = f"{_KIND}:{sort}"
    after = _position(paging.position(kind, cursor), sort)
    found = await deps.read(lambda tx: tx.projects.page(caller.tenant_id, wanted, after, limit + 1))
    return page_of(kind, found, limit, view, lambda last: json.dumps(position(last, wanted)))


@projects.post(
    "/v1/projects",
    operation_id="createProject",
    summary="Take in an OpenTimelineIO document as a project",
    status_code=201,
    response_model=ProjectDetail,
    **operation("jobs", 400, 409, 413, 415, 422, example=EXAMPLE, body=DOCUMENT),
)
async def create_project(
    request: Request,
    deps: Deps,
    caller: Caller,
    body: Annotated[dict[str, Any], Body()],
    title: Annotated[str | None, Query(min_length=1, max_length=300, pattern=_CONTROLS)] = None,
    status: Annotated[str, Query(min_length=1, max_length=40, pattern=_STATUS)] = _DRAFT,
    _: IdempotencyKey = None,
) -> Response:
    """The title is the timeline's name, unless another is given."""
    timeline = await in_thread(_read, body)
    await in_thread(_check_connectors, deps, caller.tenant_id, timeline)
    document = _kept(body)

    def make(tx: Transaction) -> Answer:
        made = tx.projects.create(
            caller.tenant_id,
            caller.subject,
            title=title or _as_title(timeline.name),
            status=status,
            document=document,
        )
        tag = etag.of_version(made.version)
        return answer(_detail(made, timeline), 201, Location=f"/v1/projects/{made.id}", ETag=tag)

    return await once(request, deps, caller.tenant_id, make)


@projects.get(
    "/v1/projects/{id}",
    operation_id="getProject",
    summary="A project, as JSON or as an editor reads it",
    response_model=ProjectDetail,
    **_in_forms(operation("read", 404, 406)),
)
async def get_project(
    request: Request,
    deps: Deps,
    caller: Caller,
    project_id: Id,
    format: Annotated[  # noqa: A002  it is the contract's word
        str | None,
        Query(
            max_length=20,
            description="json, otio, edl or fcpxml; the Accept header where it is left out",
        ),
    ] = None,
    accept: Annotated[str | None, Header(alias="Accept")] = None,
    _: IfNoneMatch = None,
) -> Response:
    """A file names what its format left out in the header `X-Cuttingroom-Warnings`."""
    form = negotiation.chosen(format, accept, _FORMS)
    held, document = await in_thread(_held, deps, caller.tenant_id, project_id)
    tag = etag.of_version(held.version)
    if form == "otio":
        return _as_file(request, document, form, tag, ())
    timeline = await in_thread(_stored, document)
    if form == "json":
        shown = conditional(request, _detail(held, timeline).model_dump_json().encode(), tag)
        shown.headers["Vary"] = "Accept"
        return shown
    named = timeline.model_copy(update={"name": held.title})
    write = cut_lists.edl if form == "edl" else cut_lists.fcpxml
    lost = cut_lists.dropped(named, "edl" if form == "edl" else "fcpxml")
    return _as_file(request, await in_thread(write, named), form, tag, lost)


@projects.patch(
    "/v1/projects/{id}",
    operation_id="updateProject",
    summary="Change a project's title or status",
    response_model=ProjectView,
    **operation("jobs", 400, 404, 409, 412, 413, 415, 422, example={"status": "approved"}),
)
async def update_project(
    deps: Deps, caller: Caller, project_id: Id, body: ProjectPatch, if_match: IfMatch = None
) -> Response:
    """Whoever changes it is who wrote last."""

    def change(tx: Transaction) -> Project:
        held = tx.projects.get(caller.tenant_id, project_id)
        etag.check_match(_plain(if_match), etag.of_version(held.version))
        if body.title is None and body.status is None:
            return held
        return tx.projects.change(held, caller.subject, title=body.title, status=body.status)

    changed = await deps.write(change)
    return answer(view(changed), ETag=etag.of_version(changed.version)).response


@projects.put(
    "/v1/projects/{id}/timeline",
    operation_id="replaceTimeline",
    summary="Write a project's timeline anew",
    response_model=ProjectDetail,
    **operation("jobs", 400, 404, 409, 412, 413, 415, 422, example=EXAMPLE, body=DOCUMENT),
)
async def replace_timeline(
    deps: Deps,
    caller: Caller,
    project_id: Id,
    body: Annotated[dict[str, Any], Body()],
    if_match: IfMatch = None,
) -> Response:
    """The whole OpenTimelineIO document; title and status stay."""
    await in_thread(_held, deps, caller.tenant_id, project_id)
    timeline = await in_thread(_read, body)
    await in_thread(_check_connectors, deps, caller.tenant_id, timeline)
    document = _kept(body)

    def change(tx: Transaction) -> Project:
        held = tx.projects.get(caller.tenant_id, project_id)
        etag.check_match(_plain(if_match), etag.of_version(held.version))
        return tx.projects.change(held, caller.subject, document=document)

    changed = await deps.write(change)
    return answer(_detail(changed, timeline), ETag=etag.of_version(changed.version)).response


@projects.delete(
    "/v1/projects/{id}",
    operation_id="deleteProject",
    summary="Delete a project; what was rendered of it stays",
    status_code=204,
    response_class=Response,
    **operation("jobs", 404, 412),
)
async def delete_project(
    deps: Deps, caller: Caller, project_id: Id, if_match: IfMatch = None
) -> Response:
    """Its timeline goes with it."""

    def delete(tx: Transaction) -> None:
        held = tx.projects.get(caller.tenant_id, project_id)
        etag.check_match(_plain(if_match), etag.of_version(held.version))
        tx.projects.delete(caller.tenant_id, project_id)

    await deps.write(delete)
    return Response(status_code=204)


# --- reading


def view(held: Project) -> ProjectView:
    """A project as a list shows it."""
    return ProjectView(
        id=held.id,
        title=held.title,
        status=held.status,
        created_at=rfc3339(held.created_ms),
        updated_at=rfc3339(held.updated_ms),
        created_by=held.created_by,
        edited_by=held.edited_by,
        contributed_by=held.contributed_by,
        etag=etag.of_version(held.version),
    )


def refused(error: TimelineRefused) -> Problem:
    """The problem a timeline is refused with: the pointer leads into its document."""
    found = [FieldProblem(pointer=error.pointer, message=error.reason)]
    return Problem(422, error.message, code=error.error_code, found=found)


def _read(document: dict[str, Any]) -> Timeline:
    try:
        return otio.read(document)
    except TimelineRefused as error:
        raise refused(error) from None


def _kept(body: dict[str, Any]) -> str:
    """The document as it is kept; a number that JSON cannot spell again is refused."""
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise refused(TimelineRefused("", "a number of the document is not finite")) from None


def _stored(document: str) -> Timeline:
    return otio.read(json.loads(document))


def stored_timeline(deps: Gateway, tenant_id: str, project_id: str) -> tuple[Project, Timeline]:
    """A project and its timeline, or NotFound."""
    held, document = _held(deps, tenant_id, project_id)
    return held, _stored(document)


def _held(deps: Gateway, tenant_id: str, project_id: str) -> tuple[Project, str]:
    with deps.catalog.read() as tx:
        held = tx.projects.get(tenant_id, project_id)
        return held, tx.projects.document(tenant_id, project_id)


def _check_connectors(deps: Gateway, tenant_id: str, timeline: Timeline) -> None:
    """Refuse a timeline that names connectors which are not there."""
    found = []
    with deps.catalog.read() as tx:
        for connector_id, pointer in timeline.connectors.items():
            try:
                tx.connectors.get(tenant_id, connector_id)
            except NotFound as error:
                found.append(FieldProblem(pointer=pointer, message=error.message))
    if found:
        detail = f"{found[0].pointer}: {found[0].message}"
        raise Problem(422, detail, code="connector_unknown", found=found[:50])


def _as_title(name: str) -> str:
    """A timeline's name as a title: of one line, and not too long."""
    plain = "".join(c for c in name if c.isprintable()).strip()
    return plain[:300] or "untitled"


def _position(text: str | None, sort: ProjectSort) -> Position | None:
    """Anybody can make up a cursor that passes for ours; what it says must still be a place."""
    if text is None:
        return None
    by_title = sort.endswith("title")
    try:
        return (_BY_TITLE if by_title else _BY_TIME).validate_json(text, strict=True)
    except ValidationError:
        raise paging.refused() from None


def _plain(if_match: str | None) -> str | None:
    """A tag names a version, in whichever form it was read."""
    if if_match is None:
        return None
    for form in _FORMS:
        if_match = if_match.replace(f'-{form}"', '"')
    return if_match


# --- answering


def _detail(held: Project, timeline: Timeline) -> ProjectDetail:
    return ProjectDetail(
        **dict(view(held)),
        timeline=_timeline_view(timeline),
        warnings=timeline.warnings,
        format_warnings={
            "otio": cut_lists.dropped(timeline, "otio"),
            "edl": cut_lists.dropped(timeline, "edl"),
            "fcpxml": cut_lists.dropped(timeline, "fcpxml"),
        },
    )


def _timeline_view(timeline: Timeline) -> TimelineView:
    return TimelineView(
        name=timeline.name,
        kind=timeline.kind,
        frame_rate=str(timeline.rate),
        frames=round(timeline.length * timeline.rate),
        duration_ms=_ms(timeline.length),
        tracks=timeline.tracks,
        clips=timeline.clips,
        edits=tuple(_edit_view(edit) for edit in timeline.edits),
    )


def _edit_view(edit: Edit) -> EditView:
    media = edit.media
    return EditView(
        name=edit.name,
        pointer=edit.pointer,
        at_ms=_ms(edit.at),
        duration_ms=_ms(edit.duration),
        start_ms=_ms(media_time(edit)),
        frame_rate=str(edit.rate),
        connector_id=media.connector_id if media else None,
        file_id=media.file_id if media else None,
        channel_id=media.channel_id if media else None,
    )


def _ms(seconds: Any) -> float:
    return round(float(seconds * 1000), 3)


def _as_file(
    request: Request, text: str, form: str, tag: str, lost: tuple[Warned, ...]
) -> Response:
    own = f'{tag[:-1]}-{form}"'
    headers = {"ETag": own, "Cache-Control": "no-cache", "Vary": "Accept"}
    if etag.is_known(request.headers.get("if-none-match"), own):
        return Response(status_code=304, headers=headers)
    headers[WARNINGS_HEADER] = ", ".join(dict.fromkeys(one.code for one in lost)) or "none"
    path = request.url.path
    headers["Link"] = f'<{path}?format=json>; rel="describedby"; type="application/json"'
    ending = {"otio": "otio", "edl": "edl"}.get(form, "fcpxml")
    headers["Content-Disposition"] = f'attachment; filename="timeline.{ending}"'
    return Response(text, media_type=_FORMS[form][0], headers=headers)
