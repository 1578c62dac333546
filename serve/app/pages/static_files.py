# ruff: noqa: TID253
"""Serves the files of the playground: HTML, CSS, JavaScript modules and an icon, as they lie in this folder.

They hold no data of the server, so they need no API key: the page then asks for one. A browser asks each time whether a
file has changed, and gets 304 if it has not.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

#: Pages by path; ``{name}`` is the name of a model, which the page's script reads from its address.
PAGES = {"/": "home.html", "/docs": "docs.html", "/models/{name}": "model.html"}
#: Prefix of the path of all other files.
PREFIX = "/static/"
_FOLDER = Path(__file__).parent
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Content security policy: scripts and styles only from files of this server, no inline code, calls only to this
#: server. Pictures may also be made by the page itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


class StaticFile(NamedTuple):
    """One file as it is sent."""

    content: bytes
    media_type: str
    #: Changes with the content.
    etag: str

    @classmethod
    def read(cls, path: Path) -> StaticFile:
        """Read a file of this folder."""
        content = path.read_bytes()
        return cls(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


@cache
def static_files() -> dict[str, StaticFile]:
    """All files by path, the pages among them."""
    files = {path: StaticFile.read(_FOLDER / name) for path, name in PAGES.items()}
    for file in sorted((_FOLDER / "static").rglob("*")):
        if file.suffix in _TYPES:
            files[PREFIX + file.relative_to(_FOLDER / "static").as_posix()] = StaticFile.read(file)
    return files


def routes() -> list[BaseRoute]:
    """One route for each file."""
    return [_route(path, file) for path, file in static_files().items()]


def needs_no_key(path: str) -> bool:
    """Whether a path is exactly one of these files, which need no API key."""
    name = path.removeprefix("/models/")
    return path in static_files() or (name != path and bool(name) and "/" not in name)


def _route(path: str, file: StaticFile) -> Route:
    headers = HEADERS | {"etag": file.etag}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return Route(path, send, include_in_schema=path in PAGES)
