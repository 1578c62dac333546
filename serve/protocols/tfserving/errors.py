# ruff: noqa: TID253
"""Errors of TensorFlow Serving's APIs: the canonical gRPC code of each error, and the HTTP status for that code."""

from __future__ import annotations

import grpc
from starlette.responses import Response

from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded
from serve.codecs.json_document import dumps
from serve.models.repository import ModelsUnavailable
from serve.models.versions import LabelUnavailable
from serve.request_context import DeadlineExceeded
from serve.security.access_policy import Forbidden
from serve.transport.grpc.service import CallStatus
from serve.transport.http.body import TooLarge

#: Number of the canonical code UNKNOWN, which is the status of a version that could not be loaded.
UNKNOWN_CODE = grpc.StatusCode.UNKNOWN.value[0]
#: Longest message in bytes that is sent as gRPC status details; clients refuse long headers.
MAX_DETAILS_BYTES = 1024
#: Longest message in characters over HTTP; messages may quote the request.
MAX_MESSAGE_CHARACTERS = 2048


class FailedPrecondition(InvalidInput):
    """TensorFlow Serving's FAILED_PRECONDITION."""


class Unimplemented(InvalidInput):
    """TensorFlow Serving's UNIMPLEMENTED: the request is valid, but its protocol does not support it."""


_CODES: dict[type, grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    LabelUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    Failed: grpc.StatusCode.INTERNAL,
    ModelsUnavailable: grpc.StatusCode.UNKNOWN,
}

_HTTP_STATUS = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def grpc_code(error: BookserveError) -> grpc.StatusCode:
    """The canonical gRPC code of an error, by the nearest of its classes."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def http_status(error: BookserveError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, TooLarge):
        return 413
    return _HTTP_STATUS[grpc_code(error)]


def call_status(error: BookserveError) -> CallStatus:
    """The gRPC status of an error."""
    encoded = str(error).encode()
    cut = encoded[:MAX_DETAILS_BYTES].decode(errors="ignore") + "...TRUNCATED"
    return CallStatus(grpc_code(error), str(error) if len(encoded) <= MAX_DETAILS_BYTES else cut)


def error_body(error: BookserveError) -> bytes:
    """``{"error": "<message>"}`` as JSON."""
    return dumps({"error": str(error)[:MAX_MESSAGE_CHARACTERS]})


def error_response(error: BookserveError, status: int | None = None) -> Response:
    """``{"error": "<message>"}`` with ``status``, or the status of the error if None."""
    return Response(error_body(error), status or http_status(error), media_type="application/json")
