"""Registers bookserve's own API (HTTP and gRPC) with the server."""

from __future__ import annotations

from serve.protocols.base import Protocol
from serve.protocols.native import card_rest, explain_rest, grpc_service, jobs_rest, pictures_service, rest
from serve.protocols.openapi import ApiDescription


def _describe() -> ApiDescription:
    from serve.protocols.native import openapi

    return openapi.describe()


PROTOCOL = Protocol(
    name="api",
    prefixes=("/api",),
    routes=lambda server: [
        *rest.routes(server.engine),
        *explain_rest.routes(server.engine),
        *card_rest.routes(server.engine, server.policy),
        *jobs_rest.routes(server.jobs),
    ],
    services=lambda server: (
        grpc_service.service(server.engine),
        pictures_service.service(server.engine, server.jobs),
    ),
    openapi=_describe,
)
