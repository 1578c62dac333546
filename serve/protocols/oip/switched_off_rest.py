# ruff: noqa: TID253
"""The HTTP routes of the extensions in ``switched_off.py``."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.errors import InvalidInput
from serve.codecs.json_document import loads
from serve.engine import Engine
from serve.protocols.oip import switched_off
from serve.protocols.oip.errors import json_response
from serve.protocols.oip.request import drop_nulls, find_model
from serve.transport.http.body import read_body


def routes(engine: Engine) -> list[BaseRoute]:
    """Shared memory, trace settings and log settings."""

    def region_routes(kind: str) -> list[BaseRoute]:
        async def status(request: Request) -> Response:
            switched_off.check_region(kind, request.path_params.get("region", ""))
            return json_response([])

        async def register(request: Request) -> Response:
            switched_off.refuse_region(kind, request.path_params["region"])
            return Response()  # not reached

        async def unregister(_: Request) -> Response:
            return Response()  # what was never registered is unregistered

        path = f"/v2/{kind}sharedmemory"
        return [
            Route(f"{path}/status", status),
            Route(f"{path}/region/{{region}}/status", status),
            Route(f"{path}/region/{{region}}/register", register, methods=["POST"]),
            Route(f"{path}/unregister", unregister, methods=["POST"]),
            Route(f"{path}/region/{{region}}/unregister", unregister, methods=["POST"]),
        ]

    async def trace(request: Request) -> Response:
        if name := request.path_params.get("name"):
            find_model(engine, name, "")
        return json_response(switched_off.trace_settings(await wanted(request)))

    async def logging(request: Request) -> Response:
        return json_response(switched_off.log_settings(await wanted(request)))

    async def wanted(request: Request) -> dict[str, Any]:
        """The settings that a request sets; null leaves one as it is."""
        if request.method == "GET":
            return {}
        document = loads(await read_body(request) or b"{}", depth=request.app.limits.depth)
        if type(document) is not dict:
            raise InvalidInput("the body is not a JSON object.", "Send the settings to change.")
        return dict(drop_nulls(document))

    both = ["GET", "POST"]
    return [
        *region_routes("system"),
        *region_routes("cuda"),
        Route("/v2/logging", logging, methods=both),
        *(
            Route(f"{model}/trace{setting}", trace, methods=both)
            for model in ("/v2", "/v2/models/{name}")
            for setting in ("", "/setting")
        ),
    ]
