# ruff: noqa: TID253
"""Status: which of Google's canonical codes each error has in TensorFlow Serving, and what HTTP and gRPC make of it."""

from __future__ import annotations

import grpc

from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded
from serve.models.versions import LabelUnavailable
from serve.request_context import DeadlineExceeded
from serve.security.access_policy import Forbidden
from serve.transport.http.body import TooLarge

#: The number of the canonical code of a version that could not be loaded.
UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]
#: Bytes of a message that are sent as status details; clients refuse long headers.
LONGEST = 1024


class Unmet(InvalidInput):
    """What TensorFlow Serving calls a failed precondition."""


class Unsupported(InvalidInput):
    """Something that TensorFlow Serving's protocol does not carry."""


_CODES: dict[type, grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Unmet: grpc.StatusCode.FAILED_PRECONDITION,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    LabelUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    Failed: grpc.StatusCode.INTERNAL,
}

_HTTP = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def code(error: BookserveError) -> grpc.StatusCode:
    """The canonical code of an error."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def http(error: BookserveError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, TooLarge):
        return 413
    return _HTTP[code(error)]


def told(error: BookserveError) -> tuple[grpc.StatusCode, str]:
    """The status and the details with which a call ends."""
    encoded = str(error).encode()
    cut = encoded[:LONGEST].decode(errors="ignore") + "...TRUNCATED"
    return code(error), str(error) if len(encoded) <= LONGEST else cut
