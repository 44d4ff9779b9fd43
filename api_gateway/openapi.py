"""The OpenAPI document: what FastAPI gathers, said in the contract's words."""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api_gateway.problems import FieldProblem, ProblemBody, TenantChoice
from api_gateway.routing import refusal
from connectors.sealing import new_key
from schemas.base import WireValue
from schemas.settings import Settings

_TAGS = (
    ("connectors", "Other people's storage, streams and guides."),
    ("clips", "Moments of live channels, cut to the exact frame."),
    ("renditions", "Recipes, and the files made by them."),
    ("projects", "Timelines of clips: taken in, told as editors read them, rendered."),
    ("reporter", "Uploads of people in the field: destinations, credentials, what came of them."),
    ("epg", "Programme guides: stations, schedules, and which channel is which station."),
    ("jobs", "Long work: what was asked for, how far it is, what came of it."),
    ("events", "Every change of every job, as it happens or page by page."),
    ("webhooks", "Events sent to you, signed, tried for a day; with a log of every delivery."),
    ("authentication", "API keys, log-in, second factors, recovery, sign-on."),
    ("tenants", "The tenant itself: its rules, its sign-on, its end."),
    ("users", "The people of a tenant."),
    ("audit", "Who did what, when, and from where."),
    ("service", "Is it alive, is it ready, what does it measure."),
)
_DESCRIPTION = (
    "Capture moments from live streams, cut them to the exact frame, publish them anywhere. "
    "Every refusal is an RFC 9457 problem with a stable `code`."
)
_SECURITY = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an app, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def _made(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version="1",
        openapi_version="3.1.0",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS],
    )
    components = made.setdefault("components", {})
    components["securitySchemes"] = _SECURITY
    schemas = components.setdefault("schemas", {})
    for model in (ProblemBody, FieldProblem, TenantChoice):
        schemas[model.__name__] = _schema(model)
    for path in made["paths"].values():
        for operation in path.values():
            _corrected(operation)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made


def _schema(model: type[WireValue]) -> dict[str, Any]:
    shape = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    shape.pop("$defs", None)
    return shape


def _corrected(operation: dict[str, Any]) -> None:
    """FastAPI documents its own 422 body, which we never answer with."""
    answers = operation["responses"]
    found = answers.get("422", {}).get("content", {}).get("application/json", {})
    if found.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        answers["422"] = refusal(422)


def text(app: FastAPI) -> str:
    """The document as it is kept in the repository."""
    return json.dumps(document(app), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document to standard output."""
    # The application imports this module: only the program needs the application.
    from api_gateway.app import create_app
    from api_gateway.compose import compose

    sys.stdout.write(text(create_app(compose(Settings(secret_keys=new_key()), lambda: 0))))


if __name__ == "__main__":
    main()
