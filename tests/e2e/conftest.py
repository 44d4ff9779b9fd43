"""Every test that docs/reference/operations.md names is watched: it must really make the calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.watching import watched
from tests.operations_table import of_test


@pytest.fixture(autouse=True)
def _makes_the_calls_it_is_named_for(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    named = of_test(f"{request.node.path.name}::{request.node.originalname}")
    seen = watched(monkeypatch) if named else set()
    yield
    missing = named - seen
    assert not missing, f"tests/operations_table.py names this test, which never asked: {missing}"
