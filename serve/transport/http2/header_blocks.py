"""Decodes the header block of a request into the fields of a gRPC call, and encodes those of a response (RFC 7541).

The package ``hpack`` decodes header blocks. A block that leaves the decoder's dynamic table unchanged keeps its meaning
until that table changes. Clients send such a block with almost every call, so decoded blocks are cached.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hpack import Decoder, HPACKError

from serve.transport.http2.frame_budget import head_cost
from serve.transport.http2.frames import ErrorCode, Http2ConnectionError

#: gRPC metadata: names in lower case; the value is bytes where the name ends in ``-bin``.
Metadata = tuple[tuple[str, str | bytes], ...]

#: Bytes beyond the limit up to which a header list is still decoded, so that the client can be sent a proper status.
HEADER_LIST_MARGIN = 2**16
#: Header blocks that are cached for each connection, and the length of the longest one, in bytes.
_CACHE_SIZE, _CACHED_LENGTH = 64, 1024
_REQUIRED = {b":method", b":scheme", b":path"}
_PSEUDO = _REQUIRED | {b":authority"}
#: Connection-specific fields, which HTTP/2 forbids (RFC 9113, section 8.2.2).
_FORBIDDEN = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
#: Fields that are not part of a call's metadata.
_RESERVED = {b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class MalformedRequest(Exception):  # noqa: N818 - RFC 9113's own term
    """A malformed request (RFC 9113, section 8.1.1): a stream error, the connection goes on."""


class RequestHeaders(NamedTuple):
    """What the header block of a request says."""

    path: str
    metadata: Metadata
    #: Seconds that the call may take (``grpc-timeout``); None for no limit.
    timeout: float | None = None
    #: The coding of messages that are marked as compressed (``grpc-encoding``).
    encoding: str = "identity"
    #: The HTTP status with which a request that is not gRPC is rejected; 0 for a gRPC call.
    reject_status: int = 0
    #: What was wrong with the request's gRPC headers, for status INTERNAL; '' where nothing was.
    mistake: str = ""
    #: The codings of messages that the client reads (``grpc-accept-encoding``).
    accepted: str = ""
    #: Units of the connection's ``FrameBudget`` that it costs.
    cost: int = 1
    #: Size of the uncompressed header list in bytes, as SETTINGS_MAX_HEADER_LIST_SIZE counts it.
    list_size: int = 0


class HeaderDecoder:
    """Decodes the header blocks of one connection; it must be given all of them, in the order in which they came."""

    def __init__(self, max_header_list_size: int) -> None:
        """Somewhat larger header lists than ``max_header_list_size`` (bytes) are decoded, too: see ``list_size``."""
        self._decoder = Decoder(max_header_list_size=max_header_list_size + HEADER_LIST_MARGIN)
        self._cache: dict[bytes, RequestHeaders] = {}

    def decode_request(self, block: bytes) -> RequestHeaders:
        """The fields of a request.

        Raises:
            Http2ConnectionError: the block cannot be decoded; then no later block can be, either.
            MalformedRequest: it can be decoded, but is not a valid request.
        """
        headers = self._cache.get(block)
        if headers is not None:
            return headers
        changing = not _keeps_table(block)
        if changing:
            self._cache.clear()
        headers = _parse_request(self._decode(block))
        if not changing and len(block) <= _CACHED_LENGTH and len(self._cache) < _CACHE_SIZE:
            self._cache[block] = headers
        return headers

    def decode_and_discard(self, block: bytes) -> int:
        """Decode a block whose content is not needed, since later blocks may refer to what it adds to the table.

        Returns how many fields it has.
        """
        self._cache.clear()
        return len(self._decode(block))

    def _decode(self, block: bytes) -> Sequence[tuple[bytes, bytes]]:
        try:
            return list(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise Http2ConnectionError(
                ErrorCode.COMPRESSION_ERROR, f"a header block cannot be read: {error}"
            ) from error


def encode_headers(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    """A header block of literal fields without indexing, which needs no dynamic table (RFC 7541, section 6.2.2)."""
    parts: list[bytes] = []
    for name, value in fields:
        if isinstance(value, bytes):
            value = base64.b64encode(value) if name.endswith("-bin") else value
        else:
            value = value.encode("latin-1", "replace")
        key = name.encode("latin-1", "replace")
        parts += (b"\0", _encode_length(len(key)), key, _encode_length(len(value)), value)
    return b"".join(parts)


def _parse_request(fields: Sequence[tuple[bytes, bytes]]) -> RequestHeaders:
    special: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str | bytes]] = []
    size, regular = 0, False
    for name, value in fields:
        size += len(name) + len(value) + 32
        if name.startswith(b":"):
            if regular or name not in _PSEUDO or name in special:
                raise MalformedRequest("the pseudo-headers are wrong")
            special[name] = value
            continue
        regular = True
        if not _NAME.fullmatch(name) or name in _FORBIDDEN or b"\n" in value or b"\r" in value or b"\0" in value:
            raise MalformedRequest("a header is not allowed")
        if name in _RESERVED:
            special[name] = value
        else:
            metadata.append(
                (name.decode(), _decode_binary(value) if name.endswith(b"-bin") else value.decode("latin-1"))
            )
    if not special.keys() >= _REQUIRED or not special[b":path"] or special.get(b"te", b"trailers") != b"trailers":
        raise MalformedRequest("the headers are not those of a request")
    timeout, mistake = _parse_timeout(special.get(b"grpc-timeout"))
    return RequestHeaders(
        path=special[b":path"].decode("latin-1"),
        metadata=tuple(metadata),
        timeout=timeout,
        encoding=special.get(b"grpc-encoding", b"identity").decode("latin-1"),
        reject_status=_reject_status(special),
        mistake=mistake,
        accepted=special.get(b"grpc-accept-encoding", b"").decode("latin-1"),
        cost=head_cost(len(fields)),
        list_size=size,
    )


def _reject_status(special: dict[bytes, bytes]) -> int:
    """The HTTP status for a request that is not gRPC; 0 for one that is."""
    if special[b":method"] != b"POST":
        return 405
    kind = special.get(b"content-type", b"").lower()
    return 0 if kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;")) else 415


def _parse_timeout(value: bytes | None) -> tuple[float | None, str]:
    """The timeout in seconds, and what is wrong with it."""
    if value is None:
        return None, ""
    read = _TIMEOUT.fullmatch(value)
    if read is None:
        text = value[:32].decode("latin-1")
        return None, f"grpc-timeout '{text}' is malformed. Write up to 8 digits and a unit of H, M, S, m, u, n."
    return int(read[1]) * _SECONDS[read[2]], ""


def _decode_binary(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise MalformedRequest("binary metadata is not base64") from error


def _encode_length(length: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, section 5.1)."""
    if length < 127:
        return bytes((length,))
    parts, length = [127], length - 127
    while length >= 128:
        parts.append(length & 127 | 128)
        length >>= 7
    return bytes((*parts, length))


def _keeps_table(block: bytes) -> bool:
    """Whether a block neither adds to the decoder's dynamic table nor changes its size (RFC 7541, section 6)."""
    at, size = 0, len(block)
    while at < size:
        first = block[at]
        if first & 0x80:
            _, at = _decode_integer(block, at, 7)
            continue
        if first & 0x60:  # a field with incremental indexing, or a table size update
            return False
        named, at = _decode_integer(block, at, 4)
        for _ in range(1 if named else 2):
            length, at = _decode_integer(block, at, 7)
            at += length
    return at == size


def _decode_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer and where it ends: beyond the end of a block that is cut off, which the decoder will reject."""
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
