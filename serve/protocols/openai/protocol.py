"""Registers OpenAI's completions API with the server."""

from __future__ import annotations

from serve.protocols.base import Protocol
from serve.protocols.openai import rest
from serve.protocols.openai.response import error_response
from serve.protocols.openapi import ApiDescription


def _describe() -> ApiDescription:
    from serve.protocols.openai import openapi

    return openapi.describe()


PROTOCOL = Protocol(
    name="openai",
    prefixes=("/openai", "/v1/completions", "/v1/chat"),
    routes=lambda server: rest.routes(server.engine),
    guest_routes=lambda server: rest.guest_routes(server.engine),
    error_response=error_response,
    not_found_hint="This server has GET /openai/v1/models and POST /openai/v1/completions; chat is not served.",
    openapi=_describe,
)
