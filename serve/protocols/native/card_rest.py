# ruff: noqa: TID253
"""The HTTP routes that tell of a model what its page shows: ``card``, ``examples`` and ``files``.

============================================  =================================================================
``GET /api/models/NAME/card``                 origin, figures of the book, layers, training curve, labels, files
``GET /api/models/NAME/examples``             rows of ``examples.npz``, as ``predict`` takes them
``GET /api/models/NAME/files/PATH``           a file of the bundle as it is; weights only with ``--model-control``
============================================  =================================================================

``?version=`` names a version. Nothing outside the list of files in ``bundle.json`` is sent.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from bookserve.bundle import MANIFEST, Bundle
from bookserve.bundle.bundle import HISTORY
from bookserve.errors import BookserveError, NotFound
from bookserve.images import encode_png
from bookserve.steps import Numbers
from bookserve.verb import Predict, Sample
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.base import json_error
from serve.protocols.native.responses import json_response, model_fields
from serve.protocols.native.rest import requested_version
from serve.security.access_policy import AccessPolicy, Forbidden

if TYPE_CHECKING:
    from bookserve.bundle.onnx_layers import Layer

#: Files that describe a model and hold none of its weights: everyone who may call the model may fetch them.
_OPEN_FILES = ("README.md", MANIFEST, "examples.npz", HISTORY)
#: Rows of examples that are sent at most, and numbers in all of them.
_MAX_ROWS, _MAX_NUMBERS = 16, 200_000


def routes(engine: Engine, policy: AccessPolicy) -> list[BaseRoute]:
    """Card, examples and files."""

    def requested_model(request: Request) -> LiveModel:
        return engine.model(request.path_params["name"], requested_version(request))

    async def card(request: Request) -> Response:
        live = requested_model(request)
        fields = await asyncio.to_thread(_card_fields, live.bundle, policy.control)
        return json_response(model_fields(live) | fields | {"labels": engine.labels(live.name)})

    async def examples(request: Request) -> Response:
        live = requested_model(request)
        return json_response(model_fields(live) | {"rows": await asyncio.to_thread(_example_rows, live.bundle)})

    async def file(request: Request) -> Response:
        live, path = requested_model(request), request.path_params["path"]
        if path != MANIFEST and path not in live.bundle.manifest.files:
            raise NotFound(f"model '{live.name}' has no file '{path[:200]}'.", f"See /api/models/{live.name}/card")
        if path not in _OPEN_FILES:
            try:
                policy.check_control()
            except Forbidden as error:
                return json_error(
                    Forbidden(f"the weights of models stay on this server: {error.message}", error.hint), 403
                )
        found = live.bundle.path / path
        if not found.resolve().is_relative_to(live.bundle.path.resolve()):
            raise NotFound(f"the file '{path[:200]}' of model '{live.name}' lies outside its bundle.")
        name = f"{live.name}-{live.version}-{path.rpartition('/')[2]}"
        return FileResponse(found, media_type="application/octet-stream", filename=name)

    return [
        Route("/api/models/{name}/card", card),
        Route("/api/models/{name}/examples", examples),
        Route("/api/models/{name}/files/{path:path}", file),
    ]


def _card_fields(bundle: Bundle, control: bool) -> dict[str, Any]:
    manifest = bundle.manifest
    sizes = {MANIFEST: (bundle.path / MANIFEST).stat().st_size}
    sizes |= {path: file.size for path, file in manifest.files.items()}
    return {
        "origin": manifest.origin,
        "licence": manifest.licence,
        "created": manifest.created,
        "card": _read_text(bundle, "README.md"),
        "history": _history(bundle),
        "layers": _layers(bundle),
        "variants": sorted(manifest.variants),
        "files": [
            {"path": path, "bytes": size, "open": control or path in _OPEN_FILES} for path, size in sizes.items()
        ],
    }


def _read_text(bundle: Bundle, name: str) -> str:
    return (bundle.path / name).read_text("utf-8", "replace") if name in bundle.manifest.files else ""


def _history(bundle: Bundle) -> dict[str, list[float | None]]:
    """The columns of ``history.csv``, one number for each epoch; empty if the bundle has none."""
    import csv

    lines = list(csv.reader(_read_text(bundle, HISTORY).splitlines()))
    if len(lines) < 2:
        return {}
    columns = zip(*(line for line in lines[1:] if len(line) == len(lines[0])), strict=True)
    return {name: list(map(_number, column)) for name, column in zip(lines[0], columns, strict=False)}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _layers(bundle: Bundle) -> dict[str, list[Layer]]:
    """The layers of each graph that a verb names; graphs that have no readable ONNX file have none."""
    from bookserve.bundle.onnx_layers import list_layers

    manifest = bundle.manifest
    verb = manifest.verb
    names = [verb.decode, *([verb.encode] if verb.encode else [])] if isinstance(verb, Sample) else [verb.graph]
    found: dict[str, list[Layer]] = {}
    for name in names:
        graph = manifest.graphs.get(name)
        if graph is None or not graph.onnx:
            continue
        try:
            found[name] = list_layers(Path(bundle.path) / graph.onnx, graph)
        except (BookserveError, OSError):
            continue  # the page does without a drawing
    return found


def _example_rows(bundle: Bundle) -> list[Any]:
    """Rows that can be sent back to the model; none if the bundle has no raw rows."""
    if "examples.npz" not in bundle.manifest.files:
        return []
    examples = bundle.examples()
    rows: Any = examples.rows[:_MAX_ROWS]
    if not len(rows):
        verb = bundle.manifest.verb
        numeric = isinstance(verb, Predict) and all(_takes_tensors(steps) for steps in verb.inputs.values())
        example = examples.graphs.get(verb.graph) if isinstance(verb, Predict) and numeric else None
        if example is None:
            return []
        count = min(len(array) if array.ndim else 1 for array in example.inputs.values())
        rows = [{name: array[row] for name, array in example.inputs.items()} for row in range(min(count, _MAX_ROWS))]
        rows = [next(iter(row.values())) if len(row) == 1 else row for row in rows]
    is_picture = isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim in (3, 4)
    plain: list[Any] = []
    numbers = 0
    for row in rows:
        numbers += sum(np.size(value) for value in row.values()) if isinstance(row, dict) else np.size(row)
        if numbers > _MAX_NUMBERS and plain and not is_picture:
            break
        plain.append({"b64": encode_png(row)} if is_picture else _plain(row))
    return plain


def _takes_tensors(steps: tuple[Any, ...]) -> bool:
    """Whether rows are the tensors themselves: nothing is done with them but a check of numbers."""
    return len(steps) == 1 and isinstance(steps[0], Numbers) and steps[0].dtype != "string"


def _plain(row: Any) -> Any:
    if isinstance(row, dict):
        return {name: _plain(value) for name, value in row.items()}
    return row.tolist() if isinstance(row, np.ndarray | np.generic) else row
