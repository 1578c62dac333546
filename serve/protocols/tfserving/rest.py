# ruff: noqa: TID253
"""TensorFlow Serving's REST API: everything below ``/v1``.

Source: https://www.tensorflow.org/tfx/serving/api_rest. As there, the case of a path does not matter, of the headers
only ``Content-Encoding`` and ``Accept-Encoding`` are read, and every malformed request is answered with 400. Errors are
``{"error": "<message>"}``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.graph import Arrays, Graph
from serve.codecs.json_document import dumps
from serve.codecs.json_pieces import is_long
from serve.codecs.regular_json import parse_regular
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.repository import VersionStatus
from serve.observability.internal_error import internal_error
from serve.protocols.tfserving import classify_regress, errors, predict_json, servable, tf_examples
from serve.protocols.tfserving.signatures import CLASSIFY, DEFAULT_SIGNATURE, REGRESS, signature_defs
from serve.security.access_policy import AccessPolicy
from serve.transport.http.body import compress_body, read_body
from serve.transport.http.long_answer import LongAnswer

#: Bodies larger than this (bytes) are parsed in a thread, so that they do not block the event loop.
INLINE_BYTES = 262_144

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_RUN_PATH = re.compile(rf"(?i)/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)")
_STATUS_PATH = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?")
_TASKS = {"classify": CLASSIFY, "regress": REGRESS}


def routes(engine: Engine, policy: AccessPolicy) -> list[BaseRoute]:
    """One route for everything below ``/v1``."""
    return [Route(f"/{letter}1/{{rest:path}}", _RestApi(engine, policy)) for letter in "vV"]


class _RestApi:
    """Handles every path and every HTTP method: TensorFlow Serving answers wrong ones in its own way."""

    def __init__(self, engine: Engine, policy: AccessPolicy) -> None:
        self._engine = engine
        self._limits = policy.limits
        self._check_method = policy.check_method_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body, code = await self._answer(request), 200
            if not isinstance(body, bytes):
                await LongAnswer(body)(scope, receive, send)
                return
        except BookserveError as error:
            body, code = errors.error_body(error), errors.http_status(error)
        except Exception as error:
            failed = internal_error(f"{request.method} {request.url.path} failed", error)
            body, code = errors.error_body(failed), 500
        packed, headers = await compress_body(request, body)
        await Response(packed, code, headers, "application/json")(scope, receive, send)

    async def _answer(self, request: Request) -> bytes | Iterator[bytes]:
        # The path as it was sent: an escaped slash or colon is part of a name.
        path = request.scope.get("raw_path", request.url.path.encode()).partition(b"?")[0].decode("latin-1")
        if request.method == "POST" and (match := _RUN_PATH.fullmatch(path)):
            return await self._run(match, await read_body(request))
        if request.method == "GET" and (match := _STATUS_PATH.fullmatch(path)):
            return self._describe(match)
        if request.method == "OPTIONS":
            if "http://" in (origin := request.headers.get("origin", "")) or "https://" in origin:
                return b""
            raise errors.FailedPrecondition("Origin header is missing in CORS preflight")
        raise InvalidInput(f"Malformed request: {request.method} {path}")

    async def _run(self, path: re.Match[str], body: bytes) -> bytes | Iterator[bytes]:
        in_thread = len(body) > INLINE_BYTES
        verb = path["verb"].lower()
        if verb != "predict":
            read = partial(self._read_examples, path, body)
            live, signature, examples = await asyncio.to_thread(read) if in_thread else read()
            task = _TASKS[verb], signature
            (result,) = await servable.classify_and_regress(self._engine, live, [task], examples, self._check_method)
            return classify_regress.result_to_json(result)
        parse = partial(self._read_predict, path, body)
        live, signature, (feeds, by_row) = await asyncio.to_thread(parse) if in_thread else parse()
        graph = live.bundle.graph(signature)[1]
        outputs = await servable.predict(self._engine, live, signature, graph, feeds)
        if is_long(outputs.values()):
            self._engine.check_answer(outputs.values())
            return await predict_json.encode_long_outputs(outputs, by_row)
        return predict_json.encode_outputs(outputs, by_row)

    def _read_predict(self, path: re.Match[str], body: bytes) -> tuple[LiveModel, str, tuple[Arrays, bool]]:
        """The model and graph of a predict request, its inputs, and whether they came by row."""
        with suppress(BookserveError):  # raised again below, where errors come in TensorFlow Serving's order
            live = self._find_model(path)
            signature, graph = _find_graph(live, "")
            if parsed := parse_regular(body, graph.inputs):
                return live, signature, parsed
        document = predict_json.parse_request(body, self._limits.depth)
        live = self._find_model(path)
        signature, graph = _find_graph(live, name := document.get("signature_name", ""))
        if not graph.inputs:
            raise InvalidInput(f"Failed to get input map for signature: {name or 'DEFAULT'}", "Use gRPC.")
        return live, signature, predict_json.read_inputs(document, graph.inputs)

    def _read_examples(self, path: re.Match[str], body: bytes) -> tuple[LiveModel, str, pb.Input]:
        document = predict_json.parse_request(body, self._limits.depth)
        examples = tf_examples.examples_from_json(document)
        live = self._find_model(path)
        name = document.get("signature_name", "") or DEFAULT_SIGNATURE
        try:
            servable.find_graph(live, name)
        except NotFound as error:
            raise InvalidInput(f"No signature was found with the name: {name}") from error
        return live, name, examples

    def _describe(self, path: re.Match[str]) -> bytes:
        if not path["name"]:
            raise InvalidInput("Missing model name in request.")
        if not path["metadata"]:
            # As in TensorFlow Serving, a label is not looked up here: all versions are listed.
            statuses = servable.version_states(self._engine, unquote(path["name"]), _version_number(path))
            return dumps({"model_version_status": [_status_fields(status) for status in statuses]})
        live = self._find_model(path)
        from google.protobuf.json_format import MessageToDict

        signature_fields = MessageToDict(
            signature_defs(live), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        spec = {"name": live.name, "signature_name": "", "version": str(live.version)}
        return dumps({"model_spec": spec, "metadata": {"signature_def": signature_fields}})

    def _find_model(self, path: re.Match[str]) -> LiveModel:
        return servable.find_model(
            self._engine, unquote(path["name"]), _version_number(path), unquote(path["label"] or "")
        )


def _version_number(path: re.Match[str]) -> int | None:
    text = path["version"]
    if text is None:
        return None
    if len(text) > 19 or int(text) >= 2**63:
        raise InvalidInput(f"Failed to convert version: {text} to numeric.")
    return int(text)


def _find_graph(live: LiveModel, name: str) -> tuple[str, Graph]:
    try:
        return live.bundle.graph(name)
    except NotFound as error:
        raise _unknown_signature(name) from error


def _unknown_signature(name: str) -> InvalidInput:
    return InvalidInput(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')


def _status_fields(status: VersionStatus) -> dict[str, Any]:
    return {
        "version": str(status.version),
        "state": status.state,
        "status": {"error_code": "UNKNOWN" if servable.has_failed(status) else "OK", "error_message": status.error},
    }
