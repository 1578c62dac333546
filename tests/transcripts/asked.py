"""Asked: what is sent, as plain data."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

#: Stands in a path for the number of the job that was started last.
JOB = "{job}"


class Http(NamedTuple):
    """A request over HTTP; a ``body`` that is no bytes goes as JSON."""

    name: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}

    @property
    def content(self) -> bytes | None:
        """The body as it is sent."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


class Rpc(NamedTuple):
    """A call over gRPC; ``messages`` are in protobuf's JSON form, of more than one only where the caller streams."""

    name: str
    #: ``package.Service/Method``
    method: str
    messages: list[Any]
    metadata: Mapping[str, str] = {}


class Command(NamedTuple):
    """A run of ``bookserve``; ``out`` says how its output is compared: see ``told.py``."""

    name: str
    arguments: list[str]
    out: str = "said"
    #: Files that it writes.
    files: tuple[str, ...] = ()
    stdin: str = ""


def get(path: str, note: str = "", **headers: str) -> Http:
    """A GET; words of header names are joined by ``_``."""
    return Http(_name("GET", path, note), "GET", path, None, _headers(headers))


def post(path: str, body: Any, note: str = "", **headers: str) -> Http:
    """A POST; ``note`` tells it from others to the same path."""
    return Http(_name("POST", path, note), "POST", path, body, _headers(headers))


def other(method: str, path: str, note: str = "", body: Any = None, **headers: str) -> Http:
    """A request with another method."""
    return Http(_name(method, path, note), method, path, body, _headers(headers))


def _name(method: str, path: str, note: str) -> str:
    return f"{method} {path[:100]}" + (f": {note}" if note else "")


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def png(pixels: Any) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def b64(content: bytes) -> dict[str, str]:
    """Bytes in JSON, as ``/v1`` and ``/api`` take them."""
    return {"b64": base64.b64encode(content).decode()}


def photo() -> np.ndarray:
    """A picture of 100 × 120 pixels, the same each time."""
    y, x = np.mgrid[:100, :120]
    return np.stack([x * 2, y * 2, (x + y) % 256], -1).astype(np.uint8)


#: Pictures for ``digits`` (4 × 4) and ``corners`` (8 × 8).
BRIGHT, DARK = png(np.full((4, 4), 255)), png(np.zeros((4, 4)))
LEFT = png([[255 if 2 <= y < 4 and 1 <= x < 3 else 0 for x in range(8)] for y in range(8)])
PHOTO = png(photo())
