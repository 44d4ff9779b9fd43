"""The route every operation uses: credential, rate, query and body are judged in this order.

An operation declares what it needs with `operation(...)`; the same declaration is shown in the
OpenAPI document, so that tests can walk every operation by what it says of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api_gateway import strictjson
from api_gateway.auth import Meanwhile, Need, address, authenticate, spend
from api_gateway.deps import caller, gateway, in_thread
from api_gateway.problems import FieldProblem, Problem, ProblemBody, of_validation, phrase, wrong

MAX_BODY_BYTES = 256 * 1024
BODY_S = 60.0
SCOPE = "x-scope"
MEANWHILE = "x-meanwhile"
LIMITED = "x-limited"
FORM = "application/x-www-form-urlencoded"
BODY_BYTES = "x-max-body-bytes"
BODY_DEPTH = "x-max-body-depth"
_JSON_TYPES = ("application/json", "application/merge-patch+json")
_SECURED = (401, 403, 429, 503)
_LIMITED = (429, 503)
# Jobs are not among them: a job says itself who asked for it, and accepting one asks no catalogue.
_WRITTEN_DOWN = frozenset({"connectors", "admin", "session"})


@dataclass(frozen=True)
class BodyLimits:
    """How long and how deeply nested a body may be."""

    most_bytes: int = MAX_BODY_BYTES
    depth: int = strictjson.MAX_DEPTH


class StrictRequest(Request):
    """A request whose body is capped while it is read and parsed once, strictly."""

    async def body(self) -> bytes:
        """The body, or 413 as soon as it is too long."""
        if not hasattr(self.state, "raw_body"):
            self.state.raw_body = await self._read()
        raw: bytes = self.state.raw_body
        return raw

    async def json(self) -> Any:
        """The body's value."""
        if not hasattr(self.state, "value"):
            raw, depth = await self.body(), getattr(self.state, "depth", strictjson.MAX_DEPTH)
            # What is long is not parsed beside everybody else's requests.
            parse = partial(strictjson.parse, raw, depth)
            self.state.value = await in_thread(parse) if len(raw) > MAX_BODY_BYTES else parse()
        return self.state.value

    async def _read(self) -> bytes:
        most = getattr(self.state, "most_bytes", MAX_BODY_BYTES)
        if _declared_length(self) > most:
            raise _too_long(most)
        try:
            async with asyncio.timeout(BODY_S):
                return await self._gathered(most)
        except TimeoutError:
            raise _too_slow() from None
        except ClientDisconnect:
            raise Problem(400, "the client left before its body was here") from None

    async def _gathered(self, most: int) -> bytes:
        parts, length = [], 0
        async for part in self.stream():
            length += len(part)
            if length > most:
                raise _too_long(most)
            parts.append(part)
        return b"".join(parts)


class StrictRoute(APIRoute):
    """A route that judges everything about a request before its function runs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind our judgement."""
        handle = super().get_route_handler()
        extra = self.openapi_extra or {}
        need: Need | None = extra.get(SCOPE)
        meanwhile = frozenset(extra.get(MEANWHILE, ()))
        limited = extra.get(LIMITED, False)
        action = self.operation_id if need in _WRITTEN_DOWN and self.methods != {"GET"} else None
        known = frozenset(_query_names(self))
        takes_body = self.body_field is not None
        spelled = _shape(self.body_field.field_info.annotation if self.body_field else None)
        form = FORM in extra.get("requestBody", {}).get("content", {})
        most_bytes = extra.get(BODY_BYTES, MAX_BODY_BYTES)
        depth = extra.get(BODY_DEPTH, strictjson.MAX_DEPTH)

        async def judged(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            strict.state.most_bytes, strict.state.depth = most_bytes, depth
            if need is not None:
                # What the express lane hands over has been believed and counted already.
                if not hasattr(strict.state, "principal"):
                    who = await authenticate(strict, gateway(strict), need, meanwhile)
                    strict.state.principal = who
            elif limited:
                spend(strict, gateway(strict).logins.take(address(strict)))
            _check_names(strict)
            _check_query(strict, known)
            await _check_body(strict, takes_body=takes_body, form=form)
            await _check_spelling(strict, spelled)
            answer = await handle(strict)
            if need is not None or limited:
                answer.headers.update(strict.state.rate)
            if action is not None and answer.status_code < 400:
                await in_thread(_write_down, strict, action, answer.headers.get("location"))
            return answer

        return judged


def router(tag: str) -> APIRouter:
    """A router for the operations of one tag."""
    return APIRouter(tags=[tag], route_class=StrictRoute)


def operation(
    need: Need | None,
    *errors: int,
    example: Any = None,
    meanwhile: Iterable[Meanwhile] = (),
    limited: bool = False,
    body: BodyLimits | None = None,
    form: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """How an operation is declared: the scope it needs, its own errors, a body that works.

    `meanwhile` opens it to callers in the middle of something; `limited` counts requests without
    a credential by address, as it must be wherever a password or a code is judged. `body` is how
    large its body may be, where that is more than usual; `form` names the fields of one that is
    no JSON, because another standard says so.
    """
    extra: dict[str, Any] = {}
    if body is not None:
        extra |= {BODY_BYTES: body.most_bytes, BODY_DEPTH: body.depth}
    if need is not None:
        extra[SCOPE] = need
        extra["security"] = [{"bearer": []}]
        if need != "session":
            extra["security"].append({"apiKey": []})
    if meanwhile:
        extra[MEANWHILE] = sorted(meanwhile)
    if limited:
        extra[LIMITED] = True
    if example is not None:
        extra["requestBody"] = {"content": {"application/json": {"example": example}}}
    if form is not None:
        extra["requestBody"] = {"required": True, "content": {FORM: _form(form)}}
    always = _SECURED if need is not None else _LIMITED if limited else ()
    statuses = sorted({*errors, *always})
    return {"openapi_extra": extra, "responses": {s: refusal(s) for s in statuses}}


def _form(fields: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    return {"schema": {"type": "object", "properties": properties, "required": list(fields)}}


def _write_down(request: Request, action: str, location: str | None) -> None:
    who = caller(request)
    target = "/".join(str(value) for value in request.path_params.values()) or location
    with gateway(request).catalog.write() as tx:
        tx.audit.add(
            who.tenant_id,
            who.subject,
            action,
            target=target,
            address=address(request),
            agent=request.headers.get("user-agent"),
        )


def refusal(status: int) -> dict[str, Any]:
    """How the document tells of a status that is answered with a problem."""
    return {
        "description": phrase(status),
        "content": {"application/problem+json": {"schema": _PROBLEM_REF}},
    }


_PROBLEM_REF = {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}


def _query_names(route: APIRoute) -> Iterable[str]:
    return (param.alias for param in route.dependant.query_params)


def _check_names(request: Request) -> None:
    """A name with a NUL is nobody's, and some databases refuse to be asked for it."""
    if any("\0" in str(request.path_params.get(name, "")) for name in ("id", "email", "tenant")):
        raise Problem(404, "no such resource")


def _check_query(request: Request, known: frozenset[str]) -> None:
    raw: bytes = request.scope.get("query_string", b"")
    if not raw:
        return
    names = [name for name, _ in request.query_params.multi_items()]
    wrong = [n for n in dict.fromkeys(names) if n not in known]
    twice = [n for n in dict.fromkeys(names) if n in known and names.count(n) > 1]
    found = [
        FieldProblem(pointer=f"#query/{name[:60]}", message=message)
        for listed, message in ((wrong, "unknown parameter"), (twice, "given more than once"))
        for name in listed[:20]
    ]
    if found:
        takes = f"; this operation takes {', '.join(sorted(known))}" if known else ""
        raise Problem(
            422,
            f"{found[0].message}: {found[0].pointer.removeprefix('#query/')}{takes}",
            code="query_invalid",
            found=found,
        )


async def _check_body(request: StrictRequest, *, takes_body: bool, form: bool) -> None:
    if request.method in {"GET", "HEAD", "DELETE"}:
        return
    raw = await request.body()
    if not raw:
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    types = (FORM,) if form else _JSON_TYPES
    if kind not in types:
        raise Problem(415, f"the body must be {types[0]}", headers={"Accept": types[0]})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "the body must come without a content encoding")
    if form:
        return
    # Parsed here: FastAPI would put words of its own in place of what is wrong with a body.
    if await request.json() != {} and not takes_body:
        raise wrong("", "this operation takes no body", "invalid")


def _shape(wanted: Any) -> TypeAdapter[Any] | None:
    """What judges a body's spelling; None where it is a document of another standard, or none."""
    models = [one for one in (wanted, *get_args(wanted)) if isinstance(one, type)]
    if not any(issubclass(one, BaseModel) for one in models):
        return None
    return TypeAdapter(wanted)


async def _check_spelling(request: StrictRequest, shape: TypeAdapter[Any] | None) -> None:
    """Refuse what only Python would take: a field by its name in code, or "5" for 5."""
    raw = await request.body() if shape is not None else b""
    if shape is None or not raw:
        return
    try:
        shape.validate_json(raw, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise of_validation([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _declared_length(request: Request) -> int:
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() and len(given) < 16 else 0


def _too_slow() -> Problem:
    headers = {"Connection": "close"}
    return Problem(408, f"the body took over {BODY_S:g} s", code="timed_out", headers=headers)


def _too_long(most: int) -> Problem:
    # What is left unread of the body would be taken for the next request.
    return Problem(413, f"the body is longer than {most} bytes", headers={"Connection": "close"})
