"""Requests to the content operations, made up from the document, on things that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from tests.gateway_kit import Kit, a_kit

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
TRIED = [
    *("queryConnector", "getSource", "listMetadataDefinitions", "searchMetadata", "listMetadata"),
    *("createMetadata", "getMetadata", "updateMetadata", "listMetadataViews"),
    *("createMetadataView", "getMetadataView", "updateMetadataView"),
]
schema = schemathesis.openapi.from_dict(DOCUMENT).include(operation_id=TRIED)
pytestmark = pytest.mark.slow
# A file, a channel that is none, and whatever was made up.
FILE_IDS = ("a.mp4", "folder/b.txt", None)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("files/a.mp4", "files/folder/b.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"words")
    quiet: dict[str, Any] = {"anonymous_rate_per_minute": 1_000_000, "source_wait_s": 0.0}
    with a_kit(folder, local_folders=(str(folder / "files"),), **quiet) as made:
        yield made


@pytest.fixture(scope="module")
def places(kit: Kit) -> dict[str, str]:
    folder = str(Path(kit.gateway.settings.data_dir) / "files")
    connector = kit.connector("Files", type="local", config={"folder": folder})
    known = kit.annotated(connector)
    return {"connectors": connector, "metadata": known["record"], "metadata-views": known["view"]}


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_up_from_the_document(
    kit: Kit, places: dict[str, str], case: Case[Any]
) -> None:
    given = case.as_transport_kwargs(base_url="http://test")
    headers = {**dict(given.get("headers") or {}), "X-Api-Key": kit.mine.api_key}
    content = given.get("data") if isinstance(given.get("data"), str | bytes) else None
    known, path = places.get(case.path.split("/")[2]), case.path
    for number, name in enumerate(case.path_parameters or {}):
        made_up = str((case.path_parameters or {})[name])
        meant = known if name == "id" else FILE_IDS[(len(made_up) + number) % len(FILE_IDS)]
        path = path.replace(f"{{{name}}}", quote(meant or made_up, safe=""))
    request = httpx.Request(
        given["method"], f"http://test{path}", params=given.get("params"), json=given.get("json"),
        content=content, headers=headers,
    )  # fmt: skip

    answer = kit.ask(
        given["method"],
        request.url.raw_path.decode(),
        content=request.content,
        headers=dict(request.headers),
    )

    case.validate_response(
        Response.from_any(answer),
        checks=[not_a_server_error, content_type_conformance, response_schema_conformance],
    )
