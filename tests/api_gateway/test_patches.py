"""What null does in a patch: it removes what may be missing, and is refused for anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway_kit import Kit, a_kit
from tests.made_up import DOCUMENT

REMOVABLE = {
    "updateDestination": {"connectorId", "maxBytes", "allowedTypes"},
    "updateMetadata": {"startMs", "endMs"},
    "updateWebhook": {"events"},
}


def patches() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation that takes a patch of named fields: its id, path and fields."""
    document = json.loads(DOCUMENT.read_text())
    for path, methods in document["paths"].items():
        content = methods.get("patch", {}).get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if "$ref" in schema:
            model = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            yield methods["patch"]["operationId"], path, model["properties"]


PATCHES = tuple(patches())


def str_of(value: object) -> str:
    return value if isinstance(value, str) else "fields"


def takes_null(schema: dict[str, Any]) -> bool:
    return {"type": "null"} in schema.get("anyOf", [])


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway")) as made:
        yield made


def test_every_patch_with_named_fields_is_walked() -> None:
    assert {operation for operation, _, _ in PATCHES} == {
        "updateApiKey",
        "updateConnector",
        "updateDestination",
        "updateMetadata",
        "updateMetadataView",
        "updateProject",
        "updateTenant",
        "updateUser",
        "updateUserByEmail",
        "updateWebhook",
    }


@pytest.mark.parametrize(("operation", "path", "fields"), PATCHES, ids=str_of)
def test_the_document_permits_null_where_it_removes(
    operation: str, path: str, fields: dict[str, Any]
) -> None:
    found = {name for name, schema in fields.items() if takes_null(schema)}

    assert found == REMOVABLE.get(operation, set()), path


@pytest.mark.parametrize(("operation", "path", "fields"), PATCHES, ids=str_of)
def test_null_is_refused_by_name_where_nothing_can_be_removed(
    kit: Kit, operation: str, path: str, fields: dict[str, Any]
) -> None:
    there = path.replace("{id}", "nothing").replace("{email}", "nobody@example.com")
    for name, schema in fields.items():
        answer = kit.patch(there, {name: None})

        if takes_null(schema):
            assert answer.status_code == 404, (operation, name)
        else:
            told = answer.json()
            assert (answer.status_code, told["code"]) == (422, "invalid"), (operation, name)
            assert [one["pointer"] for one in told["errors"]] == [f"/{name}"]


def test_a_name_is_kept_when_its_removal_was_refused(kit: Kit) -> None:
    made = kit.connector("Kept")

    answer = kit.patch(f"/v1/connectors/{made}", {"name": None})

    assert answer.json()["errors"] == [
        {"pointer": "/name", "message": "cannot be removed; leave it out to keep it"}
    ]
    assert kit.get(f"/v1/connectors/{made}").json()["name"] == "Kept"


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"video": {"codec": None}}, "/video/codec"),
        ({"video": {"bit_depth": 8}}, "/video/bit_depth"),
        ({"segmentMs": "6000"}, "/segmentMs"),
    ],
    ids=["a name", "a codec", "a name of code", "a number as text"],
)
def test_a_recipe_is_judged_whole_after_its_patch(
    kit: Kit, patch: dict[str, Any], pointer: str
) -> None:
    recipe = {"name": f"of {pointer}", "video": {"codec": "h264", "fps": "30000/1001"}}
    made = kit.post("/v1/renditions", recipe)

    answer = kit.patch(made.headers["location"], patch)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_an_upload_destination_goes_back_to_the_media_store(kit: Kit) -> None:
    files = kit.connector(
        "Bucket",
        type="s3",
        config={"bucket": "field", "region": "eu-west-1"},
        auth={"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "kept"},
    )
    wanted = {"name": "Phones", "connectorId": files, "pathTemplate": "in/{fileName}"}
    made = kit.post("/v1/reporter/destinations", wanted)
    assert made.status_code == 201, made.text

    answer = kit.patch(made.headers["location"], {"connectorId": None})

    assert (answer.status_code, answer.json()["connectorId"]) == (200, None)
