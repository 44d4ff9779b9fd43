"""The rendered documentation: one page of ours that reads the OpenAPI document."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api_gateway.answers import conditional
from api_gateway.openapi import text
from api_gateway.routing import router

docs: APIRouter = router("service")
_FOLDER = Path(__file__).parent.parent / "docs_page"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@docs.get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> Response:
    """The document."""
    return conditional(request, text(request.app).encode())


@docs.get("/docs", include_in_schema=False)
async def get_docs() -> Response:
    """The page."""
    return _file("index.html", "text/html")


@docs.get("/docs/page.js", include_in_schema=False)
async def get_docs_script() -> Response:
    """Its script."""
    return _file("page.js", "text/javascript")


@docs.get("/docs/page.css", include_in_schema=False)
async def get_docs_style() -> Response:
    """Its style."""
    return _file("page.css", "text/css")


def _file(name: str, media_type: str) -> Response:
    headers = {"Content-Security-Policy": _CSP, "Cache-Control": "max-age=300"}
    return Response(_text(name), media_type=media_type, headers=headers)


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
