"""The service's own API as the command line calls it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from connectors.egress import Egress
from schemas.errors import CuttingRoomError, PermanentError, StoreUnavailable
from schemas.jobs import FINAL, Job

MAX_ANSWER_BYTES = 32 * 1024 * 1024
POLL_S = 0.2


class ApiError(PermanentError):
    """The service refused; carries the problem's code and detail."""


class Api:
    """A client of one service with one API key. `url` is its root, without `/v1`."""

    def __init__(self, url: str, api_key: str, egress: Egress) -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-Api-Key": api_key, "Accept": "application/json"}
        self._egress = egress

    def get(self, path: str) -> dict[str, Any]:
        """The answer to a GET below the root."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a POST; safe to repeat within the call by its own idempotency key."""
        return self._call("POST", path, {} if body is None else body)

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return _job(self.get(f"/v1/jobs/{job_id}"))

    def jobs(self, query: str = "") -> Iterator[Job]:
        """Every job a query matches, page by page, the newest first."""
        cursor = ""
        while True:
            page = self.get(f"/v1/jobs?limit=100{query}{cursor}")
            yield from (_job(item) for item in page["items"])
            if not page.get("nextCursor"):
                return
            cursor = f"&cursor={page['nextCursor']}"

    def follow(self, job_id: str, deadline_s: float) -> Iterator[Job]:
        """The job each time it changed, until it is final or the deadline (monotonic) is past."""
        last: Job | None = None
        while last is None or (last.state not in FINAL and time.monotonic() < deadline_s):
            job = self.job(job_id)
            if job != last:
                yield job
            last = job
            if job.state not in FINAL:
                time.sleep(POLL_S)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = dict(self._headers)
        if body is not None:
            headers |= {
                "Content-Type": "application/json",
                "Idempotency-Key": secrets.token_hex(16),
            }
        answer = self._egress.request(
            method,
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if answer.status >= 400:
            raise _refusal(answer.status, answer.data)
        return json.loads(answer.data) if answer.data else {}


def _job(answer: dict[str, Any]) -> Job:
    """The job in an answer; what a newer service adds to it is left out."""
    known = {field.alias or name for name, field in Job.model_fields.items()}
    return Job.model_validate({name: value for name, value in answer.items() if name in known})


def _refusal(status: int, data: bytes) -> CuttingRoomError:
    try:
        problem = json.loads(data)
        code, detail = str(problem["code"]), str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, TypeError):
        return StoreUnavailable(f"the service answered {status} without saying why")
    return ApiError(detail, code=code)
