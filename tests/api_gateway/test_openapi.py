"""The OpenAPI document is the one in the repository, complete, and true of the application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_gateway.openapi import text
from connectors.egress import Egress
from schemas.accounts import SCOPES
from schemas.times import parse_rfc3339
from tests.account_examples import ready
from tests.connectors.tams_store import Store, tams_store, with_plain_segments
from tests.gateway_kit import FILE_ID, Kit, a_kit, clip_path

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
CONTRACT = {
    "listApiKeys": ("get", "/v1/api-keys"),
    "createApiKey": ("post", "/v1/api-keys"),
    "updateApiKey": ("patch", "/v1/api-keys/{id}"),
    "checkConnectorAuth": ("post", "/v1/connectors/{id}/auth-check"),
    "listConnectors": ("get", "/v1/connectors"),
    "createConnector": ("post", "/v1/connectors"),
    "getConnector": ("get", "/v1/connectors/{id}"),
    "updateConnector": ("patch", "/v1/connectors/{id}"),
    "deleteConnector": ("delete", "/v1/connectors/{id}"),
    "queryConnector": ("post", "/v1/connectors/{id}/query"),
    "getSource": ("get", "/v1/connectors/{id}/files/{fileId}"),
    "listMetadataDefinitions": ("get", "/v1/connectors/{id}/metadata-definitions"),
    "listMetadata": ("get", "/v1/connectors/{id}/files/{fileId}/metadata"),
    "createMetadata": ("post", "/v1/connectors/{id}/files/{fileId}/metadata"),
    "getThumbnail": ("get", "/v1/connectors/{id}/files/{fileId}/thumbnail"),
    "listRenditions": ("get", "/v1/renditions"),
    "createRendition": ("post", "/v1/renditions"),
    "getRendition": ("get", "/v1/renditions/{id}"),
    "updateRendition": ("patch", "/v1/renditions/{id}"),
    "deleteRendition": ("delete", "/v1/renditions/{id}"),
    "createRenditionJob": ("post", "/v1/connectors/{id}/files/{fileId}/renditions"),
    "lookupStations": ("get", "/v1/epg/stations"),
    "getChannelEpg": ("get", "/v1/connectors/{id}/channels/{channelId}/epg"),
    "listDestinations": ("get", "/v1/reporter/destinations"),
    "createDestination": ("post", "/v1/reporter/destinations"),
    "getDestination": ("get", "/v1/reporter/destinations/{id}"),
    "updateDestination": ("patch", "/v1/reporter/destinations/{id}"),
    "deleteDestination": ("delete", "/v1/reporter/destinations/{id}"),
    "createUploadCredentials": ("post", "/v1/reporter/destinations/{id}/credentials"),
    "clipFromStream": ("post", "/v1/connectors/{id}/files/{fileId}/clip"),
}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, with_json_alone(operation)


def with_json_alone(operation: dict[str, Any]) -> dict[str, Any]:
    """Without the body of an operation that takes a form: it has tests of its own."""
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        return operation
    return {name: value for name, value in operation.items() if name != "requestBody"}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture(scope="module")
def document(kit: Kit) -> dict[str, Any]:
    found: dict[str, Any] = kit.get("/openapi.json", key=None).json()
    return found


def test_the_repository_holds_this_document(kit: Kit) -> None:
    assert KEPT.read_text(encoding="utf-8") == text(kit.app), (
        "python -m api_gateway.openapi > docs/reference/openapi.json"
    )


def test_operations_are_named_as_in_the_contract(document: dict[str, Any]) -> None:
    found = {o["operationId"]: (method, path) for method, path, o in operations(document)}

    assert document["openapi"] == "3.1.0"
    assert CONTRACT.items() <= found.items()


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations(document):
        assert operation["summary"], path
        assert set(operation["tags"]) <= tags
        assert ("security" in operation) == ("x-scope" in operation)
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["example"], path
        if "x-scope" in operation:
            assert {"401", "403", "429", "503"} <= operation["responses"].keys(), (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = set(_references(document))

    assert {ref.rpartition("/")[2] for ref in found} <= schemas.keys()


def test_every_example_works(tmp_path: Path, document: dict[str, Any]) -> None:
    with a_kit(tmp_path) as kit, tams_store() as store:
        places = a_place_for_each_id(kit, "mine")
        elsewhere = {"createReference": a_channel_of(kit, store)}
        for method, path, operation in operations(document):
            if "requestBody" not in operation:
                continue
            example = operation["requestBody"]["content"]["application/json"]["example"]

            body, who = ready(kit, operation["operationId"], example)
            headers = {"Authorization": who} if who.startswith("Bearer ") else {}
            key = who if who == "mine" else None
            there = filled(path, places | elsewhere.get(operation["operationId"], {}))
            answer = kit.ask(method.upper(), there, json=body, key=key, headers=headers)

            promised = [s for s in operation["responses"] if s.startswith("2")]
            assert str(answer.status_code) in promised, (path, answer.text)


def test_every_scope_opens_exactly_its_operations(tmp_path: Path, document: dict[str, Any]) -> None:
    with a_kit(tmp_path) as kit:
        secrets = {scope: kit.api_key(scope) for scope in SCOPES}
        for method, path, operation in operations(document):
            needed = operation.get("x-scope")
            if needed is None:
                continue
            unknown = dict.fromkeys(("id", "fileId"), "unknown")
            for scope, secret in secrets.items():
                status = ask(kit, method, filled(path, unknown), key=secret).status_code

                assert (status == 403) == (scope != needed), (method, path, scope, status)
            assert ask(kit, method, filled(path, unknown), key=None).status_code == 401


def test_another_tenants_ids_are_unknown_ids(tmp_path: Path, document: dict[str, Any]) -> None:
    with a_kit(tmp_path) as kit:
        theirs = a_place_for_each_id(kit, "theirs")
        walked = 0
        for method, path, operation in operations(document):
            # Accounts have ids of other kinds: test_isolation.py walks them all.
            if "{id}" not in path or path.startswith("/v1/users"):
                continue
            for other in (theirs["job"], theirs["connector"], theirs["key"], theirs["rendition"]):
                foreign = ask(kit, method, filled(path, theirs, id=other), **example(operation))
                unknown = ask(kit, method, filled(path, theirs, id="unknown"), **example(operation))

                assert foreign.status_code == unknown.status_code == 404, (method, path)
                assert told(foreign, other) == told(unknown, "unknown"), (method, path)
                walked += 1
        still_there = a_view_of_everything(kit, theirs)

    assert walked >= 24
    assert still_there == [200, 200, 200]


def a_place_for_each_id(kit: Kit, key: str) -> dict[str, str]:
    connector = kit.connector(key=key)
    job = kit.clip(connector, FILE_ID.replace("123498625", "failed"), key=key).json()["id"]
    made = kit.post("/v1/api-keys", {"name": "another"}, key=key).json()["id"]
    _fail(kit, job)
    recipe = {"name": "mine", "video": {"codec": "h264", "height": 360}}
    rendition = kit.post("/v1/renditions", recipe, key=key).json()["id"]
    receiver = {"url": "https://hooks.example.com/"}
    place = {"name": "Field", "pathTemplate": "{uploadId}/{fileName}"}
    return {
        "connector": connector,
        "job": job,
        "key": made,
        "rendition": rendition,
        "project": kit.project(key=key),
        "webhook": kit.post("/v1/webhooks", receiver, key=key).json()["id"],
        "destination": kit.post("/v1/reporter/destinations", place, key=key).json()["id"],
        **kit.annotated(connector, key=key),
        "user": kit.user("robin@example.com", "viewer", of=key).id,
        "fileId": FILE_ID,
    }


def a_channel_of(kit: Kit, store: Store) -> dict[str, str]:
    """A store's channel that holds what examples ask for, and a gateway that may ask it."""
    kit.gateway.env = replace(kit.gateway.env, egress=Egress(allow_cidrs=("127.0.0.0/8",)))
    channel = with_plain_segments(store, parse_rfc3339("2022-02-04T06:44:00Z"), 120)
    made = {"type": "tams", "name": "Store", "config": {"url": store.base}}
    return {"connector": kit.post("/v1/connectors", made).json()["id"], "channelId": channel}


def a_view_of_everything(kit: Kit, places: dict[str, str]) -> list[int]:
    paths = (
        f"/v1/connectors/{places['connector']}",
        f"/v1/jobs/{places['job']}",
        clip_path(places["connector"], FILE_ID.replace("123498625", "failed")),
    )
    return [kit.get(path, key="theirs").status_code for path in paths]


def filled(path: str, places: dict[str, str], **changes: str) -> str:
    kind = path.split("/")[2]
    own = {
        "connectors": "connector",
        "jobs": "job",
        "api-keys": "key",
        "renditions": "rendition",
        "projects": "project",
        "webhooks": "webhook",
        "metadata-views": "view",
        "metadata": "record",
        "reporter": "destination",
        "users": "user",
    }.get(kind, "")
    identity = changes.get("id") or places.get(own) or places.get("id", "unknown")
    named = path.replace("{email}", "robin@example.com").replace("{tenant}", "mine")
    named = named.replace("{channelId}", places.get("channelId", "{channelId}"))
    return named.replace("{id}", identity).replace("{fileId}", places["fileId"].replace("/", "%2F"))


def ask(kit: Kit, method: str, path: str, **options: Any) -> Any:
    if method in {"post", "patch", "put"} and "cancel" not in path:
        options.setdefault("json", {})
    return kit.ask(method.upper(), path, headers={"Accept": "application/json"}, **options)


def example(operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {"json": body["example"]} if "example" in body else {}


def told(answer: Any, identity: str) -> str:
    return str(answer.text).replace(identity, "…")


def _fail(kit: Kit, job: str) -> None:
    from store import keys

    kit.gateway.store.client.hset(keys.job(job), mapping={"state": "failed", "error": ""})


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def test_the_page_needs_nobody_else(kit: Kit) -> None:
    page = kit.get("/docs", key=None)
    parts = [kit.get(f"/docs/{name}", key=None) for name in ("page.js", "page.css")]

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert all(part.status_code == 200 for part in parts)
    assert not any("https://" in part.text or "//cdn" in part.text for part in (page, *parts))


def test_the_document_can_be_held(kit: Kit) -> None:
    first = kit.get("/openapi.json", key=None)

    again = kit.get("/openapi.json", key=None, headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert json.loads(first.text)["info"]["title"] == "cuttingroom"
