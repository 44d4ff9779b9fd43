"""Schemathesis over the whole running service: no server error, no promise that is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.watching import documented
from tests.made_up import ENDS_THE_RUN, STREAMS, run

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(600)]


def test_requests_made_up_from_the_document_get_answers_it_describes(tmp_path: Path) -> None:
    # The examples themselves are run by tests/api_gateway/test_openapi.py.
    # One worker: Python 3.11.2 cannot parse lambdas in two threads at once (gh-106905).
    phases = ("--phases", "coverage,fuzzing,stateful", "--workers", "1")

    code, said = run(tmp_path, 1, *phases)

    assert code == 0, said
    tried = len(documented()) - len(ENDS_THE_RUN) - len(STREAMS)
    assert f"Tested: {tried}" in said
