# ruff: noqa: TID253
"""Docs: the OpenAPI document of every HTTP route, and a page to read and try it that needs nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

#: What the page may do: its own script and style, and calls to this server and nowhere else.
_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:"


def routes() -> list[BaseRoute]:
    """``/openapi.json`` and ``/docs``."""
    here = Path(__file__).parent
    document = (here / "openapi.json").read_bytes()
    page = (here / "index.html").read_bytes()

    async def openapi(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": _POLICY, "x-content-type-options": "nosniff"})

    return [Route("/openapi.json", openapi), Route("/docs", docs)]
