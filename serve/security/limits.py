"""Limits: how much of what a client may send. Every door and both servers hold to the same ones."""

from __future__ import annotations

import msgspec

MIB = 2**20


class Limits(msgspec.Struct, frozen=True):
    """What is refused beyond these numbers costs no more than reading it."""

    #: Bytes of a request as sent: an HTTP body, or a gRPC message.
    body: int = 64 * MIB
    #: Bytes of a body after inflating.
    inflated: int = 64 * MIB
    #: Bytes of an HTTP request's line and headers together, and of a gRPC call's metadata.
    head: int = 64 * 1024
    #: Lists and objects within each other in a JSON body.
    depth: int = 64
    #: Elements of one tensor, as its shape declares them.
    elements: int = 2**26
    #: Calls that one gRPC connection may have open at a time.
    streams: int = 1024
    #: Seconds that an HTTP request may take to arrive.
    seconds: float = 60
