"""Every refused request of the table gets its status and code, as a problem; nothing is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_gateway import paging
from catalog import keys
from tests.gateway_kit import FILE_ID, Kit, a_kit
from tests.refused_requests import REFUSED, Refused


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture(scope="module")
def places(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    connector = kit.connector()
    files = kit.connector("Files", type="http", config={"baseUrl": "http://127.0.0.1:9/"})
    ended = kit.clip(connector, FILE_ID.replace("123498625", "ended")).json()["id"]
    kit.post(f"/v1/jobs/{ended}/cancel")
    job = kit.clip(connector, FILE_ID.replace("123498625", "going")).json()["id"]
    return {"connector": connector, "job": job, "ended": ended, "files": files}


@pytest.fixture(scope="module")
def credentials(kit: Kit) -> dict[str | None, str | None]:
    good = kit.mine.api_key
    disabled, tenant = kit.api_key("read", name="disabled"), kit.mine.tenant_id
    with kit.gateway.catalog.write() as tx:
        found = [k for k in tx.api_keys.page(tenant, None, 100) if k.name == "disabled"]
        tx.api_keys.change(tenant, found[0].id, enabled=False)
        _, expired = tx.api_keys.create(tenant, "expired", ("read",), expires_ms=kit.clock())
    return {
        None: None,
        "good": good,
        "mistyped": good[:-1] + ("a" if good[-1] != "a" else "b"),
        "unknown": keys.mint().secret,
        "disabled": disabled,
        "expired": expired.secret,
        "read": kit.api_key("read"),
    }


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.what)
def test_it_is_refused(
    kit: Kit,
    places: dict[str, str],
    credentials: dict[str | None, str | None],
    row: Refused,
) -> None:
    path = row.path
    for name, value in places.items():
        path = path.replace(f"{{{name}}}", value)
    headers = {"Content-Type": "application/json", **row.headers} if row.body else row.headers

    answer = kit.ask(
        row.method, path, key=credentials[row.credential], content=row.body, headers=headers
    )

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (row.status, row.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == row.status
    assert set(problem) == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "retryable",
        "errors",
    }
    assert problem["detail"]
    assert problem["retryable"] is (row.status == 425)
    assert problem["errors"] or row.status != 422, "what is wrong has a name"


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/v1/connectors/{connector}/files/a%2F..%2Fb/clip", b"{}", "#path/fileId"),
        ("POST", "/v1/connectors/{connector}/files/-/clip?fileId=a/../b", b"{}", "#query/fileId"),
        ("GET", "/v1/connectors/{files}/files/..%2Fb", None, "#path/fileId"),
        ("GET", "/v1/jobs/" + "j" * 300, None, "#path/id"),
        ("GET", "/v1/jobs?cursor={jobs cursor}", None, "#query/cursor"),
        ("GET", "/v1/projects?cursor={projects cursor}", None, "#query/cursor"),
        ("GET", "/v1/events?after=x", None, "#query/after"),
        ("GET", "/v1/connectors/{files}/metadata?value=a%00", None, "#query/value"),
        ("POST", "/v1/connectors", b'{"type":"ftp9","name":"n"}', "/type"),
        ("POST", "/v1/connectors/{connector}/query", b'{"cursor":"x"}', "/cursor"),
        ("POST", "/v1/connectors/{connector}/channels/c/segments", b"{too long}", "/range"),
        ("GET", "/v1/connectors/{connector}/channels/c/epg?{32 days}", None, "#query/to"),
        ("POST", "/v1/jobs/{job}/cancel", b'{"a":1}', ""),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_by_its_place(
    kit: Kit, places: dict[str, str], method: str, path: str, body: bytes | None, pointer: str
) -> None:
    made_up = {
        "jobs cursor": paging.cursor("jobs", "nonsense"),
        "projects cursor": paging.cursor("projects:-updatedAt", '["nonsense", 7]'),
        "32 days": "from=2022-02-01T00:00:00Z&to=2022-03-15T00:00:00Z",
    }
    for name, value in {**places, **made_up}.items():
        path = path.replace(f"{{{name}}}", value)
    long = {"range": {"startMs": 0, "endMs": 99_999_999}, "destination": {"path": "a.mp4"}}
    sent = json.dumps(long).encode() if body == b"{too long}" else body
    headers = {"Content-Type": "application/json"} if sent else {}

    answer = kit.ask(method, path, content=sent, headers=headers)

    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_a_stream_of_events_names_the_header_that_is_wrong(kit: Kit) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "yesterday"}

    answer = kit.get("/v1/events", headers=headers)

    assert [one["pointer"] for one in answer.json()["errors"]] == ["#header/Last-Event-ID"]


def test_the_table_is_long_and_says_each_thing_once() -> None:
    assert len(REFUSED) >= 60
    assert len({row.what for row in REFUSED}) == len(REFUSED)


def test_refusals_do_nothing(kit: Kit, places: dict[str, str]) -> None:
    connectors = kit.get("/v1/connectors").json()["items"]
    jobs = kit.get("/v1/jobs").json()["items"]

    assert sorted(c["id"] for c in connectors) == sorted({places["connector"], places["files"]})
    assert sorted(j["id"] for j in jobs) == sorted({places["job"], places["ended"]})


def test_a_refused_connection_to_redis_is_a_503(tmp_path: Path) -> None:
    with a_kit(tmp_path) as kit:
        connector = kit.connector()
        kit.gateway.store.client.connection_pool.connection_kwargs["server"].connected = False

        answers = [
            kit.clip(connector),
            kit.get("/v1/jobs"),
            kit.get("/v1/events?limit=1"),
            kit.get("/readyz"),
        ]
        kit.gateway.store.client.connection_pool.connection_kwargs["server"].connected = True

    assert [a.status_code for a in answers] == [503, 503, 503, 503]
    assert all("retry-after" in a.headers for a in answers)
    assert [a.json().get("code") for a in answers[:3]] == ["store_unavailable"] * 3
    assert answers[0].json()["retryable"] is True
    assert answers[3].json()["checks"]["redis"]["ok"] is False
    assert answers[3].json()["checks"]["catalogue"]["ok"] is True


def test_a_catalogue_that_is_away_is_a_503(tmp_path: Path) -> None:
    with a_kit(tmp_path) as kit:
        kit.gateway.catalog.close()
        (tmp_path / "catalog.sqlite3").rename(tmp_path / "gone")
        (tmp_path / "catalog.sqlite3").mkdir()

        answer = kit.get("/v1/connectors")

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"]


def test_a_fault_of_ours_shows_no_trace(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(kit.gateway.jobs, "get", broken)

    answer = kit.get("/v1/jobs/job_1")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


def test_a_full_queue_is_a_429(tmp_path: Path) -> None:
    with a_kit(tmp_path, queue_cap=1) as kit:
        connector = kit.connector()
        kit.clip(connector)

        answer = kit.clip(connector, FILE_ID.replace("123498625", "second"))

    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert answer.headers["retry-after"]


def test_a_credential_has_a_rate(tmp_path: Path) -> None:
    with a_kit(tmp_path, rate_per_minute=3) as kit:
        answers = [kit.get("/v1/jobs") for _ in range(4)]

    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert [a.headers["ratelimit-remaining"] for a in answers] == ["2", "1", "0", "0"]
    assert answers[-1].json()["code"] == "rate_limited"
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_an_address_without_a_credential_has_a_rate(tmp_path: Path) -> None:
    with a_kit(tmp_path, anonymous_rate_per_minute=2) as kit:
        answers = [kit.get("/v1/jobs", key=None) for _ in range(3)]
        known = kit.get("/v1/jobs")

    assert [a.status_code for a in answers] == [401, 401, 429]
    assert known.status_code == 200
