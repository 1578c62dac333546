# ruff: noqa: TID253
"""Status: what each error is in the Open Inference Protocol, over HTTP and over gRPC, as Triton and KServe answer."""

from __future__ import annotations

import grpc

#: By ``BookserveError.code``.
HTTP = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 503, "failed": 500}
GRPC = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.UNAVAILABLE,
    "failed": grpc.StatusCode.INTERNAL,
}
#: Bytes of an error's sentence, which may quote what a client sent; gRPC clients refuse long headers.
LONGEST = 1024


def cut(message: str) -> str:
    """A message of at most ``LONGEST`` bytes."""
    return message.encode()[:LONGEST].decode(errors="ignore")
