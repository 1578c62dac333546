"""Requests with the headers that proxies add stay on the fast path, and their heads are known again without them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from serve.request_context import RequestContext
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastHandler, FastResponse, SendResponse
from serve.transport.http.http_connection import HttpConnection
from serve.transport.http.proxy_headers import request_id, without_proxy_headers
from tests.serve.transport.http_peer import connected, post, serving

#: What nginx, HAProxy, Envoy and load balancers of clouds add.
ADDED = (
    "X-Forwarded-For: 203.0.113.9, 10.0.0.1",
    "X-Forwarded-For: 10.0.0.2",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Client-Cert: By=spiffe://a;Hash=0f",
    "Forwarded: for=203.0.113.9;proto=https",
    "Via: 1.1 front",
    "X-Real-IP: 203.0.113.9",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate: a=b",
    "X-Envoy-Attempt-Count: 1",
    "x-envoy-expected-rq-timeout-ms: 15000",
    "X-B3-TraceId: 80f198ee56343ba8",
    "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793",
    "CF-Ray: 230b030023ae2822",
    "Cookie: session=abc; theme=dark",
)


DEFAULT = Limits()


class Route:
    """Answers all requests with their id; counts how many heads it was asked about."""

    def __init__(self) -> None:
        self.heads: list[dict[bytes, bytes]] = []

    def __call__(self, path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        def take(body: bytes, context: RequestContext, send: SendResponse) -> bool:
            send(FastResponse(200, b"<%b %b>" % (context.id.encode(), body)))
            return True

        self.heads.append(dict(headers))
        return take


def answers(*requests: bytes, limits: Limits = DEFAULT) -> tuple[list[bytes], Route]:
    """What a server answers to requests on one connection, and its route."""
    route = Route()

    async def play() -> list[bytes]:
        async with serving(HttpConnection.limited(limits, route)) as (_, port), connected(port) as client:
            return [await client.ask(request) for request in requests]

    return asyncio.run(play()), route


def test_requests_with_all_of_them_take_the_fast_path_and_are_parsed_once() -> None:
    plain = post("/x", b"1", "Accept: */*")
    proxied = [post("/x", b"1", *ADDED, f"X-Request-Id: id-{number}", "Accept: */*") for number in range(3)]
    found, route = answers(plain, *proxied, plain)
    assert found == [b"< 1>", b"<id-0 1>", b"<id-1 1>", b"<id-2 1>", b"< 1>"]
    assert len(route.heads) == 1


def test_a_head_that_is_first_seen_with_them_is_known_without_them() -> None:
    found, route = answers(post("/x", b"1", *ADDED), post("/x", b"2"), post("/x", b"3", ADDED[-1]))
    assert found == [b"< 1>", b"< 2>", b"< 3>"]
    assert route.heads == [{b"host": b"localhost", b"content-length": b"1"}]


def test_other_headers_still_need_the_application() -> None:
    found, route = answers(
        post("/x", b"1"), post("/x", b"1", *ADDED, "X-Unusual: 1"), post("/x", b"1", "X-Forwarded: 1")
    )
    assert found == [b"< 1>", b"[1]", b"[1]"]
    assert len(route.heads) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Forwarded-For: a\r\n b",),  # a line that goes on in the next
        ("X-Forwarded-For: a\rContent-Length: 9",),
        ("X-Forwarded-For: a\nContent-Length: 9",),
        ("X-Forwarded-For: \0",),
        ("X-Forwarded-For : a",),
        ("Via: 1.1 a", "Content-Length: 1"),
        ("Via: 1.1 a", "Transfer-Encoding: chunked"),
    ],
)
def test_what_the_parser_must_judge_is_not_passed_over(lines: tuple[str, ...]) -> None:
    request = post("/x", b"1", *lines)
    known = post("/x", b"1").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert without_proxy_headers(request[:-1])[0] != known


def test_a_long_head_is_held_to_the_limit() -> None:
    long = post("/x", b"1", "Cookie: " + "c" * 3000)
    found, route = answers(post("/x", b"1"), long, long)
    assert (found, len(route.heads)) == ([b"< 1>"] * 3, 1)
    (_, refused), _ = answers(post("/x", b"1"), long, limits=Limits(head=1024))
    assert refused == b"Request Header Fields Too Large\n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a"], "a"),
        (["a", "b"], "b"),
        (["a", "not valid"], "a"),
        (["x" * 129], ""),
        ([""], ""),
        ([" padded"], "padded"),
    ],
)
def test_the_request_id_is_the_one_that_the_application_reads(values: list[str], expected: str) -> None:
    raw = post("/x", b"", *[f"x-request-ID: {value}" for value in values])
    assert without_proxy_headers(raw) == (post("/x", b""), expected)
    parsed: list[tuple[bytes, bytes]] = [(b"x-request-id", value.strip().encode()) for value in values]
    assert request_id(parsed) == expected


def test_what_is_left_is_what_was_sent() -> None:
    head: Any = post("/x", b"", "Accept: a", *ADDED, "Accept-Language: en")
    assert without_proxy_headers(head) == (post("/x", b"", "Accept: a", "Accept-Language: en"), "")
