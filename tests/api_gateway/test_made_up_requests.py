"""Requests made up from the document, to what would end tests/made_up.py: each on its own."""

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
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateway_kit import Kit, a_kit
from tests.made_up import ENDS_THE_RUN

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
schema = schemathesis.openapi.from_dict(DOCUMENT).include(operation_id=list(ENDS_THE_RUN))
# The test has credentials of its own.
schema.config.generation.update(with_security_parameters=False)
pytestmark = pytest.mark.slow
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance, negative_data_rejection),
]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    quiet = {"anonymous_rate_per_minute": 1_000_000, "login_rate_per_minute": 1_000_000}
    with a_kit(tmp_path, **quiet) as made:
        yield made


def credential(kit: Kit, case: Case[Any]) -> dict[str, str]:
    """What the operation is asked with: some are of a session alone."""
    if case.operation.definition.raw["x-scope"] == "session":
        return {"Authorization": kit.bearer()}
    return {"X-Api-Key": kit.mine.api_key}


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_up_from_the_document(kit: Kit, case: Case[Any]) -> None:
    given = case.as_transport_kwargs(base_url="http://test")
    headers = {**dict(given.get("headers") or {}), **credential(kit, case)}
    content = given.get("data") if isinstance(given.get("data"), str | bytes) else None
    request = httpx.Request(
        given["method"], given["url"], params=given.get("params"), json=given.get("json"),
        content=content, headers=headers,
    )  # fmt: skip

    answer = kit.ask(
        given["method"],
        request.url.raw_path.decode(),
        key=None,
        content=request.content,
        headers=dict(request.headers),
    )

    case.validate_response(Response.from_any(answer), checks=CHECKS)
