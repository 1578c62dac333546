"""Defines the limits on what a client may send. All protocols, HTTP and gRPC use the same ones."""

from __future__ import annotations

import msgspec

MIB = 2**20


class Limits(msgspec.Struct, frozen=True):
    """A request beyond a limit is refused before it costs more than reading it."""

    #: Bytes of a request as sent: an HTTP body or a gRPC message.
    body: int = 64 * MIB
    #: Bytes of a body after decompression.
    inflated: int = 64 * MIB
    #: Bytes of the tensors in an answer.
    answer: int = 1024 * MIB
    #: Bytes of an HTTP request's line and headers together, and of a gRPC call's metadata.
    head: int = 64 * 1024
    #: Nesting depth of lists and objects in a JSON body.
    depth: int = 64
    #: Elements of one tensor, by its shape.
    elements: int = 2**26
    #: Concurrent calls on one gRPC connection.
    streams: int = 1024
    #: Seconds within which a request must arrive completely, and an answer must be read.
    seconds: float = 60
    #: Open gRPC connections; 0 for any number.
    connections: int = 0
    #: Seconds after which a gRPC connection is asked to end, so that a balancer distributes its clients anew; 0: never.
    connection_age: float = 0
