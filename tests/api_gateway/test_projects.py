"""Projects over the API: taken in, listed, told in four forms, changed, rendered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store import keys
from tests.gateway_kit import FILE_ID, Kit
from tests.timelines import a_clip, a_gap, a_timeline, a_track, a_transition, of_file


def a_document(kit: Kit, name: str = "Cut", **more: Any) -> dict[str, Any]:
    """A timeline of one clip of a connector of its own."""
    connector = kit.connector(f"For {name!a}", key=more.pop("key", "mine"))
    return a_timeline(a_track(a_clip(media=of_file(connector, FILE_ID))), name=name, **more)


def made(kit: Kit, name: str = "Cut", query: str = "", **options: Any) -> dict[str, Any]:
    answer = kit.post(f"/v1/projects{query}", a_document(kit, name), **options)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_document_becomes_a_project_that_says_who_wrote_it(kit: Kit) -> None:
    answer = kit.post("/v1/projects", a_document(kit, "Morning"))

    body = answer.json()
    who = f"key:{kit.mine.key_id}"
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/projects/{body['id']}"
    assert answer.headers["etag"] == body["etag"] == '"v1"'
    assert (body["title"], body["status"]) == ("Morning", "draft")
    assert (body["createdBy"], body["editedBy"], body["contributedBy"]) == (who, who, [who])
    assert body["timeline"]["frames"] == 50
    assert body["timeline"]["edits"][0]["fileId"] == FILE_ID
    assert body["warnings"] == []


def test_the_last_writer_and_all_writers_are_kept_by_credential(kit: Kit) -> None:
    project = made(kit)
    path = f"/v1/projects/{project['id']}"
    bearer = kit.bearer("editor")
    kit.clock.advance(1000)

    changed = kit.as_user("PATCH", path, bearer, json={"status": "approved"}).json()

    key, user = f"key:{kit.mine.key_id}", changed["editedBy"]
    assert user.startswith("user:")
    assert (changed["createdBy"], changed["contributedBy"]) == (key, [key, user])
    assert changed["updatedAt"] > changed["createdAt"]
    written = kit.ask("PUT", f"{path}/timeline", json=a_document(kit, "Anew")).json()
    assert (written["editedBy"], written["contributedBy"]) == (key, [key, user])
    assert (written["title"], written["timeline"]["name"]) == ("Cut", "Anew")
    listed = kit.get(f"/v1/projects?editedBy={key}&contributedBy={user}").json()["items"]
    assert [one["id"] for one in listed] == [project["id"]]
    assert kit.get(f"/v1/projects?editedBy={user}").json()["items"] == []


def test_a_viewer_reads_and_does_not_write(kit: Kit) -> None:
    path = f"/v1/projects/{made(kit)['id']}"
    bearer = kit.bearer("viewer")

    assert kit.as_user("GET", path, bearer).status_code == 200
    for method, where in (("PATCH", path), ("DELETE", path), ("POST", f"{path}/render")):
        assert kit.as_user(method, where, bearer).status_code == 403


def test_a_list_is_filtered_sorted_and_paged(kit: Kit) -> None:
    for name in ("Bravo", "alpha", "Charlie"):
        made(kit, name, "?status=review" if name == "alpha" else "")
        kit.clock.advance(60_000)

    def names(query: str) -> list[str]:
        return [one["title"] for one in kit.get(f"/v1/projects{query}").json()["items"]]

    assert names("") == ["Charlie", "alpha", "Bravo"]
    assert names("?sort=title") == ["alpha", "Bravo", "Charlie"]
    assert names("?title=LPH") == ["alpha"]
    assert names("?status=review") == ["alpha"]
    created = kit.get("/v1/projects?title=charlie").json()["items"][0]["updatedAt"]
    assert names(f"?updatedFrom={created}") == ["Charlie"]
    assert names(f"?updatedTo={created}&sort=createdAt") == ["Bravo", "alpha"]
    first = kit.get("/v1/projects?sort=-title&limit=2").json()
    second = kit.get(f"/v1/projects?sort=-title&limit=2&cursor={first['nextCursor']}").json()
    assert [one["title"] for one in first["items"] + second["items"]] == [
        "Charlie",
        "Bravo",
        "alpha",
    ]
    assert second["nextCursor"] is None


def test_a_cursor_belongs_to_its_order(kit: Kit) -> None:
    for name in ("one", "two"):
        made(kit, name)
    cursor = kit.get("/v1/projects?limit=1&sort=title").json()["nextCursor"]

    answer = kit.get(f"/v1/projects?limit=1&sort=-updatedAt&cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


FORMS = {
    "json": ("application/json", b'{"id":"prj_'),
    "otio": ("application/vnd.pixar.opentimelineio+json", b'{"OTIO_SCHEMA":"Timeline.1"'),
    "edl": ("text/plain; charset=utf-8", b"TITLE: Cut\r\n"),
    "fcpxml": ("application/xml", b"<?xml"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_project_is_told_in_the_form_that_is_wanted(kit: Kit, form: str) -> None:
    path = f"/v1/projects/{made(kit)['id']}"
    kind, begin = FORMS[form]

    named = kit.get(f"{path}?format={form}")
    asked = kit.get(path, headers={"Accept": f"{kind.partition(';')[0]}, */*;q=0.1"})

    for answer in (named, asked):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert answer.content.startswith(begin)
        held = {"If-None-Match": answer.headers["etag"]}
        assert kit.get(f"{path}?format={form}", headers=held).status_code == 304
    assert len({kit.get(f"{path}?format={each}").headers["etag"] for each in FORMS}) == 4


@pytest.mark.parametrize(
    ("query", "accept"), [("?format=aaf", "*/*"), ("", "video/mp4"), ("", "text/plain;q=0")]
)
def test_a_form_there_is_none_of_is_refused(kit: Kit, query: str, accept: str) -> None:
    path = f"/v1/projects/{made(kit)['id']}{query}"

    answer = kit.get(path, headers={"Accept": accept})

    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_what_was_written_is_what_is_read(kit: Kit) -> None:
    document = a_document(kit, "Größe \u0000 \U0001f600", metadata={"mine": [1, 2.5, None]})
    project = kit.post("/v1/projects", document).json()

    held = kit.get(f"/v1/projects/{project['id']}?format=otio").json()

    assert held == document
    assert project["title"] == "Größe  \U0001f600"


def test_what_a_format_leaves_out_is_named(kit: Kit) -> None:
    document = a_document(kit)
    document["tracks"]["children"][0]["children"] += [a_transition(), a_clip(name="Größe")]
    project = kit.post("/v1/projects", document).json()

    edl = kit.get(f"/v1/projects/{project['id']}?format=edl")

    assert [one["code"] for one in project["warnings"]] == ["transition_cut", "media_offline"]
    assert project["warnings"][0]["pointer"] == "/tracks/children/0/children/1"
    told = [one["code"] for one in project["formatWarnings"]["edl"]]
    assert edl.headers["x-cuttingroom-warnings"] == ", ".join(dict.fromkeys(told))
    assert "names_plain" in told
    assert project["formatWarnings"]["otio"] == []
    assert 'rel="describedby"' in edl.headers["link"]


def test_a_change_from_an_old_reading_is_refused(kit: Kit) -> None:
    project = made(kit)
    path = f"/v1/projects/{project['id']}"
    old = kit.get(f"{path}?format=otio").headers["etag"]
    first = kit.patch(path, {"title": "Other"}, headers={"If-Match": old})
    assert first.status_code == 200

    late = {"If-Match": old}
    answers = [
        kit.patch(path, {"title": "Late"}, headers=late),
        kit.ask("PUT", f"{path}/timeline", json=a_document(kit, "Late"), headers=late),
        kit.ask("DELETE", path, headers=late),
    ]

    assert [one.status_code for one in answers] == [412, 412, 412]
    assert kit.get(path).json()["title"] == "Other"


def test_a_deleted_project_is_gone(kit: Kit) -> None:
    path = f"/v1/projects/{made(kit)['id']}"

    assert kit.ask("DELETE", path).status_code == 204
    assert kit.get(path).status_code == 404


def test_the_same_key_makes_one_project(kit: Kit) -> None:
    document, headers = a_document(kit), {"Idempotency-Key": "once"}

    answers = [kit.post("/v1/projects", document, headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert len(kit.get("/v1/projects").json()["items"]) == 1
    other = kit.post("/v1/projects", a_document(kit, "Other"), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_another_tenants_connector_is_an_unknown_one(kit: Kit) -> None:
    foreign = a_document(kit, key="theirs")
    unknown = a_timeline(a_track(a_gap(1), a_clip(media=of_file("con_none", "a.mp4"))))

    answers = [kit.post("/v1/projects", document) for document in (foreign, unknown)]

    for answer, place in zip(answers, ("0", "1"), strict=True):
        assert (answer.status_code, answer.json()["code"]) == (422, "connector_unknown")
        assert answer.json()["errors"][0]["pointer"] == f"/tracks/children/0/children/{place}"


def test_a_document_may_be_large_and_deep_up_to_a_limit(kit: Kit) -> None:
    large = a_document(kit, metadata={"notes": "x" * 3_000_000})
    too_large = {**large, "metadata": {"notes": "x" * 4_300_000}}
    deep: Any = []
    for _ in range(70):
        deep = [deep]

    assert kit.post("/v1/projects", large).status_code == 201
    answer = kit.post("/v1/projects", too_large)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = kit.post("/v1/projects", {**large, "metadata": {"deep": deep}})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    # Every other operation keeps to the usual size.
    assert kit.post("/v1/connectors", large).status_code == 413


@pytest.mark.parametrize("name", ["\ud800", "a\ud83d", "\x00"])
def test_text_that_nobody_can_write_is_taken_as_it_is(kit: Kit, name: str) -> None:
    document = a_document(kit)
    document["tracks"]["children"][0]["children"][0]["name"] = name
    raw = json.dumps(document | {"name": name}).encode()

    answer = kit.ask(
        "POST", "/v1/projects", content=raw, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 201, answer.text
    for form in FORMS:
        path = f"/v1/projects/{answer.json()['id']}?format={form}"
        assert kit.get(path).status_code == 200


def test_a_project_is_rendered_as_an_export(kit: Kit) -> None:
    document = a_document(kit, "Night")
    track = document["tracks"]["children"][0]["children"]
    track += [a_gap(10), a_transition(), {**track[0], "source_range": track[0]["source_range"]}]
    project = kit.post("/v1/projects", document).json()
    body = {"destination": {"path": "{title}.mp4"}, "gaps": "hold", "sidecars": ["edl"]}

    answer = kit.post(f"/v1/projects/{project['id']}/render", body)

    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"]) == ("export", "queued")
    assert job["request"]["projectId"] == project["id"]
    assert len(job["request"]["resolvedRanges"]) == 2
    command = json.loads(kit.gateway.store.client.hget(keys.job(job["id"]), "command") or "{}")
    assert [part["pause_us"] for part in command["parts"]] == [0, 400_000]
    assert (command["title"], command["gaps"]) == ("Night", "hold")
    assert command["notes"] == ["a transition is shown as a cut"]


def test_a_timeline_that_begins_with_a_file_is_dated_when_it_is_asked_for(kit: Kit) -> None:
    config = {"base_url": "http://127.0.0.1:9/files"}
    connector = kit.connector("Films", type="http", config=config)
    document = a_timeline(a_track(a_clip(media=of_file(connector, "a/film.mp4"))))
    project = kit.post("/v1/projects", document).json()

    body = {"destination": {"path": "{date}/{title}.mp4"}}
    job = kit.post(f"/v1/projects/{project['id']}/render", body).json()

    command = json.loads(kit.gateway.store.client.hget(keys.job(job["id"]), "command") or "{}")
    assert command["destination"]["key"].endswith("/2022-02-04/{title}.mp4")
    assert command["parts"][0]["file_id"] == "a/film.mp4"
    assert job["request"]["resolvedRanges"][0]["fileId"] == "a/film.mp4"


def test_a_timeline_that_cannot_be_rendered_is_refused_at_its_place(kit: Kit) -> None:
    document = a_document(kit)
    document["tracks"]["children"][0]["children"].append(a_clip())
    project = kit.post("/v1/projects", document).json()

    answer = kit.post(f"/v1/projects/{project['id']}/render", {"destination": {"path": "a.mp4"}})

    assert (answer.status_code, answer.json()["code"]) == (422, "media_offline")
    assert answer.json()["errors"][0]["pointer"] == "/tracks/children/0/children/1"
