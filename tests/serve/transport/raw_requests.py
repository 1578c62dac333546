"""HTTP requests as bytes, for tests that write to the socket themselves."""

from __future__ import annotations


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A POST request with a length and further header lines."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
