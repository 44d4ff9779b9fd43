"""Metadata over the API: views, records, what is wrong with each field, and what is found."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from api_gateway import annotations as known_of
from api_gateway import paging
from store import keys
from tests.gateway_kit import CANONICAL, FILE_ID, Kit

CLIP = {"view": "news-clip", "values": {"headline": "Fire in Wien", "priority": 2}}
GOAL = {"view": "sport-log", "values": {"event": "goal", "player": "Ann"}, "startMs": 5000}
XMLTV = {"type": "xmltv", "config": {"url": "http://127.0.0.1:9/guide.xml"}}


def path(connector_id: str, file_id: str = "ch1", query: str = "") -> str:
    return f"/v1/connectors/{connector_id}/files/{quote(file_id, safe='')}/metadata{query}"


def made(kit: Kit, connector_id: str, body: dict[str, Any], file_id: str = "ch1") -> Any:
    answer = kit.post(path(connector_id, file_id), body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def a_view(kit: Kit, name: str = "Interviews", **changes: Any) -> Any:
    fields = [{"name": "speaker", "required": True}, {"name": "mood", "enum": ["calm", "angry"]}]
    answer = kit.post("/v1/metadata-views", {"name": name, "fields": fields, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_every_connector_of_content_has_the_views_every_tenant_has(kit: Kit) -> None:
    own = a_view(kit, timed=True)

    listed = kit.get(f"/v1/connectors/{kit.connector()}/metadata-definitions").json()["items"]

    by_id = {view["id"]: view for view in listed}
    assert list(by_id) == ["dublin-core", "news-clip", "sport-log", own["id"]]
    assert [view["timed"] for view in listed] == [False, False, True, True]
    assert [view["builtIn"] for view in listed] == [True, True, True, False]
    headline = by_id["news-clip"]["fields"][0]
    assert headline == {"name": "headline", "type": "string", "required": True, "enum": None}
    assert "goal" in by_id["sport-log"]["fields"][0]["enum"]


def test_guides_have_no_metadata(kit: Kit) -> None:
    guide = kit.connector("Guide", **XMLTV)

    answers = [
        kit.get(f"/v1/connectors/{guide}/metadata-definitions"),
        kit.get(f"/v1/connectors/{guide}/metadata"),
        kit.get(path(guide)),
        kit.post(path(guide), CLIP),
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(501, "not_supported")] * 4


def test_a_record_is_made_read_changed_and_deleted(kit: Kit) -> None:
    connector = kit.connector()
    answer = kit.post(path(connector), CLIP)
    record = answer.json()
    place = answer.headers["location"]

    changed = kit.patch(
        place,
        {"values": {"priority": None, "status": "approved"}},
        headers={"If-Match": answer.headers["etag"]},
    )
    late = kit.patch(place, {"values": {}}, headers={"If-Match": '"v1"'})
    read = kit.get(place)
    gone = kit.ask("DELETE", place)

    assert place == f"/v1/metadata/{record['id']}"
    assert (record["fileId"], record["startMs"]) == ("ch1", None)
    assert changed.json()["values"] == {"headline": "Fire in Wien", "status": "approved"}
    assert (late.status_code, late.json()["code"]) == (412, "stale")
    assert (read.json(), read.headers["etag"]) == (changed.json(), '"v2"')
    assert (gone.status_code, kit.get(place).status_code) == (204, 404)
    assert kit.get(path(connector)).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (
            {"view": "news-clip", "values": {"priority": "high", "odd/~": 1, "status": "new"}},
            {"/values/headline", "/values/priority", "/values/odd~1~0", "/values/status"},
        ),
        ({"view": "news-clip", "values": CLIP["values"], "startMs": 1, "endMs": 2},
         {"/startMs", "/endMs"}),
        ({"view": "sport-log", "values": {"event": "goal"}}, {"/startMs"}),
        ({**GOAL, "endMs": 5000}, {"/endMs"}),
        ({"view": "none", "values": {}}, {"/view"}),
        ({"view": "mdv_none", "values": {}}, {"/view"}),
        ({"view": "news-clip", "values": {"headline": {"deep": 1}}}, {"/values/headline"}),
        ({"view": "news-clip", "values": []}, {"/values"}),
        ({"view": "sport-log", "values": {"event": "goal"}, "startMs": "soon"}, {"/startMs"}),
        ({"view": "sport-log", "values": {"event": "goal"}, "startMs": -1}, {"/startMs"}),
    ],
)  # fmt: skip
def test_every_wrong_field_is_named(kit: Kit, body: dict[str, Any], wrong: set[str]) -> None:
    answer = kit.post(path(kit.connector()), body)

    assert answer.status_code == 422, answer.text
    assert {one["pointer"] for one in answer.json()["errors"]} == wrong


def test_a_file_lists_its_records_in_time_order(kit: Kit) -> None:
    connector = kit.connector()
    starts = [9000, 100, 5000]
    timed = {start: made(kit, connector, {**GOAL, "startMs": start})["id"] for start in starts}
    whole = made(kit, connector, CLIP)["id"]
    made(kit, connector, CLIP, "ch2")

    first = kit.get(path(connector, query="?limit=3")).json()
    rest = kit.get(path(connector, query=f"?limit=3&cursor={first['nextCursor']}")).json()
    logged = kit.get(path(connector, query="?view=sport-log&limit=2")).json()
    other = kit.get(path(connector, "ch2", f"?cursor={first['nextCursor']}"))

    listed = [record["id"] for record in (*first["items"], *rest["items"])]
    assert listed == [whole, timed[100], timed[5000], timed[9000]]
    assert rest["nextCursor"] is None
    assert [record["startMs"] for record in logged["items"]] == [100, 5000]
    assert (other.status_code, other.json()["code"]) == (422, "cursor_invalid")


@pytest.mark.parametrize("place", ["0 mdr_x", "x", "99999999999999999999 mdr_" + "0" * 26])
def test_a_cursor_that_was_made_up_is_refused(kit: Kit, place: str) -> None:
    connector = kit.connector()
    with kit.gateway.catalog.read() as tx:
        fingerprint = tx.connectors.get(kit.mine.tenant_id, connector).fingerprint
    cursor = paging.cursor(f"metadata\n{fingerprint}\nch1\nNone", place)

    answer = kit.get(path(connector, query=f"?cursor={cursor}"))

    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


def test_both_spellings_of_a_clip_are_one_file(kit: Kit) -> None:
    connector = kit.connector()
    record = made(kit, connector, CLIP, FILE_ID)

    found = kit.get(path(connector, CANONICAL)).json()["items"]
    by_query = kit.get(path(connector, "-", f"?fileId={quote(FILE_ID)}")).json()["items"]

    assert record["fileId"] == CANONICAL
    assert found == by_query == [record]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a", "b", "c"]),
        ("view=sport-log", ["c"]),
        ("field=headline&value=fire%20in%20wien", ["a"]),
        ("text=WIEN", ["a", "b"]),
        ("field=priority&value=2", ["a", "b"]),
        ("view=news-clip&field=player&value=Ann", []),
        ("field=player&value=ann", ["c"]),
        ("field=nonsense&value=x", []),
    ],
)
def test_files_are_found_by_what_is_known_of_them(kit: Kit, query: str, found: list[str]) -> None:
    connector, other = kit.connector(), kit.connector("Other", config={"url": "http://h/x.m3u8"})
    made(kit, connector, CLIP, "a")
    made(kit, connector, {**CLIP, "values": {**CLIP["values"], "headline": "Wien"}}, "b")
    made(kit, connector, GOAL, "c")
    made(kit, other, CLIP, "d")

    pages, cursor = list[str](), ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        answer = kit.get(f"/v1/connectors/{connector}/metadata?limit=1&{query}{more}".rstrip("&"))
        assert answer.status_code == 200, answer.text
        pages += [record["fileId"] for record in answer.json()["items"]]
        cursor = answer.json()["nextCursor"]

    assert sorted(pages) == found


def test_an_equal_connector_finds_what_was_known(kit: Kit) -> None:
    old = kit.connector()
    record = made(kit, old, CLIP)
    kit.ask("DELETE", f"/v1/connectors/{old}")
    while_away = kit.get(record["links"]["self"])

    new = kit.connector("Again")

    assert new != old
    assert while_away.status_code == 200
    assert kit.get(path(new)).json()["items"] == [record]


def test_a_views_name_and_fields_can_change(kit: Kit) -> None:
    connector, view = kit.connector(), a_view(kit)
    record = made(kit, connector, {"view": view["id"], "values": {"speaker": "Ann"}})
    place = view["links"]["self"]

    changed = kit.patch(place, {"fields": [{"name": "topic", "type": "string"}]})
    listed = kit.get("/v1/metadata-views").json()["items"]
    old = kit.get(record["links"]["self"]).json()
    rewritten = kit.patch(record["links"]["self"], {"values": {"topic": "rain"}}).json()
    busy = kit.ask("DELETE", place)
    kit.ask("DELETE", record["links"]["self"])
    gone = kit.ask("DELETE", place, headers={"If-Match": '"v2"'})

    assert [field["name"] for field in changed.json()["fields"]] == ["topic"]
    assert listed == [changed.json()]
    assert kit.get(place).status_code == 404
    assert (old["values"], rewritten["values"]) == ({"speaker": "Ann"}, {"topic": "rain"})
    assert (busy.status_code, busy.json()["code"]) == (409, "view_in_use")
    assert gone.status_code == 204


def test_views_are_named_once_and_not_like_those_of_everybody(kit: Kit) -> None:
    view = a_view(kit)

    answers = [
        kit.post("/v1/metadata-views", {"name": name, "fields": [{"name": "a"}]})
        for name in ("Interviews", "Dublin Core")
    ]
    renamed = kit.patch(view["links"]["self"], {"name": "Sport log"})
    theirs = kit.post(
        "/v1/metadata-views", {"name": "Interviews", "fields": [{"name": "a"}]}, key="theirs"
    )

    assert [a.status_code for a in (*answers, renamed)] == [409] * 3
    assert {a.json()["code"] for a in (*answers, renamed)} == {"name_taken"}
    assert theirs.status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a b"}],
        [{"name": "a", "type": "list"}],
        [{"name": "a", "type": "integer", "enum": ["1"]}],
        [{"name": f"f{n}"} for n in range(65)],
        [{"name": "a", "enum": ["x\u0000"]}],
    ],
)
def test_a_view_that_makes_no_sense_is_refused(kit: Kit, fields: list[Any]) -> None:
    answer = kit.post("/v1/metadata-views", {"name": "n", "fields": fields})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_repeated_post_makes_one_record(kit: Kit) -> None:
    connector, key = kit.connector(), {"Idempotency-Key": "k"}

    first = kit.post(path(connector), CLIP, headers=key)
    again = kit.post(path(connector), CLIP, headers=key)
    other = kit.post(path(connector), {**CLIP, "values": {"headline": "x"}}, headers=key)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len(kit.get(path(connector)).json()["items"]) == 1


def test_another_tenants_metadata_are_unknown(kit: Kit) -> None:
    mine, theirs = kit.connector(), kit.connector(key="theirs")
    record, view = made(kit, mine, CLIP), a_view(kit)

    answers = [
        kit.get(record["links"]["self"], key="theirs"),
        kit.ask("DELETE", record["links"]["self"], key="theirs"),
        kit.patch(view["links"]["self"], {"name": "x"}, key="theirs"),
    ]
    body = {"view": view["id"], "values": {"speaker": "x"}}
    foreign = kit.post(path(theirs), body, key="theirs")

    assert [a.status_code for a in answers] == [404] * 3
    assert (foreign.status_code, foreign.json()["code"]) == (422, "view_unknown")
    assert kit.get(path(theirs), key="theirs").json()["items"] == []


# --- what goes along with jobs


def command_of(kit: Kit, job_id: str) -> Any:
    return json.loads(str(kit.gateway.store.client.hget(keys.job(job_id), "command")))


def test_a_clip_carries_what_is_known_of_its_channel_and_of_itself(kit: Kit) -> None:
    connector, channel = kit.connector(), CANONICAL.partition("/")[0]
    start = 1643957046000
    made(kit, connector, {"view": "dublin-core", "values": {"publisher": "ORF"}}, channel)
    made(kit, connector, {**GOAL, "startMs": start + 7000, "endMs": start + 9000}, channel)
    made(kit, connector, {**GOAL, "startMs": start - 7000}, channel)
    made(kit, connector, CLIP, FILE_ID)
    made(kit, connector, {**GOAL, "values": {"event": "save"}, "startMs": 1000}, FILE_ID)

    job = kit.clip(connector).json()

    carried = command_of(kit, job["id"])["carried"]
    assert carried["metadata"] == {
        "title": "Fire in Wien", "priority": "2", "publisher": "ORF",
    }  # fmt: skip
    assert [(m["name"], m["start_ms"] - start) for m in carried["markers"]] == [
        ("save", 1000),
        ("goal", 7000),
    ]


def test_a_clip_asked_for_again_is_the_same_job_whatever_became_known(kit: Kit) -> None:
    connector = kit.connector()
    first = kit.clip(connector).json()
    made(kit, connector, CLIP, FILE_ID)

    again = kit.clip(connector)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])


def test_a_clip_looks_nothing_up_where_nothing_is_known(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = kit.connector()
    kit.clip(connector)
    monkeypatch.setattr(known_of, "_by_clip", lambda *_: pytest.fail("looked up again"))

    again = kit.clip(connector, FILE_ID.replace("123498625", "other"))

    assert again.status_code == 202
    assert command_of(kit, again.json()["id"])["carried"] == {"metadata": {}, "markers": []}


def test_an_export_carries_what_is_known_of_every_range(kit: Kit) -> None:
    connector = kit.connector()
    other = kit.connector("Other", config={"url": "http://127.0.0.1:9/2.m3u8"})
    start = 1643957046000
    made(kit, connector, CLIP, "ch1")
    made(kit, other, {**GOAL, "startMs": start + 61_000}, "ch2")
    made(kit, other, {**GOAL, "startMs": start + 71_000}, "ch2")

    answer = kit.post(
        f"/v1/connectors/{connector}/channels/ch1/segments",
        {
            "ranges": [
                {"startMs": start, "endMs": start + 10_000},
                {"startMs": start + 60_000, "endMs": start + 70_000, "connectorId": other,
                 "channelId": "ch2"},
            ],
            "destination": {"path": "{id}.mp4"},
        },
    )  # fmt: skip

    assert answer.status_code == 202, answer.text
    carried = command_of(kit, answer.json()["id"])["carried"]
    assert carried["metadata"] == {"title": "Fire in Wien", "priority": "2"}
    assert [(m["part"], m["start_ms"] - start, m["view"]) for m in carried["markers"]] == [
        (1, 61_000, "Sport log")
    ]
