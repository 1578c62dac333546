"""The limits that a server keeps to, and where it logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True)
class Config:
    """Limits of a server and of each of its connections."""

    #: Bytes of a gRPC message as it was sent.
    max_message_size: int = 64 * MIB
    #: Bytes of a gRPC message after decompression.
    max_decompressed_size: int = 64 * MIB
    #: Bytes of a call's header list: SETTINGS_MAX_HEADER_LIST_SIZE.
    max_header_list_size: int = 64 * 1024
    #: Calls that a connection may have open at a time: SETTINGS_MAX_CONCURRENT_STREAMS.
    max_concurrent_streams: int = 1024
    #: Seconds that a client has for the TLS handshake, its first SETTINGS frame, the rest of a header block or of a
    #: message, the whole request of a method that takes one message, and for reading what it was sent.
    timeout: float = 60
    #: Bytes of unfinished requests and unread answers that are held for a connection, and for all together; a single
    #: message may be larger.
    max_held_per_connection: int = 256 * MIB
    max_held: int = 1024 * MIB
    #: Connections that may be open at a time; 0 for any number.
    max_connections: int = 0
    #: Seconds after which a connection is asked to end by GOAWAY, a tenth more or less; 0 for never.
    max_connection_age: float = 0
    #: Called with ``refusal``, ``reset`` or ``goaway`` and its reason whenever the server sends one.
    count: Callable[[str, str], None] = lambda event, reason: None
    #: Where exceptions of methods are logged.
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("http2"))
