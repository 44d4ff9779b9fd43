"""A served gateway for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client_kit import Served, served


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("gateway")) as made:
        yield made
