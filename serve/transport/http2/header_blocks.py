"""Fields: header blocks (RFC 7541) – what a call asks for, and what its answer begins and ends with.

Blocks are decoded by the package ``hpack``. One that changes nothing in the decoder's table means the same until the
table changes; a client sends such a block with every call, so its meaning is kept.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import NamedTuple

from hpack import Decoder, HPACKError

from serve.transport.http2.frames import Code, Violation

#: Names in small letters; values of names that end in ``-bin`` are bytes.
Metadata = tuple[tuple[str, str | bytes], ...]

#: Bytes past the limit up to which a header block is read.
SPARE = 2**16
#: Of a connection's blocks, how many are kept, and of what length at most.
_KEPT, _SHORT = 64, 1024
_NEEDED = {b":method", b":scheme", b":path"}
_PSEUDO = _NEEDED | {b":authority"}
#: Fields that are of the connection, which HTTP/2 forbids.
_FORBIDDEN = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
#: Fields that are no metadata.
_RESERVED = {b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Malformed(Exception):  # noqa: N818 - the client's, not an error of ours
    """A request that ends its stream, and no more."""


class Head(NamedTuple):
    """What a call's header block says."""

    path: str
    metadata: Metadata
    #: Seconds that the call may take; None for any time.
    timeout: float | None = None
    #: How its messages are compressed, where they are.
    encoding: str = "identity"
    #: The HTTP status of a request that is no gRPC; 0 for a call.
    refused: int = 0
    #: Bytes of all names and values, as HTTP/2 counts them.
    size: int = 0


class Fields:
    """Reads the header blocks of one connection, in the order in which they came."""

    def __init__(self, most: int) -> None:
        """Blocks with more than ``most`` bytes of names and values are read, so that the client can be told."""
        self._decoder = Decoder(max_header_list_size=most + SPARE)
        self._kept: dict[bytes, Head] = {}

    def head(self, block: bytes) -> Head:
        """What a call asks for.

        Raises:
            Violation: the block cannot be decoded, so that no later one can be.
            Malformed: it can, and is no request.
        """
        head = self._kept.get(block)
        if head is not None:
            return head
        changing = not _changes_nothing(block)
        if changing:
            self._kept.clear()
        head = _head(self._decoded(block))
        if not changing and len(block) <= _SHORT and len(self._kept) < _KEPT:
            self._kept[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """Decode a block whose content does not matter, since later blocks may refer to it."""
        self._kept.clear()
        self._decoded(block)

    def _decoded(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        try:
            return self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise Violation(Code.COMPRESSION_ERROR, f"a header block cannot be read: {error}") from error


def encoded(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    """A header block in which every field is written out, so that no table is needed."""
    parts: list[bytes] = []
    for name, value in fields:
        if isinstance(value, bytes):
            value = base64.b64encode(value) if name.endswith("-bin") else value
        else:
            value = value.encode("latin-1", "replace")
        key = name.encode("latin-1", "replace")
        parts += (b"\0", _length(len(key)), key, _length(len(value)), value)
    return b"".join(parts)


def _head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    special: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str | bytes]] = []
    size, regular = 0, False
    for name, value in fields:
        size += len(name) + len(value) + 32
        if name.startswith(b":"):
            if regular or name not in _PSEUDO or name in special:
                raise Malformed("the pseudo-headers are wrong")
            special[name] = value
            continue
        regular = True
        if not _NAME.fullmatch(name) or name in _FORBIDDEN or b"\n" in value or b"\r" in value or b"\0" in value:
            raise Malformed("a header is not allowed")
        if name in _RESERVED:
            special[name] = value
        else:
            metadata.append((name.decode(), _binary(value) if name.endswith(b"-bin") else value.decode("latin-1")))
    if not special.keys() >= _NEEDED or not special[b":path"] or special.get(b"te", b"trailers") != b"trailers":
        raise Malformed("the headers are not those of a request")
    return Head(
        path=special[b":path"].decode("latin-1"),
        metadata=tuple(metadata),
        timeout=_timeout(special.get(b"grpc-timeout")),
        encoding=special.get(b"grpc-encoding", b"identity").decode("latin-1"),
        refused=_refused(special),
        size=size,
    )


def _refused(special: dict[bytes, bytes]) -> int:
    if special[b":method"] != b"POST":
        return 405
    kind = special.get(b"content-type", b"").lower()
    return 0 if kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;")) else 415


def _timeout(value: bytes | None) -> float | None:
    if value is None:
        return None
    read = _TIMEOUT.fullmatch(value)
    if read is None:
        raise Malformed("grpc-timeout is no timeout")
    return int(read[1]) * _SECONDS[read[2]]


def _binary(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise Malformed("binary metadata is not base64") from error


def _length(length: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, section 5.1)."""
    if length < 127:
        return bytes((length,))
    parts, length = [127], length - 127
    while length >= 128:
        parts.append(length & 127 | 128)
        length >>= 7
    return bytes((*parts, length))


def _changes_nothing(block: bytes) -> bool:
    """Whether no field is added to the decoder's table and its size stays (RFC 7541, section 6)."""
    at, size = 0, len(block)
    while at < size:
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 7)
            continue
        if first & 0x60:  # added to the table, or its size
            return False
        named, at = _integer(block, at, 4)
        for _ in range(1 if named else 2):
            length, at = _integer(block, at, 7)
            at += length
    return at == size


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer and where it ends; past the end of a block that is cut off, where the decoder will say so."""
    most = (1 << bits) - 1
    value = block[at] & most if at < len(block) else 0
    at += 1
    if value < most:
        return value, at
    shift = 0
    while at < len(block) and shift < 64:
        value += (block[at] & 127) << shift
        shift += 7
        at += 1
        if not block[at - 1] & 128:
            break
    return value, at
