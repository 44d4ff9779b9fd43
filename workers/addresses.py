"""Where clients find what lies in a local media store: at the gateway, not in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemas.settings import Settings

Addressed = Callable[[str, dict[str, Any]], dict[str, Any]]
"""The result of a job, by its id, as clients are told of it."""


def addressed(settings: Settings) -> Addressed:
    """What puts addresses of the gateway in place of paths of the media store's folder.

    A bucket's addresses are good as they are.
    """
    place = settings.media_store or str(Path(settings.data_dir) / "media")
    if "://" in place:
        return lambda _job_id, result: result
    root = Path(place).absolute()
    return lambda job_id, result: _replaced(result, root, job_id)


def file_address(job_id: str, key: str) -> str:
    """Where a file of a job is read.

    >>> file_address("job_1", "exports/t1/a b.mp4")
    '/v1/jobs/job_1/files/a%20b.mp4'
    """
    return f"/v1/jobs/{job_id}/files/{quote(key.rpartition('/')[2], safe='')}"


def _replaced(value: Any, root: Path, job_id: str) -> Any:
    if isinstance(value, list):
        return [_replaced(each, root, job_id) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _replaced(each, root, job_id) for name, each in value.items()}
    key = found.get("key")
    if isinstance(key, str) and found.get("url") == root.joinpath(*key.split("/")).as_uri():
        found["url"] = file_address(job_id, key)
    return found
