"""Where a job's output goes, as a client names it: a connector and a path, or the media store."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from pydantic import Field, field_validator

from api_gateway.deps import Gateway
from api_gateway.problems import wrong
from api_gateway.routes.connectors import known_connector
from connectors.base import key_parts
from schemas.base import WireValue
from schemas.connectors import Destination
from schemas.errors import FieldInvalid, NotFound


class DestinationBody(WireValue):
    """A connector that can be written to, or the media store where none is named, and a path."""

    connector_id: str | None = Field(default=None, min_length=1, max_length=200)
    path: str = Field(min_length=1, max_length=900)

    @field_validator("path")
    @classmethod
    def _is_a_key(cls, path: str) -> str:
        try:
            key_parts(path)
        except FieldInvalid as error:
            raise ValueError(error.message) from error
        return path


async def destination(
    deps: Gateway, tenant_id: str, wanted: DestinationBody, folder: str
) -> Destination:
    """The destination of a command; in the media store below the tenant's own `folder`."""
    if wanted.connector_id is None:
        return Destination(key=f"{folder}/{own_folder(tenant_id)}/{wanted.path}")
    try:
        connector = await known_connector(deps, tenant_id, wanted.connector_id)
    except NotFound as error:
        where = "/destination/connectorId"
        raise wrong(where, error.message, "destination_unknown") from None
    deps.registry.require(connector.type, "writes")
    return Destination(connector=connector.ref, key=wanted.path)


def own_folder(tenant_id: str) -> str:
    """What a tenant's folder is called in every area of the media store."""
    plain = quote(tenant_id, safe="")
    return plain if plain == tenant_id else hashlib.sha256(tenant_id.encode()).hexdigest()
