# ruff: noqa: TID253
"""Status: what each error is in the Open Inference Protocol, over HTTP and over gRPC, as Triton and KServe answer."""

from __future__ import annotations

import grpc

from bookserve.errors import BookserveError
from serve.security.access_policy import Forbidden
from serve.transport.http.body import TooLarge

#: By ``BookserveError.code``.
_HTTP = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 503, "failed": 500}
_GRPC = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.UNAVAILABLE,
    "failed": grpc.StatusCode.INTERNAL,
}
#: Bytes of an error's sentence, which may quote what a client sent; gRPC clients refuse long headers.
LONGEST = 1024


def http(error: BookserveError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, TooLarge):
        return 413
    return 403 if isinstance(error, Forbidden) else _HTTP[error.code]


def told(error: BookserveError) -> tuple[grpc.StatusCode, str]:
    """The status and the details with which a call ends."""
    code = grpc.StatusCode.PERMISSION_DENIED if isinstance(error, Forbidden) else _GRPC[error.code]
    return code, cut(str(error))


def cut(message: str) -> str:
    """A message of at most ``LONGEST`` bytes."""
    return message.encode()[:LONGEST].decode(errors="ignore")
