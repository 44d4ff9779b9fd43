"""Every byte from outside comes through one client: nobody else imports one.

The API's own client has another: its address is its user's word, not a tenant's.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("schemas", "pipelines", "media", "connectors", "store"),
    *("catalog", "workers", "api_gateway", "client", "cli"),
)
KEEPERS = {
    "requests": {"connectors/egress.py", "client/transport.py"},
    "urllib3": {"connectors/egress.py", "client/transport.py"},
    "http.client": {"connectors/egress.py"},
    "boto3": {"connectors/_s3_client.py", "client/temporary_keys.py"},
    "botocore": {
        "client/temporary_keys.py",
        "connectors/s3.py",
        *(f"connectors/_s3_{part}.py" for part in ("client", "errors", "uploads")),
        "connectors/_mediapackage_api.py",
    },
    "urllib.request": set[str](),
    "httpx": set[str](),
    "aiohttp": set[str](),
    "ftplib": {"connectors/ftp.py"},
    "paramiko": {"connectors/sftp.py"},
    "asyncssh": set[str](),
}


@cache
def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("library", KEEPERS)
def test_only_its_keeper_imports_a_client_library(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(f"{name}.".startswith(f"{library}.") for name in _imported(path))
    }

    assert users == KEEPERS[library]
