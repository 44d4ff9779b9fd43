"""The AsyncAPI document of the intake, made from the models that validate it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.commands import COMMANDS as ALL_COMMANDS
from store.inbox import TYPE_PREFIX, Envelope

COMMANDS = tuple(command for command in ALL_COMMANDS if command.from_intake)
_OURS = ("kind", "tenant_id", "requested_by")


def document(version: str) -> dict[str, Any]:
    """The whole document; its schemas stand under `components`."""
    _, schema = models_json_schema(
        [(command, "validation") for command in COMMANDS] + [(Envelope, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = schema["$defs"]
    for command in COMMANDS:
        schemas[command.__name__] = _without_ours(schemas[command.__name__])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "cuttingroom intake", "version": version},
        "channels": {"intake": _channel()},
        "operations": {
            "receiveCommand": {"action": "receive", "channel": {"$ref": "#/channels/intake"}}
        },
        "components": {"schemas": schemas},
    }


def _channel() -> dict[str, Any]:
    return {
        "address": "cr:intake:{tenant}",
        "description": "A Redis stream; each entry has one field, `event`, holding this JSON.",
        "parameters": {"tenant": {"description": "The tenant's id."}},
        "messages": {command.__name__: _message(command.__name__) for command in COMMANDS},
    }


def _message(name: str) -> dict[str, Any]:
    kind = {command.__name__: command.model_fields["kind"].default for command in COMMANDS}[name]
    narrowed = {
        "type": {"const": f"{TYPE_PREFIX}{kind}"},
        "data": {"$ref": f"#/components/schemas/{name}"},
    }
    envelope = {"$ref": "#/components/schemas/Envelope"}
    return {
        "contentType": "application/cloudevents+json",
        "payload": {"allOf": [envelope, {"properties": narrowed}]},
    }


def _without_ours(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {k: v for k, v in schema["properties"].items() if k not in _OURS}
    required = [name for name in schema.get("required", []) if name not in _OURS]
    return {**schema, "properties": properties, "required": required}
