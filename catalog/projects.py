"""The repository of projects; the tenant is the first argument of every call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from catalog.ids import new_id
from catalog.project_rows import ProjectRow, ProjectTimelineRow, ProjectWriterRow
from schemas.errors import Conflict, NotFound
from schemas.projects import Project, ProjectFilter

MAX_FOLDED = 600
_SORTED: dict[str, InstrumentedAttribute[Any]] = {
    "createdAt": ProjectRow.created_ms,
    "updatedAt": ProjectRow.updated_ms,
    "title": ProjectRow.folded,
}
Position = tuple[int | str, str]


class Projects:
    """Projects of a tenant, with their timelines and everybody who wrote them."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(
        self, tenant_id: str, writer: str, *, title: str, status: str, document: str
    ) -> Project:
        """A new project; whoever wrote it is the first who contributed."""
        now = self._clock()
        row = ProjectRow(
            id=new_id("prj", now),
            tenant_id=tenant_id,
            title=title,
            folded=folded(title),
            status=status,
            created_by=writer,
            edited_by=writer,
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._session.flush()
        self._session.add(
            ProjectTimelineRow(project_id=row.id, tenant_id=tenant_id, document=document)
        )
        self._note_writer(row, writer)
        self._session.flush()
        return self._project(row)

    def get(self, tenant_id: str, project_id: str) -> Project:
        """The project, or NotFound."""
        return self._project(self._row(tenant_id, project_id))

    def document(self, tenant_id: str, project_id: str) -> str:
        """The project's timeline as it was written, or NotFound."""
        return self._timeline(tenant_id, project_id).document

    def page(
        self, tenant_id: str, wanted: ProjectFilter, after: Position | None, limit: int
    ) -> tuple[Project, ...]:
        """Up to `limit` projects in the order that is wanted, behind a position in it."""
        query = _filtered(select(ProjectRow).where(ProjectRow.tenant_id == tenant_id), wanted)
        rows = self._session.scalars(_ordered(query, wanted, after).limit(limit)).all()
        writers = self._writers(row.id for row in rows)
        return tuple(_project(row, writers.get(row.id, ())) for row in rows)

    def change(
        self,
        held: Project,
        writer: str,
        *,
        title: str | None = None,
        status: str | None = None,
        document: str | None = None,
    ) -> Project:
        """Write what is given; `held.version` is the version it was read at."""
        row = self._row(held.tenant_id, held.id)
        if row.version != held.version:
            raise Conflict("the project was changed meanwhile; read it again", code="stale")
        if title is not None:
            row.title, row.folded = title, folded(title)
        row.status = row.status if status is None else status
        if document is not None:
            self._timeline(held.tenant_id, held.id).document = document
        row.edited_by, row.updated_ms = writer, self._clock()
        row.version += 1
        self._note_writer(row, writer)
        self._session.flush()
        return self._project(row)

    def delete(self, tenant_id: str, project_id: str) -> None:
        """Forget a project; what was rendered of it stays."""
        self._session.delete(self._row(tenant_id, project_id))
        self._session.flush()

    def _row(self, tenant_id: str, project_id: str) -> ProjectRow:
        row = self._session.scalar(
            select(ProjectRow).where(ProjectRow.tenant_id == tenant_id, ProjectRow.id == project_id)
        )
        if row is None:
            raise NotFound("no such project")
        return row

    def _timeline(self, tenant_id: str, project_id: str) -> ProjectTimelineRow:
        row = self._session.scalar(
            select(ProjectTimelineRow).where(
                ProjectTimelineRow.tenant_id == tenant_id,
                ProjectTimelineRow.project_id == project_id,
            )
        )
        if row is None:
            raise NotFound("no such project")
        return row

    def _note_writer(self, row: ProjectRow, writer: str) -> None:
        if self._session.get(ProjectWriterRow, (row.id, writer)) is None:
            self._session.add(
                ProjectWriterRow(
                    project_id=row.id,
                    subject=writer,
                    tenant_id=row.tenant_id,
                    first_ms=row.updated_ms,
                )
            )

    def _writers(self, ids: Iterable[str]) -> dict[str, list[str]]:
        rows = self._session.scalars(
            select(ProjectWriterRow)
            .where(ProjectWriterRow.project_id.in_(list(ids)))
            .order_by(ProjectWriterRow.first_ms, ProjectWriterRow.subject)
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row.project_id, []).append(row.subject)
        return found

    def _project(self, row: ProjectRow) -> Project:
        return _project(row, self._writers([row.id]).get(row.id, ()))


def folded(title: str) -> str:
    """A title as it is looked for and sorted, whatever its case."""
    return title.casefold()[:MAX_FOLDED]


def position(project: Project, wanted: ProjectFilter) -> Position:
    """Where a project stands in a list of this order."""
    values: dict[str, int | str] = {
        "createdAt": project.created_ms,
        "updatedAt": project.updated_ms,
        "title": folded(project.title),
    }
    return values[wanted.sort.removeprefix("-")], project.id


def _filtered(query: Select[ProjectRow], wanted: ProjectFilter) -> Select[ProjectRow]:
    if wanted.title is not None:
        query = query.where(ProjectRow.folded.contains(wanted.title.casefold(), autoescape=True))
    if wanted.edited_by is not None:
        query = query.where(ProjectRow.edited_by == wanted.edited_by)
    if wanted.contributed_by is not None:
        wrote = select(ProjectWriterRow.project_id).where(
            ProjectWriterRow.tenant_id == ProjectRow.tenant_id,
            ProjectWriterRow.subject == wanted.contributed_by,
        )
        query = query.where(ProjectRow.id.in_(wrote))
    if wanted.status is not None:
        query = query.where(ProjectRow.status == wanted.status)
    if wanted.updated_from_ms is not None:
        query = query.where(ProjectRow.updated_ms >= wanted.updated_from_ms)
    if wanted.updated_to_ms is not None:
        query = query.where(ProjectRow.updated_ms < wanted.updated_to_ms)
    return query


def _ordered(
    query: Select[ProjectRow], wanted: ProjectFilter, after: Position | None
) -> Select[ProjectRow]:
    """Sorted by one column and then by id, so that every project has one place."""
    falls = wanted.sort.startswith("-")
    column, key = _SORTED[wanted.sort.removeprefix("-")], ProjectRow.id
    if after is not None:
        value, last = after
        beyond = column < value if falls else column > value
        behind = key < last if falls else key > last
        query = query.where(or_(beyond, and_(column == value, behind)))
    return query.order_by(*((c.desc() if falls else c.asc()) for c in (column, key)))


def _project(row: ProjectRow, writers: Sequence[str]) -> Project:
    return Project(
        id=row.id,
        tenant_id=row.tenant_id,
        title=row.title,
        status=row.status,
        created_by=row.created_by,
        edited_by=row.edited_by,
        contributed_by=tuple(writers),
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
