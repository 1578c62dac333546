"""Decodes the header block of a request into the fields of a gRPC call, and encodes those of a response (RFC 7541).

The package ``hpack`` decodes header blocks. A block that leaves the decoder's dynamic table unchanged keeps its meaning
until that table changes. Clients send such a block with almost every call, so decoded blocks are cached.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from serve.transport.http2.frame_budget import head_cost
from serve.transport.http2.frames import DEFAULT_TABLE_SIZE, ErrorCode, Http2ConnectionError

#: gRPC metadata: names in lower case; the value is bytes where the name ends in ``-bin``.
Metadata = tuple[tuple[str, str | bytes], ...]

#: Bytes beyond the limit up to which a header block is read. It is not decoded beyond the limit, but its client gets a
#: proper status.
HEADER_BLOCK_MARGIN = 2**16
#: Fields beyond the limit that are decoded only because they change the table, which has room for as many at most:
#: ``DEFAULT_TABLE_SIZE`` divided by the 32 bytes that a field takes at least.
_MAX_LATE_CHANGES = DEFAULT_TABLE_SIZE // 32
#: Header blocks that are cached for each connection, and the length of the longest one, in bytes.
_CACHE_SIZE, _CACHED_LENGTH = 64, 1024
_REQUIRED = {b":method", b":scheme", b":path"}
_PSEUDO = _REQUIRED | {b":authority"}
#: Connection-specific fields, which HTTP/2 forbids (RFC 9113, section 8.2.2).
_FORBIDDEN = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
#: Fields that are not part of a call's metadata.
_RESERVED = {b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
#: Digits of the longest content-length: no request is longer than 2^63 bytes.
_LENGTH_DIGITS = 18
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class _CutOff(Exception):  # noqa: N818 - a block, not an error of the program
    """A header block that ends within a field, or has its fields in a wrong order."""


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
    #: Bytes of all DATA frames together (``content-length``); None where the client does not say.
    content_length: int | None = None
    #: Units of the connection's ``FrameBudget`` that it costs.
    cost: int = 1
    #: Size of the uncompressed header list in bytes, as SETTINGS_MAX_HEADER_LIST_SIZE counts it; of a list that is too
    #: large, whose other fields are empty, that of the fields that were decoded and the bytes of the rest.
    list_size: int = 0


class HeaderDecoder:
    """Decodes the header blocks of one connection; it must be given all of them, in the order in which they came."""

    def __init__(self, max_header_list_size: int) -> None:
        """Decoding stops where a header list becomes larger than ``max_header_list_size`` bytes."""
        import hpack  # its tables take longer to build than the rest of this package: the first connection does that

        self._limit = max_header_list_size
        self._unreadable: tuple[type[Exception], ...] = (hpack.HPACKError, _CutOff)
        self._decoder = hpack.Decoder(max_header_list_size=2**31)  # each field is counted here
        self._cache: dict[bytes, RequestHeaders] = {}

    def decode_request(self, block: bytes) -> RequestHeaders:
        """The fields of a request; see ``RequestHeaders.list_size`` for a header list that is too large.

        Raises:
            Http2ConnectionError: the block cannot be decoded; then no later block can be, either.
            MalformedRequest: it can be decoded, but is not a valid request.
        """
        headers = self._cache.get(block)
        if headers is not None:
            return headers
        fields, size, changed = self._decode(block)
        if size > self._limit:
            return RequestHeaders(path="", metadata=(), cost=head_cost(len(fields)), list_size=size)
        headers = _parse_request(fields, size)
        if not changed and len(block) <= _CACHED_LENGTH and len(self._cache) < _CACHE_SIZE:
            self._cache[block] = headers
        return headers

    def decode_trailers(self, block: bytes) -> tuple[int, int, bool]:
        """Decode a block whose content is not needed, since later blocks may refer to what it adds to the table.

        Returns how many fields were decoded, ``RequestHeaders.list_size``, and whether they may be trailers.

        Raises:
            Http2ConnectionError: see ``decode_request``.
        """
        fields, size, _ = self._decode(block)
        return len(fields), size, all(_is_allowed(name, value) for name, value in fields)

    def _decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], int, bool]:
        """The fields up to the limit, the size of the list, and whether the block has changed the table.

        The field that exceeds the limit is the last one that is decoded; after it only those that change the table are,
        because later blocks refer to them.
        """
        fields: list[tuple[bytes, bytes]] = []
        size, changes, late = 0, False, 0
        try:
            for start, end in _instructions(block):
                changing = not block[start] & 0x80 and bool(block[start] & 0x60)
                if changing and not changes:
                    changes = True
                    self._cache.clear()
                if size > self._limit:
                    size += end - start
                    late += changing
                    if late > _MAX_LATE_CHANGES:
                        raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a header list is too large")
                    if changing:
                        self._decoder.decode(block[start:end], raw=True)
                    continue
                if fields and block[start] & 0xE0 == 0x20:
                    raise _CutOff("a table size update after a field")
                for name, value in self._decoder.decode(block[start:end], raw=True):
                    fields.append((name, value))
                    size += len(name) + len(value) + 32
        except self._unreadable as error:
            raise Http2ConnectionError(
                ErrorCode.COMPRESSION_ERROR, f"a header block cannot be read: {error}"
            ) from error
        return fields, size, changes


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


def _parse_request(fields: Sequence[tuple[bytes, bytes]], size: int) -> RequestHeaders:
    special: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str | bytes]] = []
    regular = False
    for name, value in fields:
        if name.startswith(b":"):
            if regular or name not in _PSEUDO or name in special:
                raise MalformedRequest("the pseudo-headers are wrong")
            special[name] = value
            continue
        regular = True
        if not _is_allowed(name, value):
            raise MalformedRequest("a header is not allowed")
        if name == b"content-length" and special.setdefault(name, value) != value:
            raise MalformedRequest("there are two content-lengths")
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
        content_length=_parse_length(special.get(b"content-length")),
        cost=head_cost(len(fields)),
        list_size=size,
    )


def _is_allowed(name: bytes, value: bytes) -> bool:
    """Whether it is a field that HTTP/2 allows after the pseudo-header fields (RFC 9113, section 8.2)."""
    return bool(
        _NAME.fullmatch(name) and name not in _FORBIDDEN and not (b"\n" in value or b"\r" in value or b"\0" in value)
    )


def _parse_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise MalformedRequest("content-length is not a number of bytes")
    return int(value)


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


def _instructions(block: bytes) -> Iterator[tuple[int, int]]:
    """Where each field of a block, and each change of the table's size, begins and ends (RFC 7541, section 6).

    Raises:
        _CutOff: the block is cut off.
    """
    at, size = 0, len(block)
    while at < size:
        start, first = at, block[at]
        if first & 0x80:
            _, at = _decode_integer(block, at, 7)
        elif first & 0xE0 == 0x20:
            _, at = _decode_integer(block, at, 5)
        else:
            named, at = _decode_integer(block, at, 6 if first & 0x40 else 4)
            for _ in range(1 if named else 2):
                length, at = _decode_integer(block, at, 7)
                at += length
        if at > size:
            raise _CutOff("a field is cut off")
        yield start, at


def _decode_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer and where it ends: beyond the end of a block that is cut off."""
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
