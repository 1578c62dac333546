"""Registers the Open Inference Protocol (HTTP and gRPC) with the server."""

from __future__ import annotations

from serve.protocols.base import Protocol
from serve.protocols.oip import generate, grpc_service, infer, rest, switched_off_rest
from serve.protocols.oip.errors import error_response
from serve.protocols.oip.infer_body import LENGTH_HEADER
from serve.protocols.openapi import ApiDescription


def _describe() -> ApiDescription:
    from serve.protocols.oip import openapi

    return openapi.describe()


PROTOCOL = Protocol(
    name="v2",
    prefixes=("/v2",),
    routes=lambda server: [
        *rest.routes(server.engine, server.policy),
        *switched_off_rest.routes(server.engine),
        *generate.routes(server.engine),
    ],
    error_response=error_response,
    headers=(LENGTH_HEADER,),
    fast_route=lambda server: infer.fast_route(server.engine, server.policy.limits),
    services=lambda server: (grpc_service.service(server.engine, server.policy),),
    openapi=_describe,
)
