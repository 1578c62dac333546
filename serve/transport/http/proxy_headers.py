"""Headers that proxies add to requests and that do not change an answer: requests that have them take the fast path.

They differ from request to request, so a request's head is remembered without them. ``X-Request-Id`` is read. The
others matter only for the access log and for traces, and where those are on no request takes the fast path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = rb"""
    x-forwarded-[a-z-]+ | forwarded | via | x-real-ip | true-client-ip | x-client-ip | cookie
    | x-request-id | x-correlation-id | request-id | traceparent | tracestate | baggage
    | b3 | x-b3-[a-z]+ | x-amzn-trace-id | x-cloud-trace-context | x-ot-span-context | x-datadog-[a-z-]+ | uber-trace-id
    | x-envoy-[a-z-]+ | cdn-loop | cf-[a-z-]+ | x-original-[a-z-]+ | x-scheme
"""
#: A request id that the server takes over.
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_NAME = re.compile(_NAMES, re.VERBOSE | re.IGNORECASE)
#: Control characters that are in no valid head; line ends are counted.
_CONTROLS = bytes({*range(32), 127} - set(b"\t\r\n"))
#: Whether proxies add a header of that name, by names as they were sent; at most ``_MAX_NAMES``.
_added: dict[bytes, bool] = {}
_MAX_NAMES = 4096


def without_proxy_headers(head: bytes) -> tuple[bytes, str]:
    """A request's head as it was sent, without the headers that proxies add, and the request id; '' without one.

    A head that the parser must judge, since it has control characters or lines that go on in the next, is returned as
    it is.
    """
    lines = head.split(b"\r\n")
    kept, found = [], b""
    for line in lines:
        name, _, value = line.partition(b":")
        added = _added.get(name)
        if added is None:
            added = _is_added(name)
        if not added:
            kept.append(line)
        elif (
            len(name) == 12 and name.lower() == b"x-request-id" and REQUEST_ID.fullmatch(value := value.lstrip(b" \t"))
        ):
            found = value
    if len(kept) == len(lines):
        return head, ""
    ends = len(lines) - 1
    odd = head.count(b"\r") != ends or head.count(b"\n") != ends or b"\r\n " in head or b"\r\n\t" in head
    if odd or len(head.translate(None, _CONTROLS)) != len(head):
        return head, ""
    return b"\r\n".join(kept), found.decode()


def _is_added(name: bytes) -> bool:
    """Whether proxies add a header of that name, in any case; also remembers it."""
    if len(_added) >= _MAX_NAMES:
        _added.clear()
    _added[name] = found = _NAME.fullmatch(name) is not None
    return found


def other_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, with names in lower case, that no proxy adds."""
    return [header for header in headers if not _NAME.fullmatch(header[0])]


def request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The last valid ``X-Request-Id`` of these headers, with names in lower case; '' without one."""
    valid = (value for name, value in reversed(headers) if name == b"x-request-id" and REQUEST_ID.fullmatch(value))
    return next(valid, b"").decode()
