"""The repository of renditions; the tenant is the first argument of every call."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.ids import new_id
from catalog.models import RenditionRow
from schemas.errors import Conflict, NotFound
from schemas.profiles import Profile
from schemas.renditions import Rendition


class Renditions:
    """Named recipes of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(self, tenant_id: str, recipe: Profile) -> Rendition:
        """A new rendition; Conflict `name_taken` where one has the name."""
        now = self._clock()
        row = RenditionRow(
            id=new_id("ren", now),
            tenant_id=tenant_id,
            name=recipe.name,
            recipe=_written(recipe),
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._flush(recipe.name)
        return _rendition(row)

    def get(self, tenant_id: str, rendition_id: str) -> Rendition:
        """The rendition, or NotFound."""
        return _rendition(self._row(tenant_id, rendition_id))

    def page(self, tenant_id: str, after: str | None, limit: int) -> tuple[Rendition, ...]:
        """Up to `limit` renditions in the order they were made, after an id."""
        query = select(RenditionRow).where(RenditionRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(RenditionRow.id > after)
        rows = self._session.scalars(query.order_by(RenditionRow.id).limit(limit))
        return tuple(_rendition(row) for row in rows)

    def change(self, held: Rendition, recipe: Profile) -> Rendition:
        """Store a changed recipe; `held.version` is the version it was read at."""
        row = self._row(held.tenant_id, held.id)
        if row.version != held.version:
            raise Conflict("the rendition was changed meanwhile; read it again", code="stale")
        row.name, row.recipe = recipe.name, _written(recipe)
        row.updated_ms = self._clock()
        row.version += 1
        self._flush(recipe.name)
        return _rendition(row)

    def delete(self, tenant_id: str, rendition_id: str) -> None:
        """Forget a rendition; what was made by it stays."""
        self._session.delete(self._row(tenant_id, rendition_id))
        self._session.flush()

    def _row(self, tenant_id: str, rendition_id: str) -> RenditionRow:
        row = self._session.scalar(
            select(RenditionRow).where(
                RenditionRow.tenant_id == tenant_id, RenditionRow.id == rendition_id
            )
        )
        if row is None:
            raise NotFound("no such rendition")
        return row

    def _flush(self, name: str) -> None:
        try:
            self._session.flush()
        except IntegrityError as error:
            raise Conflict(f"a rendition is named {name!r} already", code="name_taken") from error


def _written(recipe: Profile) -> dict[str, object]:
    return recipe.model_dump(mode="json", by_alias=True)


def _rendition(row: RenditionRow) -> Rendition:
    return Rendition(
        id=row.id,
        tenant_id=row.tenant_id,
        recipe=Profile.model_validate(row.recipe),
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
