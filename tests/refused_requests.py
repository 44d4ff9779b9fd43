"""Requests that are refused, each with its status and code: data for the tests and the docs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.timelines import a_clip, a_timeline, a_track, of_file

C = "{connector}"
_RANGE = "ch1/2022/02/04/range-"
_GOOD = f"{_RANGE}1643957046-1643957106-clip-goal"
_CLIP = f"/v1/connectors/{C}/files/{{file}}/clip"


@dataclass(frozen=True)
class Refused:
    """A request and what it must be answered. `{connector}` and `{job}` are filled in."""

    what: str
    method: str
    path: str
    status: int
    code: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    credential: str | None = "good"


def _clip(what: str, file_id: str, code: str, status: int = 422) -> Refused:
    path = _CLIP.replace("{file}", file_id)
    return Refused(what, "POST", path, status, code, b"{}")


def _body(what: str, body: bytes, status: int, code: str) -> Refused:
    return Refused(what, "POST", "/v1/connectors", status, code, body)


def _clip_body(what: str, body: bytes, status: int, code: str) -> Refused:
    path = _CLIP.replace("{file}", _GOOD.replace("/", "%2F"))
    return Refused(what, "POST", path, status, code, body)


def _deep(levels: int) -> bytes:
    return b'{"config":' + b"[" * levels + b"]" * levels + b"}"


def _hls(rest: str) -> bytes:
    return (
        '{"type":"hls","name":"n","config":{"url":"http://127.0.0.1:9/a.m3u8"}' + rest + "}"
    ).encode()


FILE_IDS = (
    _clip("no clip address at all", "movie.mp4", "file_id_invalid"),
    _clip("a folder and a file", "a%2Fb", "file_id_invalid"),
    _clip("two dots", "..%2F..%2Fetc%2Fpasswd", "file_id_invalid"),
    _clip("two dots before a channel", f"..%2F{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip("one dot", f".%2F{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip("an empty segment", f"ch1%2F%2F{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip("an empty segment, literally", f"ch1//{_GOOD}", "file_id_invalid"),
    _clip("encoded twice", _GOOD.replace("/", "%252F"), "file_id_invalid"),
    _clip("a control character", f"ch%00{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip("a separator of ours", f"ch%1F{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip("a line feed", f"{_GOOD.replace('/', '%2F')}%0A", "file_id_invalid"),
    _clip("a backslash", f"ch%5C{_GOOD.replace('/', '%2F')}", "file_id_invalid"),
    _clip(
        "longer than 512 characters",
        f"{'c' * 600}%2F{_GOOD.replace('/', '%2F')}",
        "file_id_invalid",
    ),
    _clip(
        "a clip id of 65 characters",
        f"{_RANGE}1643957046-1643957106-clip-{'x' * 65}",
        "file_id_invalid",
    ),
    _clip("a clip id with a dot", f"{_RANGE}1643957046-1643957106-clip-a.b", "file_id_invalid"),
    _clip("no clip id", f"{_RANGE}1643957046-1643957106-", "file_id_invalid"),
    _clip("no end", f"{_RANGE}1643957046-clip-goal", "file_id_invalid"),
    _clip("times that are words", f"{_RANGE}now-later-clip-goal", "file_id_invalid"),
    _clip(
        "a time of 17 digits",
        f"{_RANGE}16439570460000000-16439571060000000-clip-goal",
        "file_id_invalid",
    ),
    _clip(
        "digits of another script",
        f"{_RANGE}%D9%A1643957046-1643957106-clip-goal",
        "file_id_invalid",
    ),
    _clip(
        "neither seconds nor milliseconds",
        f"{_RANGE}164395704600000-164395710600000-clip-goal",
        "timestamp_unit",
    ),
    _clip("seconds and milliseconds", f"{_RANGE}1643957046-1643957106000-clip-goal", "mixed_units"),
    _clip("s and ms", f"{_RANGE}1643957046s-1643957106000ms-clip-goal", "mixed_units"),
    _clip("an end before the start", f"{_RANGE}1643957106-1643957046-clip-goal", "range_invalid"),
    _clip("an empty range", f"{_RANGE}1643957046-1643957046-clip-goal", "range_invalid"),
    _clip("another day", "ch1/2022/02/07/range-1643957046-1643957106-clip-goal", "date_mismatch"),
    _clip(
        "a month that is none",
        "ch1/2022/13/04/range-1643957046-1643957106-clip-goal",
        "date_mismatch",
    ),
    _clip("longer than a clip may be", f"{_RANGE}1643932800-1643957106-clip-goal", "too_long"),
    _clip(
        "more than a day ahead",
        "ch1/2022/02/06/range-1644130000-1644130060-clip-goal",
        "too_far_ahead",
    ),
    _clip("not UTF-8 once decoded", "ch%FF%2F2022", "malformed", 400),
    Refused(
        "a traversal in the fileId parameter",
        "POST",
        f"/v1/connectors/{C}/files/-/clip?fileId=..%2F..%2Fetc",
        422,
        "file_id_invalid",
        b"{}",
    ),
)
BODIES = (
    _body("no JSON", b"{", 400, "malformed"),
    _body("words", b"hello", 400, "malformed"),
    _body("two values", b"{} {}", 400, "malformed"),
    _body("a key twice", b'{"type":"hls","type":"s3"}', 400, "malformed"),
    _body("a key twice, deep", b'{"config":{"a":{"b":1,"b":2}}}', 400, "malformed"),
    _body("NaN", b'{"config":{"a":NaN}}', 400, "malformed"),
    _body("Infinity", b'{"config":{"a":-Infinity}}', 400, "malformed"),
    _body("nested 40 deep", _deep(40), 400, "malformed"),
    _body("nested 50,000 deep", _deep(50_000), 400, "malformed"),
    _body("a number of 5,000 digits", b'{"config":{"a":' + b"9" * 5000 + b"}}", 400, "malformed"),
    _body("not UTF-8", b'{"name":"\xff"}', 400, "malformed"),
    _body("UTF-16", '{"name":"x"}'.encode("utf-16"), 400, "malformed"),
    _body("over 256 KiB", b'{"name":"' + b"x" * 300_000 + b'"}', 413, "too_large"),
    _body("a list", b"[]", 422, "invalid"),
    _body("nothing", b"", 422, "invalid"),
    _body("a null", b"null", 422, "invalid"),
    _body("no name", b'{"type":"hls"}', 422, "invalid"),
    _body("an empty name", b'{"type":"hls","name":""}', 422, "invalid"),
    _body(
        "a name of 300 characters", b'{"type":"hls","name":"' + b"n" * 300 + b'"}', 422, "invalid"
    ),
    _body("a line feed in the name", b'{"type":"hls","name":"a\\nb"}', 422, "invalid"),
    _body("a lone surrogate in the name", b'{"type":"hls","name":"\\ud800"}', 422, "invalid"),
    _body("a field nobody knows", _hls(',"tenantId":"t"'), 422, "invalid"),
    _body("a type nobody knows", b'{"type":"ftp9","name":"n"}', 422, "connector_type_unknown"),
    _body(
        "a config field nobody knows",
        _hls(',"auth":{"nonsense":1}'),
        422,
        "connector_config_invalid",
    ),
    _body(
        "a config without its URL",
        b'{"type":"hls","name":"n","config":{}}',
        422,
        "connector_config_invalid",
    ),
    _body(
        "a file as a stream",
        b'{"type":"hls","name":"n","config":{"url":"file:///etc/passwd"}}',
        422,
        "connector_config_invalid",
    ),
    _clip_body("a mode that is none", b'{"mode":"fast"}', 422, "invalid"),
    _clip_body("a gap policy that is none", b'{"gaps":"ignore"}', 422, "invalid"),
    _clip_body("a future policy that is none", b'{"onFuture":"guess"}', 422, "invalid"),
    _clip_body("metadata that is no object", b'{"metadata":[1]}', 422, "invalid"),
    _clip_body("metadata of numbers", b'{"metadata":{"a":1}}', 422, "invalid"),
    _clip_body(
        "metadata over 64 KiB", b'{"metadata":{"a":"' + b"x" * 70_000 + b'"}}', 422, "invalid"
    ),
    _clip_body("metadata with a lone surrogate", b'{"metadata":{"a":"\\udfff"}}', 422, "invalid"),
    Refused(
        "a form",
        "POST",
        "/v1/connectors",
        415,
        "unsupported_media_type",
        b"type=hls",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Refused(
        "JSON called text",
        "POST",
        "/v1/connectors",
        415,
        "unsupported_media_type",
        b"{}",
        {"Content-Type": "text/plain"},
    ),
    Refused(
        "a compressed body",
        "POST",
        "/v1/connectors",
        415,
        "unsupported_media_type",
        b"\x1f\x8b",
        {"Content-Encoding": "gzip"},
    ),
    Refused(
        "a body where none is taken", "POST", "/v1/jobs/{job}/cancel", 422, "invalid", b'{"a":1}'
    ),
    Refused(
        "an expiry that has passed",
        "POST",
        "/v1/api-keys",
        422,
        "invalid",
        b'{"name":"k","expiresAt":"2001-01-01T00:00:00Z"}',
    ),
    Refused(
        "an expiry that is a number",
        "POST",
        "/v1/api-keys",
        422,
        "invalid",
        b'{"name":"k","expiresAt":"1643957046"}',
    ),
    Refused(
        "a scope that is none",
        "POST",
        "/v1/api-keys",
        422,
        "invalid",
        b'{"name":"k","scopes":["root"]}',
    ),
    Refused("no scope at all", "POST", "/v1/api-keys", 422, "invalid", b'{"name":"k","scopes":[]}'),
)
QUERIES = (
    Refused("a parameter nobody knows", "GET", "/v1/jobs?sort=up", 422, "query_invalid"),
    Refused("a parameter twice", "GET", "/v1/jobs?limit=1&limit=2", 422, "query_invalid"),
    Refused("a parameter on a plain GET", "GET", f"/v1/connectors/{C}?x=1", 422, "query_invalid"),
    Refused("a limit of nothing", "GET", "/v1/jobs?limit=0", 422, "invalid"),
    Refused("a limit of a million", "GET", "/v1/jobs?limit=1000000", 422, "invalid"),
    Refused("a limit in words", "GET", "/v1/connectors?limit=ten", 422, "invalid"),
    Refused("a state that is none", "GET", "/v1/jobs?state=done", 422, "invalid"),
    Refused("a kind that is none", "GET", "/v1/jobs?kind=movie", 422, "invalid"),
    Refused("a capability that is none", "GET", "/v1/connectors?capability=fly", 422, "invalid"),
    Refused("a time that is a number", "GET", "/v1/jobs?from=1643957046", 422, "query_invalid"),
    Refused(
        "a time without an offset", "GET", "/v1/jobs?to=2022-02-04T06:44:06", 422, "query_invalid"
    ),
    Refused("a cursor nobody gave", "GET", "/v1/jobs?cursor=abc", 422, "cursor_invalid"),
    Refused(
        "a cursor that is no base64",
        "GET",
        "/v1/connectors?cursor=%C3%A9%21",
        422,
        "cursor_invalid",
    ),
    Refused("an event id that is none", "GET", "/v1/events?after=yesterday", 422, "cursor_invalid"),
    Refused(
        "a Last-Event-ID that is none",
        "GET",
        "/v1/events",
        422,
        "cursor_invalid",
        headers={"Last-Event-ID": "x", "Accept": "text/event-stream"},
    ),
    Refused(
        "an Idempotency-Key of 300 characters",
        "POST",
        "/v1/jobs/{job}/cancel",
        422,
        "invalid",
        headers={"Idempotency-Key": "k" * 300},
    ),
)
CREDENTIALS = (
    Refused("no credential", "GET", "/v1/jobs", 401, "unauthenticated", credential=None),
    Refused("a mistyped key", "GET", "/v1/jobs", 401, "unauthenticated", credential="mistyped"),
    Refused("an unknown key", "GET", "/v1/jobs", 401, "unauthenticated", credential="unknown"),
    Refused("a disabled key", "GET", "/v1/jobs", 401, "unauthenticated", credential="disabled"),
    Refused("an expired key", "GET", "/v1/jobs", 401, "unauthenticated", credential="expired"),
    Refused(
        "a bearer token",
        "GET",
        "/v1/jobs",
        401,
        "unauthenticated",
        headers={"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
        credential=None,
    ),
    Refused(
        "no credential and a malformed body",
        "POST",
        "/v1/connectors",
        401,
        "unauthenticated",
        b"{",
        credential=None,
    ),
    Refused(
        "a key that may only read",
        "POST",
        "/v1/connectors",
        403,
        "forbidden",
        b"{}",
        credential="read",
    ),
)
PLACES = (
    Refused("no such path", "GET", "/v1/nothing", 404, "not_found"),
    Refused("a path with a slash too many", "GET", "/v1/jobs/", 404, "not_found"),
    Refused("a method too many", "DELETE", "/v1/jobs", 405, "method_not_allowed"),
    Refused("an unknown connector", "GET", "/v1/connectors/con_nothing", 404, "not_found"),
    Refused("a connector id with a slash", "GET", "/v1/connectors/a%2Fb", 404, "not_found"),
    Refused("an unknown job", "GET", "/v1/jobs/job_nothing", 404, "not_found"),
    Refused("a job id that is another key", "GET", "/v1/jobs/x%3Aevents", 404, "not_found"),
    Refused("an unknown API key", "PATCH", "/v1/api-keys/key_nothing", 404, "not_found", b"{}"),
    Refused(
        "a clip of an unknown connector",
        "POST",
        f"/v1/connectors/con_x/files/{_GOOD}/clip",
        404,
        "not_found",
        b"{}",
    ),
    Refused(
        "a clip nobody asked for",
        "GET",
        _CLIP.replace("{file}", _GOOD.replace("/", "%2F")),
        404,
        "not_found",
    ),
    Refused(
        "a retry of a job that did not fail", "POST", "/v1/jobs/{job}/retry", 409, "job_not_failed"
    ),
    Refused(
        "a cancel of a job that has ended", "POST", "/v1/jobs/{ended}/cancel", 409, "job_finished"
    ),
    Refused(
        "a name that is taken",
        "POST",
        "/v1/connectors",
        409,
        "name_taken",
        _hls("").replace(b'"n"', b'"News"'),
    ),
    Refused(
        "a clip of a store without live channels",
        "POST",
        f"/v1/connectors/{{files}}/files/{_GOOD}/clip",
        501,
        "not_supported",
        b"{}",
    ),
    Refused(
        "a change made from another version",
        "PATCH",
        f"/v1/connectors/{C}",
        412,
        "stale",
        b'{"name":"other"}',
        {"If-Match": '"v9"'},
    ),
    Refused("a path over 8 KiB", "GET", "/v1/jobs/" + "a%20" * 3000, 400, "malformed"),
)
_LOCALIZE = f"/v1/connectors/{C}/files/{{file}}/localize"
LOCALIZING = (
    Refused(
        "localizing what is neither a clip nor a channel",
        "POST",
        _LOCALIZE.replace("{file}", "a%2Fb.mp4"),
        422,
        "file_id_invalid",
        b"{}",
    ),
    Refused(
        "localizing a path that leads elsewhere",
        "POST",
        "/v1/connectors/{files}/files/..%2F..%2Fetc%2Fpasswd/localize",
        422,
        "file_id_invalid",
        b"{}",
    ),
    Refused(
        "localizing with a field there is not",
        "POST",
        _LOCALIZE.replace("{file}", _GOOD),
        422,
        "invalid",
        b'{"fast":true}',
    ),
    Refused(
        "localizing a clip by a recipe",
        "POST",
        _LOCALIZE.replace("{file}", _GOOD),
        422,
        "invalid_field",
        b'{"renditionId":"h264-720p"}',
    ),
    Refused(
        "localizing by a recipe there is not",
        "POST",
        _LOCALIZE.replace("{file}", _GOOD),
        422,
        "rendition_unknown",
        b'{"renditionId":"ren_none"}',
    ),
    Refused(
        "localizing with a number for a truth",
        "POST",
        _LOCALIZE.replace("{file}", _GOOD),
        422,
        "invalid",
        b'{"force":1}',
    ),
    Refused(
        "localizing with a word for a truth",
        "POST",
        _LOCALIZE.replace("{file}", _GOOD),
        422,
        "invalid",
        b'{"force":"perhaps"}',
    ),
    Refused(
        "a localization nobody asked for",
        "GET",
        "/v1/connectors/{files}/files/never.mp4/localize",
        404,
        "not_found",
    ),
)


def _thumbnail(what: str, query: str, status: int, code: str, file: str = "a.mp4") -> Refused:
    path = f"/v1/connectors/{{files}}/files/{file}/thumbnail?{query}"
    return Refused(what, "GET", path, status, code)


_SHOWN = f"/v1/connectors/{C}/files/{_GOOD.replace('/', '%2F')}/thumbnail"
THUMBNAILS = (
    _thumbnail("a thumbnail of no known kind", "type=gif", 422, "invalid"),
    _thumbnail("a thumbnail in a format there is not", "format=png", 422, "invalid"),
    _thumbnail("a thumbnail before the beginning", "atMs=-1", 422, "invalid"),
    _thumbnail("a thumbnail a few pixels wide", "width=1", 422, "invalid"),
    _thumbnail("a thumbnail wider than any screen", "width=100000", 422, "invalid"),
    _thumbnail("a sprite of large pictures", "type=sprite&width=1000", 422, "invalid_field"),
    _thumbnail("a sprite of a million pictures", "type=vtt&count=1000000", 422, "invalid"),
    _thumbnail("a sprite by step and count", "type=vtt&count=2&everyMs=500", 422, "invalid_field"),
    _thumbnail("a thumbnail parameter there is not", "at=1", 422, "query_invalid"),
    _thumbnail("a thumbnail of a path elsewhere", "", 422, "file_id_invalid", "..%2Fetc"),
    Refused("a poster past the clip's end", "GET", f"{_SHOWN}?atMs=60000", 422, "invalid_field"),
    Refused(
        "a sprite of a channel without a range",
        "GET",
        f"/v1/connectors/{C}/files/ch1/thumbnail?type=sprite",
        422,
        "invalid_field",
    ),
    Refused(
        "a poster of a channel tomorrow",
        "GET",
        f"/v1/connectors/{C}/files/ch1/thumbnail?atMs=9999999999999",
        425,
        "in_future",
    ),
    Refused(
        "a poster of a channel without a time",
        "GET",
        f"/v1/connectors/{C}/files/ch1/thumbnail",
        422,
        "invalid_field",
    ),
)


def _export(what: str, body: bytes, status: int, code: str) -> Refused:
    path = f"/v1/connectors/{C}/channels/ch1/segments"
    return Refused(what, "POST", path, status, code, body)


_SPAN = b'"range":{"startMs":1643957046000,"endMs":1643957056000}'
_TO = b'"destination":{"path":"{id}.mp4"}'
EXPORTING = (
    _export("an export of nothing", b"{" + _TO + b"}", 422, "invalid"),
    _export("an export to nowhere", b"{" + _SPAN + b"}", 422, "invalid"),
    _export(
        "an export of a range that runs back",
        b'{"range":{"startMs":2,"endMs":1},' + _TO + b"}",
        422,
        "range_invalid",
    ),
    _export(
        "an export of more than six hours",
        b'{"range":{"startMs":0,"endMs":99999999},' + _TO + b"}",
        422,
        "too_long",
    ),
    _export(
        "an export to a path with an unknown variable",
        b"{" + _SPAN + b',"destination":{"path":"{shoe}.mp4"}}',
        422,
        "invalid",
    ),
    _export(
        "an export by a rendition that is none",
        b"{" + _SPAN + b"," + _TO + b',"renditionId":"none"}',
        422,
        "rendition_unknown",
    ),
    _export(
        "an export of a programme of a channel without a guide",
        b'{"programmeId":"p1643957046-180d8a1d8490",' + _TO + b"}",
        409,
        "station_not_mapped",
    ),
    Refused(
        "exports listed in a state that is none",
        "GET",
        f"/v1/connectors/{C}/channels/ch1/segments?state=odd",
        422,
        "invalid",
    ),
)


def _document(
    what: str, body: dict[str, Any] | bytes, status: int = 422, code: str = "timeline_invalid"
) -> Refused:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Refused(what, "POST", "/v1/projects", status, code, raw)


def _timed(**clip: Any) -> dict[str, Any]:
    return a_timeline(a_track(a_clip(**clip)))


_EMPTY = json.dumps(a_timeline()).encode()
_STRANGER = of_file("con_of_nobody", "a.mp4")
PROJECTS = (
    _document("a project of no OpenTimelineIO document", {"name": "x"}),
    _document("a project of a clip alone", a_clip()),
    _document("a project of a timeline from the future", {"OTIO_SCHEMA": "Timeline.9"}),
    _document("a timeline with a field nobody knows", {**a_timeline(), "tenantId": "x"}),
    _document("a timeline of an unknown schema", a_timeline(a_track({"OTIO_SCHEMA": "Reel.1"}))),
    _document("a timeline in a timeline", a_timeline(a_timeline())),
    _document("a timeline at no frames a second", _timed(rate=0)),
    _document("a timeline at a negative rate", _timed(rate=-25)),
    _document("a clip of a negative duration", _timed(frames=-1)),
    _document("a clip of thirty years", _timed(frames=25e9)),
    _document("a clip that says nowhere how long it is", _timed(source_range=None)),
    _document("a time past every number", _EMPTY.replace(b'"Cut"', b'"Cut","metadata":{"n":NaN}'),
              400, "malformed"),
    _document("a time that is infinite",
              json.dumps(_timed()).replace("50", "1e999").encode()),
    _document("a timeline whose metadata hold an infinite number",
              _EMPTY.replace(b'"Cut"', b'"Cut","metadata":{"n":1e999}')),
    _document("a timeline nested deeper than 64 levels",
              _EMPTY.replace(b'"Cut"', b'"Cut","metadata":' + b"[" * 70 + b"]" * 70),
              400, "malformed"),
    _document("a timeline of more than 4 MiB", _EMPTY + b" " * (4 << 20), 413, "too_large"),
    _document("a clip of a connector that is none", _timed(media=_STRANGER), 422,
              "connector_unknown"),
    _document("a clip that names a connector without a file",
              _timed(media={"connectorId": "con_x"})),
    _document("a clip with an address that is none of ours",
              _timed(reference={"OTIO_SCHEMA": "ExternalReference.1",
                                "target_url": "cuttingroom://../etc/passwd"})),
    Refused("a project that is none", "GET", "/v1/projects/prj_none", 404, "not_found"),
    Refused("a timeline for a project that is none", "PUT", "/v1/projects/prj_none/timeline",
            404, "not_found", _EMPTY),
    Refused("a render of a project that is none", "POST", "/v1/projects/prj_none/render", 404,
            "not_found", b'{"destination":{"path":"a.mp4"}}'),
    Refused("projects in an order that is none", "GET", "/v1/projects?sort=size", 422, "invalid"),
    Refused("projects changed at a time that is none", "GET", "/v1/projects?updatedFrom=noon",
            422, "query_invalid"),
)  # fmt: skip


def _webhook(what: str, body: bytes, code: str) -> Refused:
    return Refused(what, "POST", "/v1/webhooks", 422, code, body)


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SINGLE_LOG_OUT = (
    Refused(
        "a log-out of a provider nobody set up",
        "POST",
        "/v1/auth/sso/nobody/backchannel-logout",
        404,
        "not_found",
        b"logout_token=x",
        _FORM,
        None,
    ),
    Refused(
        "a provider's log-out without a token",
        "POST",
        "/v1/auth/sso/nobody/backchannel-logout",
        400,
        "logout_token_invalid",
        b"",
        _FORM,
        None,
    ),
    Refused(
        "a provider's log-out as JSON",
        "POST",
        "/v1/auth/sso/nobody/backchannel-logout",
        415,
        "unsupported_media_type",
        b"{}",
        {},
        None,
    ),
)
WEBHOOKS = (
    _webhook("a webhook without TLS", b'{"url":"http://hooks.example.com/"}', "url_invalid"),
    _webhook("a webhook at an address of ours", b'{"url":"https://127.0.0.1/"}', "url_invalid"),
    _webhook(
        "a webhook at the cloud's metadata", b'{"url":"https://169.254.169.254/"}', "url_invalid"
    ),
    _webhook(
        "a webhook with a password in its URL", b'{"url":"https://a:b@c.example/"}', "url_invalid"
    ),
    _webhook("a webhook without a URL", b"{}", "invalid"),
    _webhook(
        "a webhook for events that are none",
        b'{"url":"https://c.example/","events":["clip.lost"]}',
        "invalid",
    ),
    Refused("a webhook that is not there", "GET", "/v1/webhooks/none", 404, "not_found"),
    Refused(
        "a delivery of a webhook that is not there",
        "POST",
        "/v1/webhooks/none/deliveries/none/redeliver",
        404,
        "not_found",
    ),
)


def _destination(what: str, body: bytes, code: str = "invalid", status: int = 422) -> Refused:
    return Refused(what, "POST", "/v1/reporter/destinations", status, code, body)


def _tus(what: str, method: str, headers: dict[str, str], status: int, code: str) -> Refused:
    return Refused(
        what, method, "/v1/reporter/tus/upl_x", status, code, None, headers, credential=None
    )


_NAMED = b'{"name":"Phones","pathTemplate":"{fileName}"'
REPORTING = (
    _destination("a destination without a path", b'{"name":"Phones"}'),
    _destination(
        "a destination above its folder", b'{"name":"Phones","pathTemplate":"../{fileName}"}'
    ),
    _destination(
        "a destination with an unknown variable", b'{"name":"Phones","pathTemplate":"{shoe}"}'
    ),
    _destination("a destination for no bytes", _NAMED + b',"maxBytes":0}'),
    _destination("a destination for no type", _NAMED + b',"allowedTypes":[]}'),
    _destination("a destination for what is no type", _NAMED + b',"allowedTypes":["movies"]}'),
    _destination(
        "a destination of an unknown connector",
        _NAMED + b',"connectorId":"con_none"}',
        "connector_unknown",
    ),
    Refused(
        "uploads to a destination that is none",
        "GET",
        "/v1/reporter/destinations/dst_none/uploads",
        404,
        "not_found",
    ),
    Refused(
        "credentials for a destination that is none",
        "POST",
        "/v1/reporter/destinations/dst_none/credentials",
        404,
        "not_found",
        b'{"fileName":"a.mp4","size":1,"contentType":"video/mp4"}',
    ),
    Refused(
        "credentials for a file of no size",
        "POST",
        "/v1/reporter/destinations/dst_none/credentials",
        422,
        "invalid",
        b'{"fileName":"a.mp4","size":0,"contentType":"video/mp4"}',
    ),
    _tus("bytes of an upload without its token", "PATCH", {}, 404, "not_found"),
    _tus(
        "an upload given up with a token of nobody's",
        "DELETE",
        {"Upload-Token": "ten_x.gAAAAA", "Tus-Resumable": "1.0.0"},
        404,
        "not_found",
    ),
    Refused(
        "a parameter of a protocol that has none",
        "OPTIONS",
        "/v1/reporter/tus?a=1",
        422,
        "query_invalid",
        credential=None,
    ),
)


def _content(
    what: str, method: str, tail: str, status: int, code: str, body: bytes = b""
) -> Refused:
    path = f"/v1/connectors/{C}{tail}"
    return Refused(what, method, path, status, code, body or None)


_KNOWN = f"/files/{_GOOD.replace('/', '%2F')}/metadata"
_WEB = "/v1/connectors/{files}"
CONTENT = (
    _content("a query with a field there is not", "POST", "/query", 422, "invalid", b'{"q":"a"}'),
    _content(
        "a query filtered by a field there is not",
        "POST",
        "/query",
        422,
        "filter_unknown",
        b'{"filters":{"colour":"red"}}',
    ),
    _content(
        "a query filtered by a field of metadata there is not",
        "POST",
        "/query",
        422,
        "filter_unknown",
        b'{"filters":{"metadata.dublin-core.colour":"red"}}',
    ),
    _content(
        "a query in an order there is not", "POST", "/query", 422, "invalid", b'{"sort":"age"}'
    ),
    _content(
        "a query by metadata in an order they have not",
        "POST",
        "/query",
        422,
        "sort_unknown",
        b'{"filters":{"metadata.title":"a"},"sort":"-size"}',
    ),
    _content(
        "a query below a path elsewhere",
        "POST",
        "/query",
        422,
        "file_id_invalid",
        b'{"path":"../etc"}',
    ),
    _content(
        "a query from a cursor that is none",
        "POST",
        "/query",
        422,
        "cursor_invalid",
        b'{"cursor":"AAAA"}',
    ),
    Refused("a query of what cannot list", "POST", f"{_WEB}/query", 501, "not_supported", b"{}"),
    _content(
        "a file as a picture of itself", "GET", "/files/ch1?format=png", 406, "not_acceptable"
    ),
    Refused(
        "a file as something it is not",
        "GET",
        f"/v1/connectors/{C}/files/ch1",
        406,
        "not_acceptable",
        headers={"Accept": "video/mp4"},
    ),
    _content("a clip's source before it was made", "GET", f"/files/{_GOOD}", 404, "not_found"),
    Refused("a source elsewhere", "GET", f"{_WEB}/files/..%2Fetc", 422, "file_id_invalid"),
    _content(
        "metadata of a view there is not",
        "POST",
        _KNOWN,
        422,
        "view_unknown",
        b'{"view":"none","values":{}}',
    ),
    _content(
        "metadata without what is required",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"news-clip","values":{}}',
    ),
    _content(
        "metadata of a field there is not",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"dublin-core","values":{"colour":"red"}}',
    ),
    _content(
        "metadata with a time of a view without",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"dublin-core","values":{},"startMs":1}',
    ),
    _content(
        "a log entry without a time",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"sport-log","values":{"event":"goal"}}',
    ),
    _content(
        "a log entry that ends before it starts",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"sport-log","values":{"event":"goal"},"startMs":2,"endMs":1}',
    ),
    _content(
        "a text with a NUL in a value",
        "POST",
        _KNOWN,
        422,
        "metadata_invalid",
        b'{"view":"dublin-core","values":{"title":"a\\u0000b"}}',
    ),
    _content(
        "metadata of a path elsewhere", "GET", "/files/a%2F..%2Fb/metadata", 422, "file_id_invalid"
    ),
    _content("a search for a NUL", "GET", "/metadata?value=a%00b", 422, "query_invalid"),
    Refused("metadata nobody wrote", "GET", "/v1/metadata/mdr_none", 404, "not_found"),
    Refused("a view nobody made", "DELETE", "/v1/metadata-views/mdv_none", 404, "not_found"),
    Refused(
        "a view of the tenant's own named like everybody's",
        "POST",
        "/v1/metadata-views",
        409,
        "name_taken",
        b'{"name":"Dublin Core","fields":[{"name":"a"}]}',
    ),
    Refused(
        "a view without fields",
        "POST",
        "/v1/metadata-views",
        422,
        "invalid",
        b'{"name":"n","fields":[]}',
    ),
    Refused(
        "a view with a list of numbers",
        "POST",
        "/v1/metadata-views",
        422,
        "invalid",
        b'{"name":"n","fields":[{"name":"a","type":"number","enum":["1"]}]}',
    ),
)
REFUSED = (
    WEBHOOKS
    + SINGLE_LOG_OUT
    + FILE_IDS
    + BODIES
    + QUERIES
    + CREDENTIALS
    + PLACES
    + LOCALIZING
    + THUMBNAILS
    + EXPORTING
    + CONTENT
    + REPORTING
    + PROJECTS
)
