"""Metadata: views of fields, and what was written about files in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from client.calls import Calls, Page
from client.values import UNSET, Given, Resource, given, present, read
from schemas.metadata import MetadataField


class View(Resource):
    """A set of fields kept for a file; `timed` where each record is of a stretch of it."""

    id: str
    name: str
    timed: bool = False
    fields: tuple[MetadataField, ...]
    built_in: bool = False
    created_at: str | None = None
    updated_at: str | None = None


class Record(Resource):
    """Values of one view, for a whole file or a stretch of it."""

    id: str
    view: str
    file_id: str
    values: dict[str, Any]
    start_ms: int | None = None
    end_ms: int | None = None
    created_at: str
    updated_at: str


class Views:
    """The tenant's own views."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[View]:
        """Every view of the tenant's own."""
        return self._calls.pages(View, "listMetadataViews")

    def create(
        self, name: str, fields: Sequence[MetadataField], *, timed: bool | None = None
    ) -> View:
        """Define a view."""
        body = present(name=name, fields=fields, timed=timed)
        return self._calls.value(View, "createMetadataView", body=body)

    def get(self, view_id: str) -> View:
        """One view."""
        return self._calls.value(View, "getMetadataView", {"id": view_id})

    def update(
        self,
        view_id: str,
        *,
        name: str | Given = UNSET,
        fields: Sequence[MetadataField] | Given = UNSET,
        if_match: str | None = None,
    ) -> View:
        """Change a view."""
        body, said = given(name=name, fields=fields), {"If-Match": if_match}
        return self._calls.value(
            View, "updateMetadataView", {"id": view_id}, body=body, headers=said
        )

    def delete(self, view_id: str, *, if_match: str | None = None) -> None:
        """Delete a view."""
        said = {"If-Match": if_match}
        self._calls.reply("deleteMetadataView", {"id": view_id}, headers=said)


class Metadata:
    """What was written about files."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.views = Views(calls)

    def definitions(self, connector_id: str) -> tuple[View, ...]:
        """The views in which a connector's files are described."""
        page = self._calls.value(Page, "listMetadataDefinitions", {"id": connector_id})
        return tuple(read(View, item) for item in page.items)

    def list(self, connector_id: str, file_id: str, *, view: str | None = None) -> Iterator[Record]:
        """What was written about a file."""
        at = {"id": connector_id, "fileId": file_id}
        return self._calls.pages(Record, "listMetadata", at, query={"view": view})

    def search(
        self,
        connector_id: str,
        *,
        view: str | None = None,
        field: str | None = None,
        value: str | None = None,
        text: str | None = None,
    ) -> Iterator[Record]:
        """What was written about any file of a connector, by value."""
        query = {"view": view, "field": field, "value": value, "text": text}
        return self._calls.pages(Record, "searchMetadata", {"id": connector_id}, query=query)

    def create(
        self,
        connector_id: str,
        file_id: str,
        view: str,
        values: Mapping[str, Any],
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Record:
        """Write something about a file, or about a stretch of it."""
        body = present(view=view, values=values, start_ms=start_ms, end_ms=end_ms)
        at = {"id": connector_id, "fileId": file_id}
        return self._calls.value(Record, "createMetadata", at, body=body)

    def get(self, record_id: str) -> Record:
        """One record."""
        return self._calls.value(Record, "getMetadata", {"id": record_id})

    def update(
        self,
        record_id: str,
        *,
        values: Mapping[str, Any] | Given = UNSET,
        start_ms: int | Given | None = UNSET,
        end_ms: int | Given | None = UNSET,
        if_match: str | None = None,
    ) -> Record:
        """Merge changes into a record; a value that is None is taken away."""
        body = given(values=values, start_ms=start_ms, end_ms=end_ms)
        said = {"If-Match": if_match}
        return self._calls.value(
            Record, "updateMetadata", {"id": record_id}, body=body, headers=said
        )

    def delete(self, record_id: str, *, if_match: str | None = None) -> None:
        """Delete a record."""
        said = {"If-Match": if_match}
        self._calls.reply("deleteMetadata", {"id": record_id}, headers=said)
