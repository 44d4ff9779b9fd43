"""The client is light: what serves the API is not needed to call it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("fastapi", "boto3", "redis", "sqlalchemy", "av", "dramatiq")
OURS = ("api_gateway", "connectors", "store", "catalog", "workers", "pipelines", "media", "cli")


def test_importing_the_client_imports_nothing_that_serves() -> None:
    told = f"import sys, client; print([m for m in {HEAVY + OURS!r} if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
