"""Texts of the bundle ``writer``: one as a stream of events, one written in this process, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bookserve import bundle
from bookserve.api.requests import GenerateRequest
from bookserve.generation.text import join_pieces, text_streams
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate

#: A text that is not finished before its client goes away.
LONG = {"length": 100_000, "temperature": 1}


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events."""
    for line in response.iter_lines():
        if line:
            assert line.startswith("data: ")
            yield json.loads(line[6:])


def offline(models: Path, **options: Any) -> str:
    """The text that the model writes in this process."""
    opened = bundle.open_bundle(models, "writer")
    verb, graph = opened.verb(Generate), opened.graph("step")[1]
    (stream,) = text_streams(verb, graph, GenerateRequest(**options))
    return join_pieces(list(stream.write(OnnxSession(opened.path / str(graph.onnx)).run))).text
