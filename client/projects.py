"""Projects: timelines taken in as OpenTimelineIO, told in the forms editors read, rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from client.calls import Calls
from client.moments import Gaps, Mode, OnFuture, Place, Sidecar, place
from client.values import UNSET, Given, Job, Moment, Resource, Told, given, instant, present
from schemas.projects import ProjectSort
from schemas.timelines import Warned

Form = Literal["otio", "edl", "fcpxml"]
_TYPES: dict[Form, str] = {
    "otio": "application/vnd.pixar.opentimelineio+json",
    "edl": "text/plain",
    "fcpxml": "application/xml",
}


class Project(Resource):
    """A project: `edited_by` wrote last, `contributed_by` are all who ever wrote."""

    id: str
    title: str
    status: str
    created_at: str
    updated_at: str
    created_by: str
    edited_by: str
    contributed_by: tuple[str, ...]


class Edit(Told):
    """What is seen from `at_ms` on: `start_ms` counts from where its media begins."""

    name: str
    pointer: str
    at_ms: float
    duration_ms: float
    start_ms: float
    frame_rate: str
    connector_id: str | None = None
    file_id: str | None = None
    channel_id: str | None = None


class TimelineTold(Told):
    """A timeline as it is rendered: one row of clips."""

    name: str
    kind: str
    frame_rate: str
    frames: int
    duration_ms: float
    tracks: int
    clips: int
    edits: tuple[Edit, ...]


class ProjectDetail(Project):
    """A project with its timeline, and what rendering it or a format leaves out of it."""

    timeline: TimelineTold
    warnings: tuple[Warned, ...] = ()
    format_warnings: dict[str, tuple[Warned, ...]] = {}


class ProjectFile(NamedTuple):
    """A project as an editor reads it; `warnings` says what the format leaves out."""

    data: bytes
    content_type: str
    warnings: str | None


class Projects:
    """The tenant's projects."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        title: str | None = None,
        edited_by: str | None = None,
        contributed_by: str | None = None,
        status: str | None = None,
        updated_from: Moment | None = None,
        updated_to: Moment | None = None,
        sort: ProjectSort | None = None,
    ) -> Iterator[Project]:
        """The tenant's projects, those last changed first."""
        query = {
            "title": title,
            "editedBy": edited_by,
            "contributedBy": contributed_by,
            "status": status,
            "updatedFrom": instant(updated_from),
            "updatedTo": instant(updated_to),
            "sort": sort,
        }
        return self._calls.pages(Project, "listProjects", query=query)

    def create(
        self, otio: Mapping[str, Any], *, title: str | None = None, status: str | None = None
    ) -> ProjectDetail:
        """Take in an OpenTimelineIO document."""
        query = {"title": title, "status": status}
        return self._calls.value(ProjectDetail, "createProject", query=query, body=dict(otio))

    def get(self, project_id: str) -> ProjectDetail:
        """A project with its timeline."""
        query = {"format": "json"}
        return self._calls.value(ProjectDetail, "getProject", {"id": project_id}, query=query)

    def file(self, project_id: str, form: Form) -> ProjectFile:
        """A project as an editor reads it."""
        at, said = {"id": project_id}, {"Accept": _TYPES[form]}
        reply = self._calls.reply("getProject", at, query={"format": form}, headers=said)
        kind, lost = (reply.headers.get(n) for n in ("content-type", "x-cuttingroom-warnings"))
        return ProjectFile(reply.data, kind or "", lost)

    def update(
        self,
        project_id: str,
        *,
        title: str | Given = UNSET,
        status: str | Given = UNSET,
        if_match: str | None = None,
    ) -> Project:
        """Change a project's title or status."""
        body, said = given(title=title, status=status), {"If-Match": if_match}
        return self._calls.value(
            Project, "updateProject", {"id": project_id}, body=body, headers=said
        )

    def replace_timeline(
        self, project_id: str, otio: Mapping[str, Any], *, if_match: str | None = None
    ) -> ProjectDetail:
        """Write a project's timeline anew."""
        at, said = {"id": project_id}, {"If-Match": if_match}
        return self._calls.value(
            ProjectDetail, "replaceTimeline", at, body=dict(otio), headers=said
        )

    def delete(self, project_id: str, *, if_match: str | None = None) -> None:
        """Delete a project."""
        said = {"If-Match": if_match}
        self._calls.reply("deleteProject", {"id": project_id}, headers=said)

    def render(
        self,
        project_id: str,
        to: Place | str,
        *,
        mode: Mode | None = None,
        gaps: Gaps | None = None,
        on_future: OnFuture | None = None,
        rendition_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        sidecars: Sequence[Sidecar] | None = None,
        key: str | None = None,
    ) -> Job:
        """Render a project's timeline as one file, copied wherever it can be."""
        body = present(
            destination=place(to),
            mode=mode,
            gaps=gaps,
            on_future=on_future,
            rendition_id=rendition_id,
            metadata=metadata,
            sidecars=sidecars,
        )
        return self._calls.value(Job, "renderProject", {"id": project_id}, body=body, key=key)
