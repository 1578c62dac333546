# ruff: noqa: TID253
"""The HTTP routes of the Open Inference Protocol, below ``/v2``.

Source: https://github.com/kserve/open-inference-protocol. Errors are ``{"error": "<message>"}``.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.errors import InvalidInput
from serve.codecs.json_document import loads
from serve.engine import Engine
from serve.protocols.oip.errors import json_response
from serve.protocols.oip.infer import infer
from serve.protocols.oip.infer_body import LENGTH_HEADER
from serve.protocols.oip.metadata import model_configuration, model_metadata, server_metadata
from serve.protocols.oip.model_repository import ModelRepository, body_parameters
from serve.protocols.oip.request import drop_nulls, find_model, is_model_ready, models_for_statistics
from serve.protocols.oip.statistics import statistics_response
from serve.security.access_policy import AccessPolicy
from serve.transport.http.body import compress_body, read_body
from serve.transport.http.long_answer import LongAnswer


def routes(engine: Engine, policy: AccessPolicy) -> list[BaseRoute]:
    """The routes below ``/v2`` that most clients use; ``generate.py`` and ``switched_off_rest.py`` have the others."""
    depth = policy.limits.depth
    repository = ModelRepository(engine, policy)

    async def server(_: Request) -> Response:
        return json_response(server_metadata(policy))

    async def live(_: Request) -> Response:
        return json_response({"live": True})

    async def ready(_: Request) -> Response:
        return json_response({"ready": engine.ready}, 200 if engine.ready else 503)

    async def model(request: Request) -> Response:
        return json_response(model_metadata(engine, find_model(engine, *_model_and_version(request))))

    async def config(request: Request) -> Response:
        return json_response(model_configuration(find_model(engine, *_model_and_version(request))))

    async def model_ready(request: Request) -> Response:
        name, version = _model_and_version(request)
        is_ready = is_model_ready(engine, name, version)
        return json_response({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def infer_model(request: Request) -> Response:
        length = request.headers.get(LENGTH_HEADER)
        body = await read_body(request)
        content, header = await infer(engine, policy.limits, *_model_and_version(request), body, length)
        if not isinstance(content, bytes):
            if header is None:
                return LongAnswer(content)
            return LongAnswer(content, 200, {LENGTH_HEADER: str(header)}, "application/octet-stream")
        packed, headers = await compress_body(request, content)
        if header is None:
            return Response(packed, 200, headers, "application/json")
        return Response(packed, 200, headers | {LENGTH_HEADER: str(header)}, "application/octet-stream")

    async def stats(request: Request) -> Response:
        name, version = _model_and_version(request)
        return json_response(statistics_response(engine, models_for_statistics(engine, name, version)))

    async def index(request: Request) -> Response:
        document = await document_of(request)
        only_ready = drop_nulls(document).get("ready", False)
        if type(only_ready) is not bool:
            raise InvalidInput("'ready' must be true or false.")
        return json_response(await repository.index(only_ready))

    async def load(request: Request) -> Response:
        name, _ = _model_and_version(request)
        await repository.load(name, body_parameters(await control_document(request)))
        return json_response({"name": name, "load": True})

    async def unload(request: Request) -> Response:
        name, _ = _model_and_version(request)
        body_parameters(await control_document(request))
        await repository.unload(name)
        return json_response({"name": name, "unload": True})

    async def control_document(request: Request) -> dict[str, Any]:
        policy.check_control()
        return await document_of(request)

    async def document_of(request: Request) -> dict[str, Any]:
        document = loads(await read_body(request) or b"{}", depth=depth)
        if type(document) is not dict:
            raise InvalidInput("the body is not a JSON object.", "Send {} or no body.")
        return document

    all_routes: list[BaseRoute] = [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/stats", stats),
        Route("/v2/repository/index", index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", unload, methods=["POST"]),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        all_routes += [
            Route(path, model),
            Route(f"{path}/config", config),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/stats", stats),
            Route(f"{path}/infer", infer_model, methods=["POST"]),
        ]
    return all_routes


def _model_and_version(request: Request) -> tuple[str, str]:
    return request.path_params.get("name", ""), request.path_params.get("version", "")
