"""Projects as their tenant keeps them: who wrote what, and where the timeline stands."""

from __future__ import annotations

from typing import Literal

from schemas.base import Value

ProjectSort = Literal["createdAt", "-createdAt", "updatedAt", "-updatedAt", "title", "-title"]


class Project(Value):
    """A project without its timeline; times are epoch milliseconds, `version` counts changes.

    `edited_by` is who wrote last, `contributed_by` everybody who ever did, in order of their
    first time: users and API keys, as their credential names them.
    """

    id: str
    tenant_id: str
    title: str
    status: str
    created_by: str
    edited_by: str
    contributed_by: tuple[str, ...]
    version: int
    created_ms: int
    updated_ms: int


class ProjectFilter(Value):
    """Which projects a list shows; `updated_to_ms` is out, `title` any part of one."""

    title: str | None = None
    edited_by: str | None = None
    contributed_by: str | None = None
    status: str | None = None
    updated_from_ms: int | None = None
    updated_to_ms: int | None = None
    sort: ProjectSort = "-updatedAt"
