"""Every operation of the document, walked with another tenant's ids in every place, by every role
and every scope, with fields nobody may set and with hostile strings."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from schemas.accounts import ROLES, SCOPES
from tests.gateway_kit import FILE_ID, Kit, a_kit
from tests.isolation_table import OF_OTHERS, OPERATIONS, Row

KEPT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
UNHEARD = "xyz_nobody_has_this"
QUIET = {"anonymous_rate_per_minute": 1_000_000, "login_rate_per_minute": 1_000_000}
# Whoever sends these wants to be somebody else.
FOREIGN_FIELDS = {
    "id": "usr_x",
    "tenantId": "ten_x",
    "tenant_id": "ten_x",
    "secretHash": "x",
    "isAdmin": True,
    "__proto__": {"role": "admin"},
    "createdAt": "2022-01-01T00:00:00Z",
}
HOSTILE = {
    "everything": "'; DROP TABLE users;-- {{7*7}} ${7*7} $(id) `id` \r\nX-Evil: 1 \u202e\U0001f600",
    "nul": "a\u0000b",
    "a path": "../../../../etc/passwd",
    "long": "A" * 9000,
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, with_json_alone(operation)


def with_json_alone(operation: dict[str, Any]) -> dict[str, Any]:
    """Without the body of an operation that takes a form: it has tests of its own."""
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        return operation
    return {name: value for name, value in operation.items() if name != "requestBody"}


WALKED = {operation["operationId"]: (m, p, operation) for m, p, operation in operations()}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway"), **QUIET) as made:
        yield made


@pytest.fixture(scope="module")
def theirs(kit: Kit) -> dict[str, str]:
    """An id of every kind that another tenant has."""
    connector = kit.connector(key="theirs")
    recipe = {"name": "theirs", "video": {"codec": "h264", "height": 360}}
    user = kit.user("victim@theirs.example", of="theirs")
    with kit.gateway.catalog.write() as tx:
        session, _ = tx.sessions.start(kit.theirs.tenant_id, user.id, 1000)
    return {
        "connector": connector,
        "job": kit.clip(connector, key="theirs").json()["id"],
        "rendition": kit.post("/v1/renditions", recipe, key="theirs").json()["id"],
        "key": kit.theirs.key_id,
        "user": user.id,
        "session": session.id,
        "tenant": kit.theirs.tenant_id,
        "address": user.email,
        "project": kit.project(key="theirs"),
        **a_webhook(kit, "theirs"),
        **an_upload(kit, "theirs"),
        **kit.annotated(connector, key="theirs"),
    }


@pytest.fixture(scope="module")
def mine(kit: Kit) -> dict[str, str]:
    recipe = {"name": "ours", "video": {"codec": "h264", "height": 360}}
    connector = kit.connector("Mine")
    known = kit.annotated(connector)
    return {
        "metadata-views": known["view"],
        "metadata": known["record"],
        "connectors": connector,
        "renditions": kit.post("/v1/renditions", recipe).json()["id"],
        "users": kit.user("ours@example.com", "viewer").id,
        "api-keys": kit.post("/v1/api-keys", {"name": "ours"}).json()["id"],
        "email": "ours@example.com",
        "projects": kit.project(),
        "webhooks": a_webhook(kit, "mine")["webhook"],
        "reporter": an_upload(kit, "mine")["destination"],
    }


def an_upload(kit: Kit, key: str) -> dict[str, str]:
    """A destination, and an upload to it."""
    place = {"name": "Field", "pathTemplate": "{uploadId}/{fileName}"}
    made = kit.post("/v1/reporter/destinations", place, key=key).json()["id"]
    file = {"fileName": "a.mp4", "size": 10, "contentType": "video/mp4"}
    told = kit.post(f"/v1/reporter/destinations/{made}/credentials", file, key=key).json()
    return {"destination": made, "upload": told["uploadId"]}


def a_webhook(kit: Kit, key: str) -> dict[str, str]:
    """A webhook with something in its log."""
    receiver = {"url": "https://hooks.example.com/"}
    made = kit.post("/v1/webhooks", receiver, key=key).json()["id"]
    sent = kit.post(f"/v1/webhooks/{made}/test", key=key).json()["id"]
    return {"webhook": made, "delivery": sent}


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    needs = {name: operation.get("x-scope") for name, (_, _, operation) in WALKED.items()}

    assert needs == {name: row.needs for name, row in OPERATIONS.items()}, (
        "tests/isolation_table.py says what every operation needs and where ids stand"
    )


_PLACES = ("id", "email", "deliveryId", "uploadId")


def test_every_id_in_a_path_has_a_place() -> None:
    for name, (_, path, _operation) in WALKED.items():
        found = {place for place in _PLACES if f"{{{place}}}" in path}

        assert found == set(OPERATIONS[name].path), name


_AN_ID = re.compile(r"(\w+(Id|Ids|By)|subject|view)")


def test_every_id_in_a_query_or_a_body_has_a_place() -> None:
    for name, (_, _, operation) in WALKED.items():
        asked = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
        content = operation.get("requestBody", {}).get("content", {})
        body = set(fields(content.get("application/json", {}).get("schema", {})))
        row = OPERATIONS[name]

        assert {one for one in asked if is_ours(one)} == set(row.query), name
        # A timeline names connectors where its schema does not look: its rows are by hand.
        there = {place.removesuffix("/0") for place in row.body if "cuttingroom" not in place}
        assert {one for one in body if is_ours(one.rpartition("/")[2])} <= there, name


def is_ours(name: str) -> bool:
    """Whether a name is of something that belongs to a tenant."""
    return _AN_ID.fullmatch(name) is not None and name not in OF_OTHERS


def fields(schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Pointers of every property a body may have."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from fields(choice, at)
    for name, value in schema.get("properties", {}).items():
        yield f"{at}/{name}"
        yield from fields(value, f"{at}/{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{at}/0")


def sent(
    kit: Kit,
    name: str,
    places: dict[str, str],
    *,
    query: dict[str, str] | None = None,
    body: Any = None,
    **options: Any,
) -> Any:
    """The answer to an operation, its path filled in, with its example where no body is given."""
    method, path, operation = WALKED[name]
    given = {"id": places.get(path.split("/")[2], "unknown"), **places}
    for place in ("id", "email", "tenant", "channelId", "fileId", "deliveryId", "uploadId"):
        value = given.get(place, {"fileId": FILE_ID, "tenant": "nobody"}.get(place, "unknown"))
        path = path.replace(f"{{{place}}}", quote(value, safe=""))
    if query:
        path += "?" + urlencode(query)
    if "requestBody" in operation:
        options["json"] = example(name) if body is None else body
    headers = {"Accept": "application/json", **options.pop("headers", {})}
    return kit.ask(method, path, headers=headers, **options)


def example(name: str) -> Any:
    operation = WALKED[name][2]
    return copy.deepcopy(operation["requestBody"]["content"]["application/json"]["example"])


def told(answer: Any, identity: str) -> tuple[int, str]:
    masked = answer.text.replace(quote(identity, safe=""), "…").replace(identity, "…")
    return answer.status_code, masked


def with_id(name: str, pointer: str, identity: str) -> Any:
    """The operation's example with an id at a pointer, made where the example leaves it out."""
    body = example(name)
    if pointer.startswith("/ranges"):
        body["ranges"] = [body.pop("range")]
    if pointer == "/renditionId" and name != "localizeFile":
        body["mode"] = "encode"
    here: Any = body
    *steps, last = pointer.strip("/").split("/")
    for step in steps:
        missing: Any = [] if step.endswith("Ids") else {}
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, missing)
    if isinstance(here, list):
        here[:] = [identity]
    else:
        here[last] = identity
    return body


@pytest.mark.parametrize("name", [n for n, row in OPERATIONS.items() if row.path])
def test_another_tenants_id_in_a_path_is_an_unknown_id(
    kit: Kit, theirs: dict[str, str], mine: dict[str, str], name: str
) -> None:
    for place in OPERATIONS[name].path:
        unknown = told(sent(kit, name, {**mine, place: UNHEARD}), UNHEARD)
        for kind, identity in theirs.items():
            foreign = told(sent(kit, name, {**mine, place: identity}), identity)

            assert foreign == unknown, (place, kind)
            assert foreign[0] == 404, (place, kind)


@pytest.mark.parametrize("name", [n for n, row in OPERATIONS.items() if row.query or row.body])
def test_another_tenants_id_anywhere_else_is_an_unknown_id(
    kit: Kit, theirs: dict[str, str], mine: dict[str, str], name: str
) -> None:
    row = OPERATIONS[name]
    for identity in theirs.values():
        for place in row.query:
            foreign = sent(kit, name, mine, query={place: identity})
            unknown = sent(kit, name, mine, query={place: UNHEARD})
            assert told(foreign, identity) == told(unknown, UNHEARD), place
            assert (
                identity not in foreign.text.replace(f'"{identity}"', "") or not foreign.is_success
            )
        for place in row.body:
            foreign = sent(kit, name, mine, body=with_id(name, place, identity))
            unknown = sent(kit, name, mine, body=with_id(name, place, UNHEARD))
            assert told(foreign, identity) == told(unknown, UNHEARD), place
            assert foreign.status_code >= 400, place


_OWN = {"connectorId": "connectors", "renditionId": "renditions", "renditionIds": "renditions"}


@pytest.mark.parametrize("name", [n for n, row in OPERATIONS.items() if row.body])
def test_ones_own_id_at_the_same_place_is_known(kit: Kit, mine: dict[str, str], name: str) -> None:
    for place in OPERATIONS[name].body:
        kind = place.removesuffix("/0").rpartition("/")[2]
        own = mine[_OWN.get(kind, "metadata-views" if kind == "view" else "connectors")]

        known = told(sent(kit, name, mine, body=with_id(name, place, own)), own)
        unknown = told(sent(kit, name, mine, body=with_id(name, place, UNHEARD)), UNHEARD)

        assert known != unknown, place


def test_nothing_of_the_other_tenant_was_touched(kit: Kit, theirs: dict[str, str]) -> None:
    for name, identity in (("Connectors", "connector"), ("Renditions", "rendition")):
        path = f"/v1/{name.lower()}/{theirs[identity]}"
        assert kit.get(path, key="theirs").status_code == 200
    assert kit.get(f"/v1/jobs/{theirs['job']}", key="theirs").json()["state"] == "queued"
    assert kit.get(f"/v1/users/{theirs['user']}", key="theirs").json()["role"] == "admin"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_opens_exactly_its_operations(tmp_path: Path, role: Any) -> None:
    with a_kit(tmp_path, **QUIET) as kit:
        kit.user("another.admin@example.com")
        bearer = kit.bearer(role)
        # What ends the session comes last.
        for name in sorted(OPERATIONS, key=lambda n: n == "logout"):
            row = OPERATIONS[name]
            if row.needs is None:
                continue
            body: Any = {} if "requestBody" in WALKED[name][2] else None
            answer = sent(kit, name, {}, body=body, key=None, headers={"Authorization": bearer})

            assert (answer.status_code == 403) == (role not in row.roles), (name, answer.text)
            assert answer.status_code != 401, name


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_opens_exactly_its_operations(kit: Kit, scope: Any) -> None:
    secret = kit.api_key(scope, name=f"only {scope}")
    for name, row in OPERATIONS.items():
        if row.needs is not None:
            body: Any = {} if "requestBody" in WALKED[name][2] else None
            answer = sent(kit, name, {}, body=body, key=secret)

            assert (answer.status_code == 403) == (row.needs != scope), (name, answer.text)


def test_nothing_opens_without_a_credential(kit: Kit) -> None:
    found = {
        name: sent(kit, name, {}, key=None).status_code
        for name, row in OPERATIONS.items()
        if row.needs is not None
    }

    assert set(found.values()) == {401}, found


@pytest.mark.parametrize("name", [n for n, w in WALKED.items() if "requestBody" in w[2]])
def test_a_field_nobody_may_set_is_refused(kit: Kit, mine: dict[str, str], name: str) -> None:
    for field, value in FOREIGN_FIELDS.items():
        answer = sent(kit, name, mine, body={**example(name), field: value})

        expected = {422, 401, 403} if OPERATIONS[name].needs == "session" else {422}
        assert answer.status_code in expected, (field, answer.text)


def strings(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the strings of a value stand."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from strings(child, (*at, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from strings(child, (*at, index))


def replaced(value: Any, at: tuple[str | int, ...], text: str) -> Any:
    made = copy.deepcopy(value)
    here = made
    for step in at[:-1]:
        here = here[step]
    here[at[-1]] = text
    return made


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_strings_do_no_harm_anywhere(kit: Kit, mine: dict[str, str], kind: str) -> None:
    text, walked = HOSTILE[kind], 0
    for name, (_, _, operation) in WALKED.items():
        parameters = operation.get("parameters", ())
        # A path of 9,000 characters is refused before any operation.
        places = [p["name"] for p in parameters if p["in"] == "path" and kind != "long"]
        queries = [p["name"] for p in parameters if p["in"] == "query"]
        bodies = [] if "requestBody" not in operation else list(strings(example(name)))
        answers = [
            *(sent(kit, name, {**mine, place: text}) for place in places),
            *(sent(kit, name, mine, query={parameter: text}) for parameter in queries),
            *(sent(kit, name, mine, body=replaced(example(name), at, text)) for at in bodies),
        ]
        walked += len(answers)
        for answer in answers:
            # 501, 502 and 504 speak of connectors and origins; nothing here is a fault of ours.
            assert answer.status_code != 500, (name, answer.text)
            assert "x-evil" not in answer.headers
            assert "root:" not in answer.text

    assert walked > 60


def test_a_row_says_which_roles_may_use_it() -> None:
    assert Row("admin").roles == {"admin"}
    assert Row("read").roles == set(ROLES)
