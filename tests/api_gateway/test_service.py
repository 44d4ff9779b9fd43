"""The service says whether it lives, is ready, and what it measures."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from schemas.errors import DestinationUnavailable
from schemas.jobs import Job
from store.jobs import Jobs
from tests.gateway_kit import Kit, a_kit


def test_the_process_lives(kit: Kit) -> None:
    answer = kit.get("/healthz", key=None)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert kit.get("/v1/version", key=None).json()["name"] == "cuttingroom"


def test_readiness_names_what_does_not_answer(kit: Kit) -> None:
    def away() -> None:
        raise DestinationUnavailable("the bucket does not answer")

    ready = kit.get("/readyz", key=None)
    kit.gateway.media_check = away
    unready = kit.get("/readyz", key=None)

    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert unready.status_code == 503
    assert unready.json()["checks"]["mediaStore"] == {
        "ok": False,
        "detail": "the bucket does not answer",
    }


def test_readiness_shows_a_missing_jail(tmp_path: Path) -> None:
    with a_kit(tmp_path, allow_unjailed=True) as kit:
        assert kit.get("/readyz", key=None).json()["unjailed"] is True


def test_requests_are_counted_by_route_and_never_by_id(kit: Kit) -> None:
    kit.get("/v1/jobs/job_secretid")
    kit.get("/v1/some/unknown/secretpath")

    text = kit.get("/metrics", key=None).text

    assert (
        'cuttingroom_http_requests_total{method="GET",route="/v1/jobs/{id}",status="404"} 1.0'
        in text
    )
    assert "secret" not in text


def test_answers_carry_safe_headers_and_a_request_id(kit: Kit) -> None:
    answer = kit.get("/v1/jobs", headers={"X-Request-Id": "abc123"})
    odd = kit.get("/v1/jobs", headers={"X-Request-Id": "a b"})

    assert answer.headers["x-request-id"] == "abc123"
    assert odd.headers["x-request-id"] != "a b"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["ratelimit-limit"]


class Broken(Jobs):
    """Jobs with a fault of ours."""

    def get(self, tenant_id: str, job_id: str) -> Job:
        raise RuntimeError(f"no {job_id} of {tenant_id}")


def test_a_fault_of_ours_is_found_in_the_log_by_the_id_of_its_answer(kit: Kit) -> None:
    kit.gateway.jobs = Broken(kit.gateway.store)

    with capture_logs() as logged:
        answer = kit.get("/v1/jobs/job_1")

    (line,) = logged
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert line["request"] == answer.headers["x-request-id"]
    assert (line["method"], line["route"], line["error"]) == (
        "GET",
        "/v1/jobs/{id}",
        "RuntimeError",
    )


def test_a_method_too_many_is_told_every_one_there_is(kit: Kit) -> None:
    connector = kit.connector()
    several = kit.ask("OPTIONS", f"/v1/connectors/{connector}")
    one = kit.ask("DELETE", "/v1/jobs")

    assert (several.status_code, one.status_code) == (405, 405)
    assert several.headers["allow"] == "DELETE, GET, PATCH"
    assert one.headers["allow"] == "GET"
