# ruff: noqa: TID253
"""Errors of the Open Inference Protocol, in the HTTP and gRPC forms of Triton and KServe."""

from __future__ import annotations

from typing import Any

import grpc
from starlette.responses import Response

from bookserve.errors import BookserveError
from serve.codecs.json_document import dumps
from serve.security.access_policy import Forbidden
from serve.transport.grpc.service import CallStatus
from serve.transport.http.body import TooLarge

#: By ``BookserveError.code``.
_HTTP_STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 503, "failed": 500}
_GRPC_CODES = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.UNAVAILABLE,
    "failed": grpc.StatusCode.INTERNAL,
}
#: Longest error message in bytes. Messages may quote the request, and gRPC clients refuse long headers.
MAX_MESSAGE_BYTES = 1024


def http_status(error: BookserveError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, TooLarge):
        return 413
    return 403 if isinstance(error, Forbidden) else _HTTP_STATUS[error.code]


def call_status(error: BookserveError) -> CallStatus:
    """The gRPC status of an error."""
    code = grpc.StatusCode.PERMISSION_DENIED if isinstance(error, Forbidden) else _GRPC_CODES[error.code]
    return CallStatus(code, truncate(str(error)))


def error_response(error: BookserveError, status: int | None = None) -> Response:
    """``{"error": "<message>"}`` with ``status``, or with the status of the error if None."""
    return json_response({"error": truncate(str(error))}, status or http_status(error))


def json_response(value: Any, status: int = 200) -> Response:
    """A response with ``value`` as JSON."""
    return Response(dumps(value), status, media_type="application/json")


def truncate(message: str) -> str:
    """``message`` cut to at most ``MAX_MESSAGE_BYTES`` bytes of UTF-8."""
    return message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
