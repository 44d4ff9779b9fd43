"""Requests to accounts and projects, made up from the document, get answers it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
# What would stop everything else: tried by tests of their own.
_ELSEWHERE = ["deleteTenant", "updateTenant"]
schema = (
    schemathesis.openapi.from_dict(DOCUMENT)
    .include(tag=["tenants", "users", "audit", "webhooks", "projects", "reporter"])
    .exclude(operation_id=_ELSEWHERE)
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    quiet = {"anonymous_rate_per_minute": 1_000_000, "login_rate_per_minute": 1_000_000}
    with a_kit(tmp_path_factory.mktemp("gateway"), **quiet) as made:
        yield made


@schema.parametrize()
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_up_from_the_document(kit: Kit, case: Case[Any]) -> None:
    given = case.as_transport_kwargs(base_url="http://test")
    headers = {**dict(given.get("headers") or {}), "X-Api-Key": kit.mine.api_key}
    content = given.get("data") if isinstance(given.get("data"), str | bytes) else None

    request = httpx.Request(
        given["method"], given["url"], params=given.get("params"), json=given.get("json"),
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
