"""The HTTP connection: whether fast path or application answers a request, in what order, and when it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serve.batching.request_context import RequestContext
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result
from serve.transport.http.http_connection import HttpConnection
from tests.serve.transport.http_peer import connected, post, serving

LIMITS = Limits()


@asynccontextmanager
async def served(route: FastRoute, limits: Limits = LIMITS) -> AsyncIterator[int]:
    """The port of a server in this event loop that has ``route`` as its fast path."""
    async with serving(HttpConnection.limited(limits, route)) as (_, port):
        yield port


class Handlers:
    """A fast route whose handlers answer with the body in angle brackets.

    They answer later, at once (``!``), when ``gate`` is set (``~``); they decline the body (``?``) or raise (``#``).
    """

    def __init__(self) -> None:
        #: The paths that were routed.
        self.routed: list[bytes] = []
        #: The bodies that were handed over.
        self.given: list[bytes] = []
        self.gate = asyncio.Event()
        self.seconds = 0.0
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        self.routed.append(path)
        return None if path == b"/other" else self.take

    def take(self, body: bytes, call: RequestContext, reply: SendResponse) -> bool:
        self.given.append(body)
        if body.startswith(b"#"):
            raise RuntimeError("the handler broke")
        if body.startswith(b"?"):
            return False
        answer = FastResponse(200, b"<%b>" % body)
        if body.startswith(b"!"):
            reply(answer)
        elif body.startswith(b"~"):
            self.tasks.append(asyncio.create_task(self._later(reply, answer)))
        else:
            asyncio.get_running_loop().call_later(self.seconds, reply, answer)
        return True

    async def _later(self, reply: SendResponse, answer: FastResponse) -> None:
        await self.gate.wait()
        reply(answer)


def scenario(play: Callable[[Handlers, int], Any], limits: Limits = LIMITS) -> None:
    async def played() -> None:
        handlers = Handlers()
        async with served(handlers, limits) as port:
            await play(handlers, port)

    asyncio.run(played())


def test_a_head_is_routed_once_for_all_connections() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        for _ in range(2):
            async with connected(port) as client:
                for number in (b"1", b"2", b"3"):
                    assert await client.ask(post("/a", number)) == b"<%b>" % number
                assert await client.ask(post("/other", b"1")) == b"[1]"
                assert await client.ask(post("/a", b"44")) == b"<44>"
        assert handlers.routed.count(b"/a") == 2  # a head for each length of the body

    scenario(play)


def test_a_declined_body_is_not_handed_over_again() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        async with connected(port) as client:
            for body in (b"1", b"?2", b"3", b"?4", b"?5"):
                await client.ask(post("/a", body))
        assert handlers.given == [b"1", b"?2", b"3", b"?4", b"?5"]

    scenario(play)


def test_a_known_head_waits_for_the_answer_before_it() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        async with connected(port) as client:
            assert await client.ask(post("/a", b"1")) == b"<1>"
            client.writer.write(post("/a", b"~2"))
            while not handlers.tasks:
                await asyncio.sleep(0)
            client.writer.write(post("/a", b"3"))
            await asyncio.sleep(0.1)
            handlers.gate.set()
            assert [await client.ask(), await client.ask()] == [b"<~2>", b"[3]"]
            assert await client.ask(post("/a", b"4")) == b"<4>"

    scenario(play)


@pytest.mark.parametrize("body", [b"5", b"!5", b"?5", b"#5", b""])
def test_what_follows_a_known_head_is_answered_however_it_comes(body: bytes) -> None:
    async def play(handlers: Handlers, port: int) -> None:
        request, follower = post("/a", body), post("/a", b"6" * len(body))
        short, long = b"<%b>" % body, b"[%b]" % body
        expected = long if body[:1] in (b"?", b"#") else short
        async with connected(port) as client:
            for _ in range(2):
                for _ in range(3):
                    assert await client.ask(request) == expected
                assert (
                    await client.ask(*(request[place : place + 9] for place in range(0, len(request), 9))) == expected
                )
                assert await client.ask(request[:-1], request[-1:]) == expected
                assert await client.ask(request + follower) == expected
                assert await client.ask() == b"[%b]" % (b"6" * len(body))  # the application keeps their order
                assert await client.ask(request + follower[:20]) == expected
                assert (await client.ask(follower[20:]))[1:-1] == b"6" * len(body)
                assert await client.ask(b"\r\n" + request) == expected

    scenario(play)


def test_a_known_head_that_ends_the_connection_ends_it_every_time() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        for body in (b"1", b"2", b"!3", b"?4"):
            request = post("/a", body, "Connection: close")
            async with connected(port) as client:
                client.writer.write(request + request)
                said = await client.rest()
                assert said.count(b"HTTP/1.1 200 OK") == 1
                assert b"\r\nconnection: close\r\n" in said

    scenario(play)


def test_http_1_0_and_other_methods_go_to_the_application() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        for _ in range(2):
            async with connected(port) as client:
                assert await client.ask(post("/a", b"1").replace(b"HTTP/1.1", b"HTTP/1.0")) == b"[1]"
                assert await client.rest() == b""
            async with connected(port) as client:
                assert await client.ask(post("/a", b"1").replace(b"POST", b"PUT")) == b"[1]"
        assert handlers.routed == []

    scenario(play)


def test_an_answer_may_take_longer_than_a_request_may_take_to_arrive() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        handlers.seconds = 1.0
        for _ in range(2):  # a head that is new, and one that is known
            async with connected(port) as client:
                assert await client.ask(post("/a", b"1")) == b"<1>"

    scenario(play, Limits(seconds=0.3))


def test_a_client_that_does_not_read_is_not_answered_on_and_on() -> None:
    async def play(handlers: Handlers, port: int) -> None:
        large = b"!" + b"x" * 60_000
        async with connected(port) as slow, connected(port) as other:
            sent = 0
            while len(handlers.given) == sent < 500:
                slow.writer.write(post("/a", large))
                sent += 1
                for _ in range(100):
                    if len(handlers.given) < sent:
                        await asyncio.sleep(0.005)
            assert sent < 500
            assert await other.ask(post("/a", b"1")) == b"<1>"
            assert {(await slow.ask())[1:-1] for _ in range(sent)} == {large}

    scenario(play)


def test_a_handler_sees_when_the_client_has_left() -> None:
    async def scenario() -> None:
        calls: list[RequestContext] = []
        begun = asyncio.Event()

        def take(body: bytes, call: RequestContext, reply: SendResponse) -> bool:
            calls.append(call)
            begun.set()
            return True

        async with served(lambda path, headers: take) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post("/", b""))
            await begun.wait()
            (gone,) = [call.gone for call in calls]
            assert gone is not None
            assert not gone()
            writer.close()
            await asyncio.wait_for(until(gone), 10)

    async def until(true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_an_exception_is_answered_without_internals(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> bytes:
        def take(body: bytes, call: RequestContext, reply: SendResponse) -> bool:
            asyncio.get_running_loop().call_soon(on_result(reply, fail), {})
            return True

        def fail(result: object) -> FastResponse:
            raise RuntimeError("secret")

        async with served(lambda path, headers: take) as port, connected(port) as client:
            client.writer.write(post("/", b"", "Connection: close"))
            return await client.rest()

    with caplog.at_level(logging.ERROR, "bookserve"):
        answer = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "secret" in caplog.text
