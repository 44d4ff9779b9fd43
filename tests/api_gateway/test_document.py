"""The OpenAPI document passes two validators and makes a client that works."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.gateway_kit import Kit

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return found


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    found = list(OpenAPIV31SpecValidator(document).iter_errors())

    assert [error.message for error in found] == []


def test_every_schema_is_valid_json_schema(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        whole = {**schema, "components": document["components"]}

        assert jsonschema_rs.meta.is_valid(schema), name
        jsonschema_rs.Draft202012Validator(whole)


@pytest.mark.slow
def test_a_generated_client_works(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "client" / "cuttingroom_client"
    target.parent.mkdir()
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none",
         "--path", str(KEPT), "--output-path", str(target)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    # What a generator cannot read it leaves out with no more than a word.
    assert "WARNING" not in made.stdout + made.stderr
    assert "Unable" not in made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(target.parent))
    package: Any = importlib.import_module("cuttingroom_client")
    models: Any = importlib.import_module("cuttingroom_client.models")
    client = package.Client(base_url="http://test").set_async_httpx_client(
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=kit.app),
            base_url="http://test",
            headers={"X-Api-Key": kit.mine.api_key},
        )
    )

    def call(operation: str, **given: Any) -> Any:
        module: Any = importlib.import_module(f"cuttingroom_client.api.{operation}")
        return kit.runner.run(module.asyncio(client=client, **given))

    robin = models.UserBody(email="robin@example.com", name="Robin")
    user = call("users.create_user", body=robin)
    again = call("users.create_user", body=robin)
    listed = call("users.list_users")

    assert (user.email, user.role.value) == ("robin@example.com", "viewer")
    assert (again.status, again.code) == (409, "email_taken")
    assert [one.id for one in listed.items] == [user.id]
    assert call("service.get_version").name == "cuttingroom"
    recipe = {"name": "720p", "video": {"codec": "h264", "height": 720, "fps": "30000/1001"}}
    made_here = call("renditions.create_rendition", body=models.Profile.from_dict(recipe))
    assert made_here.video.fps == "30000/1001"
    assert call("renditions.get_rendition", id=made_here.id).to_dict() == made_here.to_dict()
