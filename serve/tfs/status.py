# ruff: noqa: TID253
"""Status: which of Google's canonical codes each error has in TensorFlow Serving, and what HTTP and gRPC make of it."""

from __future__ import annotations

import grpc

from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded
from serve.call import Expired
from serve.versions import LabelUnavailable


class Unmet(InvalidInput):
    """What TensorFlow Serving calls a failed precondition."""


class Unsupported(InvalidInput):
    """Something that TensorFlow Serving's protocol does not carry."""


_CODES: dict[type, grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Unmet: grpc.StatusCode.FAILED_PRECONDITION,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Expired: grpc.StatusCode.DEADLINE_EXCEEDED,
    LabelUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    Failed: grpc.StatusCode.INTERNAL,
}

_HTTP = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
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
    return _HTTP[code(error)]
