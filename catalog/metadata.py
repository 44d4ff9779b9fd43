"""The repository of metadata; the tenant is the first argument of every call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.ids import new_id
from catalog.metadata_rows import MetadataRecordRow, MetadataValueRow, MetadataViewRow
from schemas.errors import Conflict, NotFound
from schemas.metadata import KeptRecord, MetadataField, OwnView, Scalar, spelled

MAX_VIEWS = 200
MAX_RECORDS_A_FILE = 5_000
_FOLDED = 255
_WHOLE = -1


class Place(NamedTuple):
    """Whose metadata, of which source: an equal connector made later has the same fingerprint."""

    tenant_id: str
    fingerprint: str


class Position(NamedTuple):
    """Where a list in time order goes on: after this start and id."""

    start_ms: int
    id: str


class Wanted(NamedTuple):
    """What is searched for: a value of a field (in any view where none is named), or a text in
    any value."""

    view: str | None = None
    field: str | None = None
    value: str | None = None
    text: str | None = None


class Metadata:
    """Views and records of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    # --- views

    def create_view(
        self, tenant_id: str, name: str, *, timed: bool, fields: Sequence[MetadataField]
    ) -> OwnView:
        """A new view; Conflict `name_taken` where one has the name."""
        held = self._session.scalar(
            select(func.count()).where(MetadataViewRow.tenant_id == tenant_id)
        )
        if (held or 0) >= MAX_VIEWS:
            raise Conflict(f"a tenant has at most {MAX_VIEWS} views", code="too_many_views")
        now = self._clock()
        row = MetadataViewRow(
            id=new_id("mdv", now),
            tenant_id=tenant_id,
            name=name,
            timed=timed,
            fields=_written(fields),
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._flush(name)
        return _view(row)

    def view(self, tenant_id: str, view_id: str) -> OwnView:
        """The view, or NotFound."""
        return _view(self._view_row(tenant_id, view_id))

    def views(
        self, tenant_id: str, after: str | None = None, limit: int = MAX_VIEWS
    ) -> tuple[OwnView, ...]:
        """Up to `limit` views in the order they were made, after an id."""
        query = select(MetadataViewRow).where(MetadataViewRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(MetadataViewRow.id > after)
        rows = self._session.scalars(query.order_by(MetadataViewRow.id).limit(limit))
        return tuple(_view(row) for row in rows)

    def change_view(self, held: OwnView, name: str, fields: Sequence[MetadataField]) -> OwnView:
        """Store changed fields; `held.version` is the version the view was read at."""
        row = self._view_row(held.tenant_id, held.id)
        if row.version != held.version:
            raise Conflict("the view was changed meanwhile; read it again", code="stale")
        row.name, row.fields = name, _written(fields)
        row.updated_ms = self._clock()
        row.version += 1
        self._flush(name)
        return _view(row)

    def delete_view(self, tenant_id: str, view_id: str) -> None:
        """Forget a view; Conflict `view_in_use` while there are records of it."""
        row = self._view_row(tenant_id, view_id)
        used = select(MetadataRecordRow.id).where(
            MetadataRecordRow.tenant_id == tenant_id, MetadataRecordRow.view == view_id
        )
        if self._session.scalar(used.limit(1)) is not None:
            raise Conflict("there are records of this view; delete them first", code="view_in_use")
        self._session.delete(row)
        self._session.flush()

    # --- records

    def has_any(self, place: Place) -> bool:
        """Whether anything is known of any file of a source."""
        query = select(MetadataRecordRow.id).where(*_within(place)).limit(1)
        return self._session.scalar(query) is not None

    def add(
        self,
        place: Place,
        file_id: str,
        view: str,
        values: Mapping[str, Scalar],
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> KeptRecord:
        """A new record of a file."""
        held = select(func.count()).where(*_of_file(place, file_id))
        if (self._session.scalar(held) or 0) >= MAX_RECORDS_A_FILE:
            raise Conflict(
                f"a file has at most {MAX_RECORDS_A_FILE} records", code="too_many_records"
            )
        now = self._clock()
        row = MetadataRecordRow(
            id=new_id("mdr", now),
            tenant_id=place.tenant_id,
            fingerprint=place.fingerprint,
            file_hash=_hash(file_id),
            file_id=file_id,
            view=view,
            start_ms=_WHOLE if start_ms is None else start_ms,
            end_ms=end_ms,
            values=dict(values),
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._session.flush()
        self._index(row)
        return _record(row)

    def get(self, tenant_id: str, record_id: str) -> KeptRecord:
        """The record, or NotFound."""
        return _record(self._row(tenant_id, record_id))

    def change(
        self,
        held: KeptRecord,
        values: Mapping[str, Scalar],
        start_ms: int | None,
        end_ms: int | None,
    ) -> KeptRecord:
        """Store a changed record; `held.version` is the version it was read at."""
        row = self._row(held.tenant_id, held.id)
        if row.version != held.version:
            raise Conflict("the record was changed meanwhile; read it again", code="stale")
        row.values, row.end_ms = dict(values), end_ms
        row.start_ms = _WHOLE if start_ms is None else start_ms
        row.updated_ms = self._clock()
        row.version += 1
        self._session.execute(delete(MetadataValueRow).where(MetadataValueRow.record_id == row.id))
        self._index(row)
        return _record(row)

    def delete(self, tenant_id: str, record_id: str) -> None:
        """Forget a record."""
        row = self._row(tenant_id, record_id)
        self._session.execute(
            delete(MetadataValueRow).where(MetadataValueRow.record_id == record_id)
        )
        self._session.delete(row)
        self._session.flush()

    def of_file(
        self,
        place: Place,
        file_id: str,
        *,
        view: str | None = None,
        after: Position | None = None,
        limit: int = MAX_RECORDS_A_FILE,
    ) -> tuple[KeptRecord, ...]:
        """A file's records in time order, those of the whole file first."""
        query = select(MetadataRecordRow).where(*_of_file(place, file_id))
        if view is not None:
            query = query.where(MetadataRecordRow.view == view)
        return self._listed(query, after, limit)

    def whole(self, place: Place, file_id: str, limit: int) -> tuple[KeptRecord, ...]:
        """The records of a file that are of all of it."""
        query = select(MetadataRecordRow).where(
            *_of_file(place, file_id), MetadataRecordRow.start_ms == _WHOLE
        )
        return self._listed(query, None, limit)

    def within(
        self, place: Place, file_id: str, start_ms: int, end_ms: int, limit: int
    ) -> tuple[KeptRecord, ...]:
        """The timed records of a file that touch a stretch of it, in time order."""
        ends = func.coalesce(MetadataRecordRow.end_ms, MetadataRecordRow.start_ms + 1)
        query = select(MetadataRecordRow).where(
            *_of_file(place, file_id),
            MetadataRecordRow.start_ms >= 0,
            MetadataRecordRow.start_ms < end_ms,
            ends > start_ms,
        )
        return self._listed(query, None, limit)

    def search(
        self, place: Place, wanted: Wanted, after: str | None, limit: int
    ) -> tuple[KeptRecord, ...]:
        """Records of any file of a source, in the order they were made, after an id."""
        query = select(MetadataRecordRow).where(*_matching(place, wanted))
        if after is not None:
            query = query.where(MetadataRecordRow.id > after)
        rows = self._session.scalars(query.order_by(MetadataRecordRow.id).limit(limit))
        return tuple(_record(row) for row in rows)

    def files(
        self, place: Place, all_of: Sequence[Wanted], after: str | None, limit: int
    ) -> tuple[str, ...]:
        """The files of a source that have records of every kind wanted, by fileId."""
        files = select(MetadataRecordRow.file_id).where(*_within(place)).distinct()
        for wanted in all_of:
            matching = select(MetadataRecordRow.file_hash).where(*_matching(place, wanted))
            files = files.where(MetadataRecordRow.file_hash.in_(matching))
        if after is not None:
            files = files.where(MetadataRecordRow.file_id > after)
        return tuple(self._session.scalars(files.order_by(MetadataRecordRow.file_id).limit(limit)))

    def _listed(
        self, query: Select[Any], after: Position | None, limit: int
    ) -> tuple[KeptRecord, ...]:
        start, own = MetadataRecordRow.start_ms, MetadataRecordRow.id
        if after is not None:
            later = and_(start == after.start_ms, own > after.id)
            query = query.where(or_(start > after.start_ms, later))
        rows = self._session.scalars(query.order_by(start, own).limit(limit))
        return tuple(_record(row) for row in rows)

    def _index(self, row: MetadataRecordRow) -> None:
        for name, value in row.values.items():
            self._session.add(
                MetadataValueRow(
                    record_id=row.id,
                    name=name,
                    tenant_id=row.tenant_id,
                    fingerprint=row.fingerprint,
                    folded=_folded(spelled(value)),
                )
            )
        self._session.flush()

    def _row(self, tenant_id: str, record_id: str) -> MetadataRecordRow:
        row = self._session.get(MetadataRecordRow, record_id)
        if row is None or row.tenant_id != tenant_id:
            raise NotFound("no such metadata")
        return row

    def _view_row(self, tenant_id: str, view_id: str) -> MetadataViewRow:
        row = self._session.get(MetadataViewRow, view_id)
        if row is None or row.tenant_id != tenant_id:
            raise NotFound("no such view")
        return row

    def _flush(self, name: str) -> None:
        try:
            self._session.flush()
        except IntegrityError as error:
            raise Conflict(f"a view is named {name!r} already", code="name_taken") from error


def position(record: KeptRecord) -> Position:
    """Where a list in time order goes on after this record."""
    return Position(_WHOLE if record.start_ms is None else record.start_ms, record.id)


def _within(place: Place) -> tuple[ColumnElement[bool], ...]:
    return (
        MetadataRecordRow.tenant_id == place.tenant_id,
        MetadataRecordRow.fingerprint == place.fingerprint,
    )


def _of_file(place: Place, file_id: str) -> tuple[ColumnElement[bool], ...]:
    return (*_within(place), MetadataRecordRow.file_hash == _hash(file_id))


def _matching(place: Place, wanted: Wanted) -> tuple[ColumnElement[bool], ...]:
    """What a record must be to be found."""
    rules = list(_within(place))
    if wanted.view is not None:
        rules.append(MetadataRecordRow.view == wanted.view)
    if wanted.field is None and wanted.value is None and wanted.text is None:
        return tuple(rules)
    value = [
        MetadataValueRow.record_id == MetadataRecordRow.id,
        MetadataValueRow.tenant_id == place.tenant_id,
        MetadataValueRow.fingerprint == place.fingerprint,
    ]
    if wanted.field is not None:
        value.append(MetadataValueRow.name == wanted.field)
    if wanted.value is not None:
        value.append(MetadataValueRow.folded.in_(_spellings(wanted.value)))
    if wanted.text is not None:
        value.append(MetadataValueRow.folded.contains(_folded(wanted.text), autoescape=True))
    return (*rules, exists().where(*value))


def _spellings(value: str) -> tuple[str, ...]:
    """How a wanted value may be kept: as it is, or as the number it spells."""
    try:
        return _folded(value), spelled(float(value))
    except (ValueError, OverflowError):
        return (_folded(value),)


def _folded(text: str) -> str:
    return text.casefold()[:_FOLDED]


def _hash(file_id: str) -> str:
    return hashlib.sha256(file_id.encode()).hexdigest()


def _written(fields: Sequence[MetadataField]) -> list[dict[str, object]]:
    return [field.model_dump(mode="json", exclude_none=True) for field in fields]


def _view(row: MetadataViewRow) -> OwnView:
    return OwnView(
        id=row.id,
        name=row.name,
        timed=row.timed,
        fields=tuple(MetadataField.model_validate(field) for field in row.fields),
        tenant_id=row.tenant_id,
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )


def _record(row: MetadataRecordRow) -> KeptRecord:
    return KeptRecord(
        id=row.id,
        view=row.view,
        values=row.values,
        start_ms=None if row.start_ms == _WHOLE else row.start_ms,
        end_ms=row.end_ms,
        tenant_id=row.tenant_id,
        fingerprint=row.fingerprint,
        file_id=row.file_id,
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
