"""The client offers every operation of the contract, and only those."""

from __future__ import annotations

import inspect
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from client import Client
from client.operations import OPERATIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
METHODS = {"get", "post", "put", "patch", "delete", "head", "options"}


@pytest.fixture(scope="module")
def contract() -> dict[str, tuple[str, str]]:
    found: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in found["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_the_client_knows_every_operation_and_where_it_is(
    contract: dict[str, tuple[str, str]],
) -> None:
    known = {name: (one.method, one.path) for name, one in OPERATIONS.items()}

    assert known == contract


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_the_method_of_an_operation_performs_it(operation_id: str) -> None:
    with Client("http://127.0.0.1:9") as client:
        method = attrgetter(OPERATIONS[operation_id].call)(client)

    assert inspect.getdoc(method)
    assert f'"{operation_id}"' in inspect.getsource(method)
