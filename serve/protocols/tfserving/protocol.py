"""Registers TensorFlow Serving's REST and gRPC APIs with the server."""

from __future__ import annotations

from serve.protocols.base import Protocol
from serve.protocols.openapi import ApiDescription
from serve.protocols.tfserving import fast_route, model_service, prediction_service, rest
from serve.protocols.tfserving.errors import error_response


def _describe() -> ApiDescription:
    from serve.protocols.tfserving import openapi

    return openapi.describe()


PROTOCOL = Protocol(
    name="tfs",
    prefixes=("/v1/", "/v1/models"),
    routes=lambda server: rest.routes(server.engine, server.policy),
    error_response=error_response,
    fast_route=lambda server: fast_route.fast_route(server.engine),
    services=lambda server: (
        prediction_service.service(server.engine, server.policy),
        model_service.service(server.engine, server.policy),
    ),
    openapi=_describe,
)
