# ruff: noqa: TID253
"""Errors of bookserve's own gRPC services: status code, message, and the hint as trailing metadata."""

from __future__ import annotations

import grpc

from bookserve.api import HINT
from bookserve.errors import BookserveError
from serve.transport.grpc.service import CallStatus

_CODES = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "failed": grpc.StatusCode.INTERNAL,
}
#: Longest message and longest hint in characters: both are sent as headers, and clients refuse more than 8 KiB.
_MAX_CHARACTERS = 1000


def call_status(error: BookserveError) -> CallStatus:
    """The gRPC status of an error."""
    hint = error.hint[:_MAX_CHARACTERS].encode()
    return CallStatus(_CODES[error.code], error.message[:_MAX_CHARACTERS], ((HINT, hint),))
